"""Our engine and the baselines that people use instead of it, each with its best settings for the device."""

from __future__ import annotations

import importlib
import importlib.util
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from qwen3_rerank_plugins.bench.exported import Exported, OnnxRuntime, OpenVino
from qwen3_rerank_plugins.bench.prompts import PROMPT, encode_prompts, pairs_of
from qwen3_rerank_plugins.bench.workloads import MAX_LENGTH
from qwen3_rerank_plugins.engine.loading.loader import dtype_word
from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.settings import EngineSettings

Requests = Sequence[RerankRequest]


class Baseline(Protocol):
    """An implementation that scores requests. `note` has the settings it ran with."""

    note: str

    def prepare(self, requests: Requests) -> None:
        """Do what is needed once per workload: choose a batch size, warm up."""
        ...

    def score(self, requests: Requests) -> list[float]:
        """Return the log-odds of all documents, request by request."""
        ...


class Ours:
    """Our engine as the facade uses it: submit all requests, then wait for the results."""

    def __init__(self, settings: EngineSettings) -> None:
        self._scorer = LocalScorer(settings)
        self.note = "compiled" if settings.compile else ""

    def prepare(self, requests: Requests) -> None:
        """Load the model, and compile it if the settings say so."""
        self._scorer.warmup()

    def score(self, requests: Requests) -> list[float]:
        """See `Baseline.score`."""
        futures = [self._scorer.submit(request) for request in requests]
        return [log_odds for future in futures for log_odds in future.result().log_odds]


class Card:
    """The model card's script on transformers: whole prompts in small batches, padded on the left.

    Args:
        folder: the checkpoint.
        device: the device.
        dtype: dtype of the weights.
        last_position_only: compute the logits of the last position only. The card computes all of them; a careful user
            would not.
    """

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype, *, last_position_only: bool) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        options: dict[str, Any] = {dtype_word(): dtype, "device_map": {"": device}}
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, **options)
        self._yes, self._no = (self._tokenizer.convert_tokens_to_ids(answer) for answer in ("yes", "no"))
        self._options = {"logits_to_keep": 1} if last_position_only else {}
        self._device = device
        self._batch = 8
        self.note = ""

    def prepare(self, requests: Requests) -> None:
        """Choose batches of eight, or smaller ones whose logits fit into 4 GiB."""
        longest = max(map(len, encode_prompts(self._tokenizer, pairs_of(requests))))
        vocabulary = self._model.config.vocab_size
        logits = 1 if self._options else longest
        self._batch = max(1, min(8, 2**32 // (logits * vocabulary * self._model.dtype.itemsize)))
        self.note = f"batch {self._batch}"

    @torch.inference_mode()
    def score(self, requests: Requests) -> list[float]:
        """See `Baseline.score`."""
        found: list[float] = []
        everything = pairs_of(requests)
        for start in range(0, len(everything), self._batch):
            ids = encode_prompts(self._tokenizer, everything[start : start + self._batch])
            inputs = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self._device)
            logits = self._model(**inputs, **self._options).logits[:, -1]
            found.extend((logits[:, self._yes].float() - logits[:, self._no].float()).tolist())
        return found


class SentenceTransformers:
    """The CrossEncoder of sentence-transformers, one `predict` per call, with the fastest of a few batch sizes."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        from sentence_transformers import CrossEncoder

        options = {dtype_word(): dtype, "attn_implementation": _best_attention(device, dtype)}
        self._encoder = CrossEncoder(str(folder), device=str(device), model_kwargs=options, max_length=MAX_LENGTH)
        self._batches = (16, 32, 64, 128) if device.type == "cuda" else (8, 32)
        self._attention = options["attn_implementation"]
        self._batch = self._batches[0]
        self.note = ""

    def prepare(self, requests: Requests) -> None:
        """Run each batch size once and keep the fastest that fits into memory."""
        seconds: dict[int, float] = {}
        for batch in self._batches:
            self._batch = batch
            try:
                seconds[batch] = _seconds(lambda: self.score(requests))
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
        self._batch = min(seconds, key=lambda batch: seconds[batch])
        self.note = f"batch {self._batch}, {self._attention}"

    def score(self, requests: Requests) -> list[float]:
        """See `Baseline.score`. All requests have the same instruction and go into one call."""
        (instruction,) = {request.instruction for request in requests}
        scores = self._encoder.predict(
            [(query, document) for _, query, document in pairs_of(requests)],
            prompt=instruction,
            activation_fn=torch.nn.Identity(),
            batch_size=self._batch,
            show_progress_bar=False,
        )
        return [float(score) for score in scores]


class Vllm:
    """vLLM's offline `score` with prefix caching. It returns probabilities."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        vllm = importlib.import_module("vllm")
        self._llm = vllm.LLM(
            model=str(folder),
            runner="pooling",
            dtype=str(dtype).removeprefix("torch."),
            max_model_len=MAX_LENGTH,
            enable_prefix_caching=True,
            gpu_memory_utilization=0.5,
            hf_overrides={
                "architectures": ["Qwen3ForSequenceClassification"],
                "classifier_from_token": ["no", "yes"],
                "is_original_qwen3_reranker": True,
            },
        )
        self.note = "prefix caching"

    def prepare(self, requests: Requests) -> None:
        """Run once, so that vLLM has captured its graphs."""
        self.score(requests)

    def score(self, requests: Requests) -> list[float]:
        """See `Baseline.score`. The template is applied here, as in vLLM's documentation of the model."""
        prompts = [PROMPT.format(*pair).partition("<Document>: ") for pair in pairs_of(requests)]
        answers = self._llm.score(
            [head for head, _, _ in prompts], [mark + document for _, mark, document in prompts], use_tqdm=False
        )
        return [_logit(answer.outputs.score) for answer in answers]


def make_baselines(
    folder: Path, settings: EngineSettings, device: torch.device, dtype: torch.dtype
) -> dict[str, Callable[[], Baseline]]:
    """Return a constructor for our engine and for each baseline that is installed, ours first."""
    makers: dict[str, Callable[[], Baseline]] = {
        "ours": lambda: Ours(settings),
        "st": lambda: SentenceTransformers(folder, device, dtype),
        "card-last": lambda: Card(folder, device, dtype, last_position_only=True),
        "card": lambda: Card(folder, device, dtype, last_position_only=False),
        "vllm": lambda: Vllm(folder, dtype),
    }
    if device.type == "cpu":
        precision = "bf16" if dtype == torch.bfloat16 else "f32"
        makers |= {
            "openvino": lambda: Exported(folder, OpenVino(precision)),
            "openvino-int8": lambda: Exported(folder, OpenVino(precision, int8_weights=True)),
            "onnx": lambda: Exported(folder, OnnxRuntime()),
            "onnx-int8": lambda: Exported(folder, OnnxRuntime(int8=True)),
        }
    return {name: make for name, make in makers.items() if all(map(_is_installed, _NEEDED.get(name, ())))}


_NEEDED = {
    "st": ("sentence_transformers",),
    "vllm": ("vllm",),
    "openvino": ("openvino",),
    "openvino-int8": ("openvino", "nncf"),
    "onnx": ("onnxruntime", "onnxscript"),
    "onnx-int8": ("onnxruntime", "onnxscript"),
}
"""The packages of the baselines."""


def _best_attention(device: torch.device, dtype: torch.dtype) -> str:
    flash = device.type == "cuda" and dtype != torch.float32 and _is_installed("flash_attn")
    return "flash_attention_2" if flash else "sdpa"


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _logit(probability: float) -> float:
    clamped = min(max(probability, 1e-12), 1 - 1e-12)
    return math.log(clamped / (1 - clamped))
