"""Tracing: one child run a call, with its inputs, its outputs or its error, whatever the callbacks are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, CallbackManager
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.schemas import Run

from qwen3_rerank_plugins.errors import InputTypeError, PassError
from qwen3_rerank_plugins.langchain import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.langchain.conftest import Compress

# the run collector of the oldest langchain-core that we support, under a new pydantic
pytestmark = pytest.mark.filterwarnings("ignore:The `copy` method is deprecated:DeprecationWarning")

Fake = Callable[..., Qwen3Rerank]

CALLBACKS: dict[str, Callable[[BaseCallbackHandler], Any]] = {
    "list": lambda handler: [handler],
    "CallbackManager": lambda handler: CallbackManager([handler], inheritable_handlers=[handler]),
    "AsyncCallbackManager": lambda handler: AsyncCallbackManager([handler], inheritable_handlers=[handler]),
}


@pytest.fixture
def tracer() -> RunCollectorCallbackHandler:
    return RunCollectorCallbackHandler()


def only_run(tracer: RunCollectorCallbackHandler) -> Run:
    (run,) = tracer.traced_runs
    return run


@pytest.mark.parametrize("kind", CALLBACKS)
def test_a_call_is_one_run_with_its_inputs_and_outputs(
    fake: Fake, compress: Compress, tracer: RunCollectorCallbackHandler, kind: str
) -> None:
    documents = [Document("red"), Document("green")]
    found = compress(fake(), documents, "green", callbacks=CALLBACKS[kind](tracer))
    run = only_run(tracer)
    assert (run.name, run.run_type, run.error, run.child_runs) == ("Qwen3Rerank", "chain", None, [])
    assert run.inputs == {"query": "green", "documents": documents}
    assert run.outputs == {"output": found}
    assert run.end_time is not None


def test_without_callbacks_there_is_nothing_to_trace(
    fake: Fake, compress: Compress, tracer: RunCollectorCallbackHandler
) -> None:
    assert len(compress(fake(), [Document("red")], "red", callbacks=None)) == 1
    assert tracer.traced_runs == []


def test_inside_of_a_runnable_the_run_hangs_on_the_runnables(fake: Fake, tracer: RunCollectorCallbackHandler) -> None:
    outer = RunnableLambda(lambda query: fake().compress_documents([Document("red")], query), name="outer")
    outer.invoke("red", config={"callbacks": [tracer]})
    run = only_run(tracer)
    assert (run.name, [child.name for child in run.child_runs]) == ("outer", ["Qwen3Rerank"])


@pytest.mark.asyncio
async def test_inside_of_an_async_runnable_the_run_hangs_on_the_runnables(
    fake: Fake, tracer: RunCollectorCallbackHandler
) -> None:
    async def search(query: str) -> list[Document]:
        return await fake().acompress_documents([Document("red")], query)

    await RunnableLambda(search).ainvoke("red", config={"callbacks": [tracer]})
    assert [child.name for child in only_run(tracer).child_runs] == ["Qwen3Rerank"]


@pytest.mark.parametrize("kind", CALLBACKS)
def test_an_error_of_the_model_ends_the_run(
    fake: Fake, compress: Compress, tracer: RunCollectorCallbackHandler, kind: str
) -> None:
    broken = fake(OverlapScorer(error=PassError("the kernel went away")))
    with pytest.raises(PassError, match="the kernel went away"):
        compress(broken, [Document("red")], "red", callbacks=CALLBACKS[kind](tracer))
    assert "the kernel went away" in (only_run(tracer).error or "")


def test_an_error_of_the_caller_ends_the_run(
    fake: Fake, compress: Compress, tracer: RunCollectorCallbackHandler
) -> None:
    with pytest.raises(InputTypeError):
        compress(fake(), [Document("red")], None, callbacks=[tracer])
    assert "query must be a string" in (only_run(tracer).error or "")


def test_no_documents_are_a_run_as_well(fake: Fake, compress: Compress, tracer: RunCollectorCallbackHandler) -> None:
    assert compress(fake(), [], "red", callbacks=[tracer]) == []
    assert only_run(tracer).outputs == {"output": []}


def test_a_generator_is_traced_as_the_documents_it_gave(
    fake: Fake, compress: Compress, tracer: RunCollectorCallbackHandler
) -> None:
    compress(fake(), (Document(text) for text in ("red", "green")), "red", callbacks=[tracer])
    assert only_run(tracer).inputs["documents"] == [Document("red"), Document("green")]


def test_metadata_that_cannot_be_copied_does_not_disturb_a_trace(
    fake: Fake, compress: Compress, tracer: RunCollectorCallbackHandler
) -> None:
    lock = threading.Lock()
    (found,) = compress(fake(), [Document("red", metadata={"lock": lock})], "red", callbacks=[tracer])
    assert found.metadata["lock"] is lock
    assert only_run(tracer).error is None
