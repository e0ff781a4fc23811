"""Offline: what is on this machine loads and scores without one attempt to reach the network; what is not says so."""

from __future__ import annotations

import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import qwen3_rerank_plugins
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from tests.cache import cache_with
from tests.optional import need
from tests.sealed import Sealed, run_sealed

pytestmark = pytest.mark.slow

QUERY = "What is the capital of China?"
DOCUMENTS = ["Gravity pulls bodies towards each other.", "The capital of China is Beijing."]
BEST_FIRST = [1, 0]

RANK = f"""
import json
from qwen3_rerank_plugins import Qwen3Reranker, RerankError

def rank(model, **options):
    try:
        with Qwen3Reranker(model, **options) as reranker:
            return [found.index for found in reranker.rank({QUERY!r}, {DOCUMENTS!r})]
    except RerankError as error:
        return f"{{type(error).__name__}}: {{error}}"

"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache that holds someone/reranker and nothing else."""
    return cache_with(DEMO_FOLDER, "someone/reranker", tmp_path_factory.mktemp("filled") / "cache")


def answers(done: Sealed) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_seal_refuses_and_counts(tmp_path: Path) -> None:
    done = run_sealed(
        "import socket\n"
        "for reach in (lambda: socket.create_connection(('example.org', 80)), lambda: socket.getaddrinfo('a.b', 1),\n"
        "              lambda: socket.socket().connect(('127.0.0.1', 9)), lambda: socket.socket().bind(('', 0))):\n"
        "    try: reach()\n"
        "    except OSError as error: print(error)\n"
        "os.environ['A'] = 'b'; open(os.devnull)",
        tmp_path,
    )
    assert done.stdout.count("this process is sealed") == len(done.attempts) == 4
    assert done.variables == ["A"]
    assert "/dev/null" in done.opened


def test_demo_a_local_folder_and_a_filled_cache_load_and_score_without_one_attempt(tmp_path: Path, cache: Path) -> None:
    program = f"""{RANK}
cache = {str(cache)!r}
print(json.dumps({{
    "demo": rank("demo"),
    "folder": rank({str(DEMO_FOLDER)!r}),
    "cache": rank("someone/reranker", cache_dir=cache, local_files_only=True),
    "commit": rank("someone/reranker", cache_dir=cache, local_files_only=True, revision="0" * 40),
    "missing": rank("someone/other", cache_dir=cache, local_files_only=True),
    "no folder": rank("./nothing"),
}}))"""
    done = run_sealed(program, tmp_path)
    found = answers(done)
    assert done.attempts == []
    assert all(found[model] == BEST_FIRST for model in ("demo", "folder", "cache", "commit")), found
    assert found["missing"].startswith("CheckpointNotFoundError: 'someone/other' is not in the cache, and fetching is")
    assert "local files only, or by HF_HUB_OFFLINE" in found["missing"]
    assert "There is no folder '" in found["no folder"]
    assert "/nothing'. Check the path" in found["no folder"]


def test_hf_hub_offline_loads_a_filled_cache_without_one_attempt_and_is_named_where_nothing_is(
    tmp_path: Path, cache: Path
) -> None:
    program = f"""{RANK}
cache = {str(cache)!r}
print(json.dumps({{
    "cache": rank("someone/reranker", cache_dir=cache), "missing": rank("someone/other", cache_dir=cache),
}}))"""
    done = run_sealed(program, tmp_path, HF_HUB_OFFLINE="1")
    found = answers(done)
    assert done.attempts == []
    assert found["cache"] == BEST_FIRST
    assert "fetching is switched off (by local files only, or by HF_HUB_OFFLINE)" in found["missing"]


def test_a_filled_cache_is_used_where_the_network_is_down_and_a_missing_model_names_the_offline_switch(
    tmp_path: Path, cache: Path
) -> None:
    program = f"""{RANK}
cache = {str(cache)!r}
print(json.dumps({{
    "cache": rank("someone/reranker", cache_dir=cache), "missing": rank("someone/other", cache_dir=cache),
}}))"""
    done = run_sealed(program, tmp_path)
    found = answers(done)
    assert done.attempts, "nothing was asked for: the cache may be out of date and nobody would know"
    assert found["cache"] == BEST_FIRST
    assert "is not in the cache and the hub cannot be reached" in found["missing"]
    assert "once it is cached, HF_HUB_OFFLINE=1 loads it without the network" in found["missing"]


@pytest.mark.parametrize("command", [["demo"], ["rank", "--model", "demo", "--query", QUERY]], ids=["demo", "rank"])
def test_the_command_line_ranks_with_the_demo_without_one_attempt(command: list[str], tmp_path: Path) -> None:
    need("typer")
    need("rich")
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(DOCUMENTS), encoding="utf-8")
    files = [str(texts)] if command[0] == "rank" else []
    done = run_sealed("from qwen3_rerank_plugins.cli import main; main()", tmp_path, *command, *files)
    assert done.returncode == 0, done.stderr
    assert done.attempts == []
    assert "Ranked by demo" in done.stdout


ADAPTERS = {
    "langchain": (
        "langchain_core",
        "from langchain_core.documents import Document\n"
        "from qwen3_rerank_plugins.langchain import Qwen3Rerank\n"
        f"documents = [Document(text) for text in {DOCUMENTS!r}]\n"
        f"found = Qwen3Rerank(model='demo').compress_documents(documents, {QUERY!r})\n"
        "print(json.dumps({'first': found[0].page_content}))",
    ),
    "llama-index": (
        "llama_index.core",
        "from llama_index.core.schema import NodeWithScore, TextNode\n"
        "from qwen3_rerank_plugins.llama_index import Qwen3Rerank\n"
        f"nodes = [NodeWithScore(node=TextNode(text=text)) for text in {DOCUMENTS!r}]\n"
        f"found = Qwen3Rerank(model='demo').postprocess_nodes(nodes, query_str={QUERY!r})\n"
        "print(json.dumps({'first': found[0].node.text}))",
    ),
}


@pytest.mark.parametrize("extra", ADAPTERS)
def test_an_adapter_ranks_with_the_demo_without_one_attempt(extra: str, tmp_path: Path) -> None:
    host, program = ADAPTERS[extra]
    need(host)
    done = run_sealed(f"import json\n{program}", tmp_path)
    assert answers(done) == {"first": DOCUMENTS[1]}
    assert done.attempts == []


def test_importing_every_station_sets_no_variable_and_calls_nobody(tmp_path: Path) -> None:
    """Torch is imported first: what it does to its process is its own."""
    engine = Path(qwen3_rerank_plugins.__file__).parent / "engine"
    stations = [f"qwen3_rerank_plugins.engine.{found.name}" for found in pkgutil.iter_modules([str(engine)])]
    everything = ["qwen3_rerank_plugins", "qwen3_rerank_plugins.reranker", "qwen3_rerank_plugins.cli", *stations]
    done = run_sealed(f"import torch\nos.write(_log, b'variable\\there\\n')\nimport {', '.join(everything)}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.attempts == []
    assert done.variables[done.variables.index("here") :] == ["here"]
