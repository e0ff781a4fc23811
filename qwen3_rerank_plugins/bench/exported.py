"""Baselines that export the model to another runtime of a CPU first: OpenVINO and ONNX Runtime.

They get what a careful user would give them: the backbone and one row, yes minus no, for the last token only. Prompts
are sorted by length and padded on the right, because OpenVINO returns NaN for prompts that are padded on the left.
Before one of them is timed, it must agree with the same module in torch.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from qwen3_rerank_plugins.bench.prompts import encode_prompts, pairs_of
from qwen3_rerank_plugins.engine.loading.loader import dtype_word
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.errors import ScoringError

Requests = Sequence[RerankRequest]
Inputs = tuple[Tensor, Tensor]
"""Token IDs, and 1 for each token or 0 for padding: [B, L] int64 each."""
Run = Callable[[Inputs], Any]
"""Returns the log-odds of a padded batch, [B]."""
_BATCHES = (1, 8, 32)


class Runtime(Protocol):
    """Exports a module to a runtime.

    Attributes:
        tolerance: largest difference of log-odds from the module in float32 that its number format explains.
    """

    tolerance: float

    def export(self, module: nn.Module, example: Inputs, folder: Path) -> Run:
        """Return a function that runs the module in the runtime. Files in the folder are deleted afterwards."""
        ...


class LogOdds(nn.Module):
    """The backbone of a reranker and the difference of its two answers, as a module that can be exported."""

    def __init__(self, causal_lm: Any, yes: int, no: int) -> None:
        super().__init__()
        self.backbone = causal_lm.model
        rows = causal_lm.get_output_embeddings().weight
        self.direction = nn.Parameter((rows[yes].float() - rows[no].float()), requires_grad=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the log-odds of a batch that is padded on the right, [B] float32."""
        positions = mask.cumsum(dim=1) - 1
        states = self.backbone(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
        last = mask.sum(dim=1) - 1
        log_odds: Tensor = states.last_hidden_state[torch.arange(ids.shape[0]), last].float() @ self.direction
        return log_odds


class Exported:
    """A baseline in another runtime.

    Args:
        folder: the checkpoint.
        runtime: the runtime.
    """

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        options: dict[str, Any] = {dtype_word(): torch.float32, "attn_implementation": "sdpa"}
        causal_lm: Any = AutoModelForCausalLM.from_pretrained(folder, **options)
        answers: Any = self._tokenizer.convert_tokens_to_ids(["yes", "no"])
        module = LogOdds(causal_lm.eval(), *answers)
        example = _inputs([[*range(5, 25)], [*range(30, 42)]], self._pad_id)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="qwen3-rerank-bench-") as files:
            self._run = runtime.export(module, example, Path(files))
        self._exported = f"exported in {time.perf_counter() - started:.0f} s"
        self._check(module, runtime.tolerance)
        self._batch = _BATCHES[0]
        self.note = ""

    @property
    def _pad_id(self) -> int:
        return int(self._tokenizer.pad_token_id or 0)

    @torch.no_grad()
    def _check(self, module: nn.Module, tolerance: float) -> None:
        """Raise ScoringError if the runtime does not agree with the module for prompts of unequal lengths."""
        inputs = _inputs([[*range(100, 100 + length)] for length in (70, 9, 33)], self._pad_id)
        expected, found = module(*inputs), torch.as_tensor(self._run(inputs)).flatten()
        difference = float((expected - found).abs().max())
        if not difference <= tolerance:
            raise ScoringError(
                f"The exported model differs from torch by {difference:.2g} log-odds, more than {tolerance:g}, so "
                "its times would mean nothing. Check the exporter, its rope_theta for instance."
            )

    def prepare(self, requests: Requests) -> None:
        """Run each batch size once and keep the fastest."""
        seconds: dict[int, float] = {}
        for self._batch in _BATCHES:
            started = time.perf_counter()
            self.score(requests)
            seconds[self._batch] = time.perf_counter() - started
        self._batch = min(seconds, key=lambda batch: seconds[batch])
        self.note = f"batch {self._batch}, {self._exported}"

    def score(self, requests: Requests) -> list[float]:
        """Return the log-odds of all documents, request by request."""
        prompts = encode_prompts(self._tokenizer, pairs_of(requests))
        found = [0.0] * len(prompts)
        for places in self._batches(prompts):
            log_odds = torch.as_tensor(self._run(_inputs([prompts[place] for place in places], self._pad_id)))
            for place, one in zip(places, log_odds.flatten().tolist(), strict=True):
                found[place] = one
        return found

    def _batches(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        by_length = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        for start in range(0, len(by_length), self._batch):
            yield by_length[start : start + self._batch]


class OpenVino:
    """OpenVINO on a CPU.

    Args:
        precision: "f32" or "bf16", in which products are computed.
        int8_weights: compress the weights to int8 with nncf.
    """

    def __init__(self, precision: str, *, int8_weights: bool = False) -> None:
        self._precision, self._int8_weights = precision, int8_weights
        self.tolerance = 1.0 if int8_weights else 1e-2 if precision == "f32" else 0.3

    def export(self, module: nn.Module, example: Inputs, folder: Path) -> Run:
        """See `Runtime.export`."""
        openvino = importlib.import_module("openvino")
        with torch.no_grad():
            model = openvino.convert_model(module, example_input=example)
        if self._int8_weights:
            nncf = importlib.import_module("nncf")
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
        hints = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = openvino.Core().compile_model(model, "CPU", hints)
        return lambda inputs: compiled([tensor.numpy() for tensor in inputs])[0]


class OnnxRuntime:
    """ONNX Runtime on a CPU, in float32 or with dynamic int8 products."""

    def __init__(self, *, int8: bool = False) -> None:
        self._int8 = int8
        self.tolerance = 1.0 if int8 else 1e-2

    def export(self, module: nn.Module, example: Inputs, folder: Path) -> Run:
        """See `Runtime.export`."""
        onnxruntime = importlib.import_module("onnxruntime")
        names = ["ids", "mask"]
        file = folder / "model.onnx"
        axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
        torch.onnx.export(
            module,
            example,
            file,
            input_names=names,
            dynamo=True,
            external_data=True,
            verbose=False,
            dynamic_shapes=(axes, axes),
        )
        if self._int8:
            tools = importlib.import_module("onnxruntime.quantization")
            whole, file = file, folder / "int8.onnx"
            tools.quantize_dynamic(whole, file, weight_type=tools.QuantType.QInt8, use_external_data_format=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return lambda inputs: session.run(
            None, {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        )[0]


def _inputs(prompts: Sequence[Sequence[int]], pad: int) -> Inputs:
    """Pad prompts on the right."""
    longest = max(map(len, prompts))
    padding = [longest - len(prompt) for prompt in prompts]
    ids = torch.tensor([[*prompt, *[pad] * missing] for prompt, missing in zip(prompts, padding, strict=True)])
    return ids, torch.tensor([[1] * (longest - missing) + [0] * missing for missing in padding])
