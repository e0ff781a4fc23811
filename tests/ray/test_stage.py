"""The callable class adds results to the rows of a batch, when called directly and inside Ray Data."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import InputTypeError, RequestError, SettingsError
from qwen3_rerank_plugins.ray import Qwen3Rerank
from tests.clusters import RAYS_OWN_WARNINGS, small_cluster
from tests.requests import some_requests

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(RAYS_OWN_WARNINGS)]


@pytest.fixture(scope="module")
def serial() -> Qwen3Reranker:
    return Qwen3Reranker("demo")


def as_ranked(serial: Qwen3Reranker, query: str, texts: list[str]) -> list[tuple[int, Any]]:
    return [(found.index, pytest.approx(found.logit, abs=1e-4)) for found in serial.rank(query, texts)]


def of(results: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(found["index"], found["logit"]) for found in results]


def test_a_table_comes_back_with_its_columns_and_the_results_of_the_facade(serial: Qwen3Reranker) -> None:
    rows = some_requests(5)
    table = pa.Table.from_pylist(rows).append_column("price", pa.array([1, None, 3, 4, 5], pa.int16()))
    answered = Qwen3Rerank("demo")(table)
    assert answered.column_names == [*table.column_names, "results"]
    assert answered.drop_columns(["results"]) == table
    for row, results in zip(rows, answered["results"].to_pylist(), strict=True):
        texts = [candidate["text"] for candidate in row["candidates"]]
        assert of(results) == as_ranked(serial, row["query"], texts)
        assert [found["doc_id"] for found in results] == [f"d{found['index']}" for found in results]
        assert all(found["score"] == pytest.approx(1 / (1 + math.exp(-found["logit"]))) for found in results)


def test_columns_of_arrays_are_read_too_as_that_is_what_ray_data_gives_unasked(serial: Qwen3Reranker) -> None:
    documents = np.empty(2, object)
    documents[:] = [np.array(["the sea", "honey"], object), np.array([], object)]
    answered = Qwen3Rerank("demo")({"query": np.array(["honey", "sea"]), "documents": documents}).to_pylist()
    assert of(answered[0]["results"]) == as_ranked(serial, "honey", ["the sea", "honey"])
    assert answered[1]["results"] == []
    assert answered[0]["documents"] == ["the sea", "honey"]


def test_every_batch_has_the_same_columns_whatever_is_in_it() -> None:
    """Ray Data joins the blocks that come of them."""
    stage = Qwen3Rerank("demo", on_error="column", max_length=100, long_documents="windows")
    batches = [pa.array([texts], pa.list_(pa.string())) for texts in (["short"], [" "], [], ["long " * 200])]
    schemas = {stage(pa.table({"query": ["q"], "documents": documents})).schema for documents in batches}
    assert len(schemas) == 1


def test_a_blank_document_has_no_logit_and_a_cut_one_says_by_how_much() -> None:
    table = pa.table({"query": ["q"], "documents": [[" ", "long " * 500]]})
    long, blank = Qwen3Rerank("demo", max_length=150)(table)["results"].to_pylist()[0]
    assert (blank["index"], blank["score"], blank["logit"]) == (0, 0.0, None)
    assert long["truncated_tokens"] > 300


def test_a_bad_row_raises_or_has_its_error_in_a_column() -> None:
    table = pa.table({"query": ["fine", None], "documents": [["a"], ["b"]]})
    with pytest.raises(RequestError, match="row 1 of the batch: 'query' must be a string, got null"):
        Qwen3Rerank("demo")(table)
    fine, bad = Qwen3Rerank("demo", on_error="column")(table).to_pylist()
    assert (fine["error"], len(fine["results"])) == (None, 1)
    assert (bad["error"], bad["results"]) == (
        "RequestError: row 1 of the batch: 'query' must be a string, got null.",
        None,
    )


@pytest.mark.parametrize(
    ("batch", "error", "says"),
    [
        ([{"query": "a"}], InputTypeError, "batch_format='pyarrow'"),
        (pa.table({"question": ["a"]}), RequestError, "these have: question"),
        (pa.table({"query": ["a"]}), RequestError, "a column documents or candidates"),
        (pa.table({"query": ["a"], "documents": [["b"]], "results": [1]}), RequestError, "a column 'results' already"),
        (pa.table({"query": ["a"], "documents": [["b"]], "candidates": [[{"text": "b"}]]}), RequestError, "has both"),
        (pa.table({"query": ["a"], "documents": [["b", None]]}), RequestError, r"documents\[1\] must be a string"),
    ],
)
def test_what_is_no_batch_of_requests_is_refused_with_what_to_do(batch: Any, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        Qwen3Rerank("demo")(batch)


def test_settings_are_checked_when_it_is_made_and_no_token_shows() -> None:
    with pytest.raises(SettingsError):
        Qwen3Rerank("demo", top_n=-1)
    with pytest.raises(TypeError, match="topn"):
        Qwen3Rerank("demo", topn=3)
    stage = Qwen3Rerank("demo", token="hf_secret")
    assert "hf_secret" not in repr(stage)
    assert b"hf_secret" not in pickle.dumps(stage)


class Threaded(Qwen3Rerank):
    """Tells as well how many threads its actor's torch has."""

    def __call__(self, batch: object) -> pa.Table:
        import torch

        table = super().__call__(batch)
        return table.append_column("threads", pa.array([torch.get_num_threads()] * len(table)))


@pytest.mark.slow
def test_an_actor_pool_ranks_every_row_once_as_the_facade_does(serial: Qwen3Reranker) -> None:
    """And its actors run as many threads as they have CPUs: else two on two cores would be in each other's way."""
    import ray.data

    rows = some_requests(24)
    with small_cluster():
        dataset = ray.data.from_items(rows, override_num_blocks=6)
        dataset.context.enable_progress_bars = False
        ranked = dataset.map_batches(
            Threaded,
            fn_constructor_kwargs={"model": "demo", "top_n": 3, "token": "hf_secret"},
            batch_size=4,
            batch_format="pyarrow",
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=2),
        )
        assert "hf_secret" not in repr(ranked)
        answers = ranked.take_all()
    found = {row["query_id"]: row for row in answers}
    assert len(found) == len(answers) == 24
    assert {row["threads"] for row in answers} == {1}
    for row in rows:
        texts = [candidate["text"] for candidate in row["candidates"]]
        assert of(found[row["query_id"]]["results"]) == as_ranked(serial, row["query"], texts)[:3]
