"""One pass: plan in, log-odds out, device errors translated."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.model.varlen import varlen_calls
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, RequestSlice
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import DeviceMemoryError

REQUEST = TokenizedRequest((1, 2), ((3,), (4, 5)), (0, 1), (0, 0))
PLAN = BatchPlan((RequestSlice(0, (0, 1), 5),))


def run(model: Any) -> list[float]:
    return ModelRunner(model, lambda hidden: hidden.sum(-1), torch.device("cpu"))([REQUEST], PLAN)  # type: ignore[arg-type]


def test_log_odds_come_out_as_python_floats_in_plan_order() -> None:
    found = run(lambda batch: batch.input_ids[batch.last_token_indices, None].float())
    assert found == [3.0, 5.0]
    assert all(type(value) is float for value in found)


def test_a_full_device_is_our_own_error_with_the_size_of_the_pass() -> None:
    def full(_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("tried to allocate everything")

    with pytest.raises(DeviceMemoryError, match="5 tokens.*tried to allocate everything") as caught:
        run(full)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "the traceback would keep the pass's tensors alive"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_other_allocators_words_for_it_are_understood(error: Exception) -> None:
    def full(_: object) -> torch.Tensor:
        raise error

    with pytest.raises(DeviceMemoryError, match="A batch of 5 tokens for 2 documents ran out of device memory"):
        run(full)


def test_any_other_error_goes_on_as_it_is() -> None:
    def broken(_: object) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(broken)


def test_gradients_are_off() -> None:
    assert run(lambda batch: torch.ones(2, 1) * torch.is_inference_mode_enabled()) == [1.0, 1.0]


def test_a_pass_starts_before_anybody_waits_and_its_tensors_are_built_before_that() -> None:
    events: list[str] = []

    class Scores(torch.Tensor):
        def tolist(self) -> list[float]:
            events.append("waited")
            return [1.0, 2.0]

    def model(batch: Any) -> torch.Tensor:
        events.append("ran")
        return torch.zeros(2, 1)

    runner = ModelRunner(model, lambda _: torch.zeros(2).as_subclass(Scores), torch.device("cpu"))  # type: ignore[arg-type]
    batch = runner.prepare([REQUEST], PLAN)
    assert batch.tensors.input_ids.device.type == "cpu"
    wait = runner.start(batch)
    assert events == ["ran"]
    assert wait() == [1.0, 2.0]
    assert events == ["ran", "waited"]


@pytest.mark.parametrize("varlen", [True, False])
def test_the_arguments_of_flash_attention_are_computed_on_the_host_where_it_runs(varlen: bool) -> None:
    runner = ModelRunner(lambda _: None, lambda _: None, torch.device("cpu"), varlen=varlen)  # type: ignore[arg-type, return-value]
    batch = runner.prepare([REQUEST], PLAN).tensors
    assert [layout.stored(varlen_calls) is not None for layout in (batch.layout, batch.last_layout)] == [varlen] * 2


def test_all_tensors_of_a_batch_reach_another_device_in_one_transfer() -> None:
    """The meta device takes part in transfers as a GPU does."""
    batch = (
        ModelRunner(lambda _: None, lambda _: None, torch.device("cpu"), varlen=True).prepare([REQUEST], PLAN).tensors
    )  # type: ignore[arg-type, return-value]
    moves: list[Any] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func.name() == "aten::_to_copy":
                moves.append(args[0].shape)
            return func(*args, **(kwargs or {}))

    with Watch():
        there = batch.to(torch.device("meta"))
    assert len(moves) == 1
    for layout in (there.layout, there.last_layout):
        (call,) = layout.stored(varlen_calls) or ()
        assert {tensor.device.type for tensor in call.tensors} == {"meta"}
        assert all(tensor.storage_offset() % 4 == 0 for tensor in call.tensors), "kernels like 16-byte boundaries"
    assert there.to(torch.device("meta")) is there
    assert torch.equal(batch.to(torch.device("cpu")).input_ids, batch.input_ids)
