"""Command line, both adapters, facade and reference implementation rank the same set in the same order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from tests.bundled_data import declaration_tasks
from tests.optional import need
from tests.references import INSTRUCTION, CardReference

Orders = dict[str, list[int]]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [
        task for language in ("eng", "deu_1996", "cmn_hans") for task in declaration_tasks(language, 7, candidates=20)
    ]


@pytest.fixture(scope="module")
def reference(rows: list[dict[str, Any]]) -> Orders:
    card = CardReference(DEMO_FOLDER)
    orders = {}
    for row in rows:
        pairs = [(row["query"], candidate["text"]) for candidate in row["candidates"]]
        log_odds = card.log_odds(pairs, row.get("instruction", INSTRUCTION))
        orders[row["query_id"]] = sorted(range(len(pairs)), key=lambda index: -log_odds[index])
    return orders


def test_the_facade(rows: list[dict[str, Any]], reference: Orders) -> None:
    with Qwen3Reranker("demo") as reranker:
        for row in rows:
            texts = [candidate["text"] for candidate in row["candidates"]]
            ranked = reranker.rank(row["query"], texts, instruction=row.get("instruction"))
            assert [document.index for document in ranked] == reference[row["query_id"]]


def test_the_langchain_adapter(rows: list[dict[str, Any]], reference: Orders) -> None:
    need("langchain_core")
    from langchain_core.documents import Document

    from qwen3_rerank_plugins.langchain import Qwen3Rerank

    for row in rows:
        documents = [
            Document(candidate["text"], metadata={"position": position})
            for position, candidate in enumerate(row["candidates"])
        ]
        compressor = Qwen3Rerank(model="demo", top_n=None, instruction=row.get("instruction"))
        ranked = compressor.compress_documents(documents, row["query"])
        assert [document.metadata["position"] for document in ranked] == reference[row["query_id"]]


def test_the_llama_index_adapter(rows: list[dict[str, Any]], reference: Orders) -> None:
    need("llama_index.core")
    from llama_index.core.schema import NodeWithScore, TextNode

    from qwen3_rerank_plugins.llama_index import Qwen3Rerank

    for row in rows:
        nodes = [
            NodeWithScore(node=TextNode(text=candidate["text"], id_=str(position)))
            for position, candidate in enumerate(row["candidates"])
        ]
        postprocessor = Qwen3Rerank(model="demo", top_n=None, instruction=row.get("instruction"))
        ranked = postprocessor.postprocess_nodes(nodes, query_str=row["query"])
        assert [int(node.node.node_id) for node in ranked] == reference[row["query_id"]]


def test_the_command_line(rows: list[dict[str, Any]], reference: Orders, tmp_path: Path) -> None:
    need("typer")
    need("rich")
    file = tmp_path / "tasks.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    command = [sys.executable, "-m", "qwen3_rerank_plugins.cli", "rank", "--model", "demo", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        found[answer["query_id"]] = [result["index"] for result in answer["results"]]
    assert found == reference
