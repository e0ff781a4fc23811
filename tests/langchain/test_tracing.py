"""A trace has one child run per call, with inputs and outputs or an error, whatever the form of the callbacks."""

from __future__ import annotations

import asyncio
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


MANAGERS: dict[str, Callable[[CallbackManager, AsyncCallbackManager], Any]] = {
    "run manager": lambda manager, _: manager.on_retriever_start({}, "red"),
    "child of a run manager": lambda manager, _: manager.on_retriever_start({}, "red").get_child(),
    "run manager of a tool": lambda manager, _: manager.on_tool_start({}, "red"),
    "run manager of a chain": lambda manager, _: manager.on_chain_start({}, {}),
    "async run manager": lambda _, manager: asyncio.run(manager.on_retriever_start({}, "red")),
    "sync twin of an async one": lambda _, manager: asyncio.run(manager.on_retriever_start({}, "red")).get_sync(),
}


@pytest.mark.parametrize("kind", MANAGERS)
def test_a_run_manager_makes_the_call_a_child_of_its_run(
    fake: Fake, compress: Compress, tracer: RunCollectorCallbackHandler, kind: str
) -> None:
    handlers = [tracer]
    parent = MANAGERS[kind](
        CallbackManager(handlers, inheritable_handlers=handlers),
        AsyncCallbackManager(handlers, inheritable_handlers=handlers),
    )
    assert len(compress(fake(), [Document("red")], "red", parent)) == 1
    (outer,) = tracer.run_map.values()
    assert [child.name for child in outer.child_runs] == ["Qwen3Rerank"]


def test_a_tuple_of_handlers_is_as_good_as_a_list(
    fake: Fake, compress: Compress, tracer: RunCollectorCallbackHandler
) -> None:
    compress(fake(), [Document("red")], "red", callbacks=(tracer,))
    assert only_run(tracer).name == "Qwen3Rerank"


def test_what_are_no_callbacks_is_refused_with_what_to_pass(
    fake: Fake, compress: Compress, tracer: RunCollectorCallbackHandler
) -> None:
    manager = CallbackManager([tracer])
    for wrong in (tracer, {"callbacks": [tracer]}, [None], "tracer", manager.on_llm_start({}, ["red"])[0]):
        with pytest.raises(InputTypeError, match="callbacks must be None, a list of handlers"):
            compress(fake(), [Document("red")], "red", callbacks=wrong)


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
