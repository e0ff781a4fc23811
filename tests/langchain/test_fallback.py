"""While the reranker is slow or down, the documents come back in retrieval order, if the caller wants that."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

from qwen3_rerank_plugins import _fallback, errors
from qwen3_rerank_plugins.langchain import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.held_engine import HeldEngine
from tests.langchain.conftest import Compress
from tests.optional import need

pytestmark = pytest.mark.filterwarnings("ignore:The `copy` method is deprecated:DeprecationWarning")

Fake = Callable[..., Qwen3Rerank]
DOWN = [
    errors.RerankTimeoutError("too late"),
    errors.OverloadedError("too much"),
    errors.RemoteUnreachableError("nobody there"),
    errors.RemoteRefusedError("busy", status=429),
    errors.RemoteRefusedError("broken", status=503),
    errors.CheckpointNotFoundError("no model"),
    errors.DeviceMemoryError("no memory"),
    errors.PassError("a kernel failed"),
    errors.ThreadStartError("no thread"),
]
WRONG = [
    errors.RequestError("bad input"),
    errors.InputTypeError("not text"),
    errors.RemoteRefusedError("wrong key", status=401),
    errors.RemoteTemplateError("wrong template"),
    errors.NonFiniteScoreError("not a number"),
    errors.ClosedError("closed"),
    ValueError("not ours"),
]
DOCUMENTS = [
    Document(word, id=word, metadata={"relevance_score": 0.9, "page": number}) for number, word in enumerate("abc")
]


@pytest.fixture(autouse=True)
def _no_earlier_warning() -> Iterator[None]:
    _fallback._WARNED.clear()
    yield
    _fallback._WARNED.clear()


def falling_back(fake: Fake, error: Exception, **fields: Any) -> Qwen3Rerank:
    return fake(OverlapScorer(error), on_failure="retrieval_order", **fields)


@pytest.mark.parametrize("error", DOWN, ids=lambda error: f"{type(error).__name__}-{error}")
def test_documents_come_back_in_retrieval_order_with_the_reason_and_no_score(
    fake: Fake, compress: Compress, error: Exception
) -> None:
    found = compress(falling_back(fake, error, top_n=2), DOCUMENTS, "c")
    assert [document.id for document in found] == ["a", "b"]
    reason = f"{type(error).__name__}: {error}"
    assert [document.metadata for document in found] == [
        {"page": 0, "rerank_failure": reason},
        {"page": 1, "rerank_failure": reason},
    ]
    assert DOCUMENTS[0].metadata == {"relevance_score": 0.9, "page": 0}


@pytest.mark.parametrize("error", WRONG, ids=lambda error: f"{type(error).__name__}-{error}")
def test_an_error_of_the_call_or_of_the_scores_is_raised(fake: Fake, compress: Compress, error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        compress(falling_back(fake, error), DOCUMENTS, "c")


def test_bad_input_is_raised_before_anything_fails(fake: Fake, compress: Compress) -> None:
    with pytest.raises(errors.InputTypeError):
        compress(falling_back(fake, errors.PassError("down")), ["not a document"], "c")


def test_the_default_is_to_raise(fake: Fake, compress: Compress) -> None:
    with pytest.raises(errors.PassError, match="down"):
        compress(fake(OverlapScorer(errors.PassError("down"))), DOCUMENTS, "c")


def test_the_limits_of_a_call_hold_and_min_score_is_said_not_to(fake: Fake, compress: Compress) -> None:
    adapter = falling_back(fake, errors.PassError("down"))
    (only,) = compress(adapter, DOCUMENTS, "c", top_n=1, min_score=0.5)
    assert only.metadata["rerank_failure"] == "PassError: down min_score=0.5 was not applied."
    assert len(compress(adapter, DOCUMENTS, "c", top_n=None)) == 3


def test_a_later_reranking_removes_the_reason(fake: Fake, compress: Compress) -> None:
    failed = compress(falling_back(fake, errors.PassError("down")), DOCUMENTS, "c")
    ranked = compress(fake(top_n=1), failed, "c")
    assert [document.id for document in ranked] == ["c"]
    assert "rerank_failure" not in ranked[0].metadata


def test_there_is_one_warning_for_each_kind_of_failure(
    fake: Fake, compress: Compress, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for error in (errors.PassError("down"), errors.PassError("down"), errors.OverloadedError("busy")):
        compress(falling_back(fake, error), DOCUMENTS, "c")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "retrieval order" in told[0]
    assert "PassError: down" in told[0]


def test_the_trace_has_the_error_in_a_child_run_and_the_documents_in_the_run(fake: Fake, compress: Compress) -> None:
    tracer = RunCollectorCallbackHandler()
    adapter = falling_back(fake, errors.PassError("a kernel failed"), top_n=1)
    found = compress(adapter, DOCUMENTS, "c", callbacks=[tracer])
    (run,) = tracer.traced_runs
    assert (run.name, run.error) == ("Qwen3Rerank", None)
    assert run.outputs == {"output": found}
    (reranking,) = run.child_runs
    assert reranking.name == "rerank"
    assert "a kernel failed" in str(reranking.error)


def test_scores_without_documents_are_never_made_up(fake: Fake) -> None:
    with pytest.raises(errors.PassError):
        falling_back(fake, errors.PassError("down")).rerank(DOCUMENTS, "c")


def test_a_model_that_is_not_there_falls_back(tmp_path: Path, compress: Compress) -> None:
    adapter = Qwen3Rerank(model=tmp_path / "gone", on_failure="retrieval_order", top_n=1)
    (only,) = compress(adapter, DOCUMENTS, "c")
    assert only.metadata["rerank_failure"].startswith("CheckpointNotFoundError: There is no folder")


def test_a_call_that_is_late_falls_back_at_its_deadline(compress: Compress) -> None:
    with HeldEngine():
        (only,) = compress(
            Qwen3Rerank(model="demo", timeout=0.2, on_failure="retrieval_order", top_n=1), DOCUMENTS, "c"
        )
    assert only.metadata["rerank_failure"].startswith("RerankTimeoutError: ")


def test_a_server_that_nobody_listens_at_falls_back(compress: Compress) -> None:
    need("httpx")
    adapter = Qwen3Rerank(
        model="m", remote="http://127.0.0.1:9", template="server", timeout=5, on_failure="retrieval_order", top_n=1
    )
    (only,) = compress(adapter, DOCUMENTS, "c")
    assert only.metadata["rerank_failure"].startswith(("RemoteUnreachableError: ", "RerankTimeoutError: "))


def test_the_step_of_a_chain_falls_back_too_and_keeps_its_schema(fake: Fake) -> None:
    step = falling_back(fake, errors.PassError("down"), top_n=1).as_runnable()
    assert set(step.get_input_schema().model_fields) == {"query", "documents"}
    given = {"query": "c", "documents": DOCUMENTS}
    (only,) = step.bind(top_n=1).invoke(given)
    assert only.id == "a"
    assert given == {"query": "c", "documents": DOCUMENTS}
