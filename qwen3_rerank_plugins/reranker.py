"""The public reranker: it validates the options that all its calls share. `_calls` has the calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins._calls import RerankerCalls
from qwen3_rerank_plugins._options import (
    check_max_length,
    check_max_waiting_tokens,
    check_min_score,
    check_timeout,
    check_top_n,
)
from qwen3_rerank_plugins.engine.call import MaxWaitingTokens
from qwen3_rerank_plugins.engine.model_name import ModelName
from qwen3_rerank_plugins.engine.request import Instruction, check_instruction
from qwen3_rerank_plugins.engine.scorer import Scorer
from qwen3_rerank_plugins.engine.settings import (
    DEFAULT_MODEL,
    AttentionName,
    DeviceMap,
    Dtype,
    EngineSettings,
    KernelsName,
    LongDocuments,
    OnNonfinite,
    Quantization,
    as_secret,
    one_of,
)
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.remote.settings import (
    REMOTE_OPTIONS,
    ProtocolName,
    ServerScores,
    Template,
    choose_remote,
    hidden_url,
    unsupported_remotely,
)

if TYPE_CHECKING:
    import torch


class Qwen3Reranker(RerankerCalls):
    """A Qwen3-Reranker. Creating one loads nothing; its first call loads the model.

    Rerankers with equal engine settings share one loaded model. All methods are safe to call from any thread and any
    event loop. Copies, also deep ones, share the engine. A pickle holds the settings only, never weights or secrets.

    Args:
        model: hub ID, local folder, or "demo" for the bundled demo checkpoint. A `Path` is always a folder; a string is
            one if it begins like a path or if such a folder exists now.
        revision: branch, tag or commit on the hub.
        device: "auto", or a torch device, as a string or an object.
        devices: several devices instead of `device`, such as ["cuda:0", "cuda:1"]. Each one gets a whole model; a call
            goes to the least busy device, a large call to all of them.
        device_map: "auto" spreads the layers of a model that is too large for one GPU over all GPUs.
        dtype: "auto", "bfloat16", "float16" or "float32".
        attention: "auto", "varlen", "flash_attn", "fa3", "fa4" or "sdpa".
        kernels: "auto", "triton" (fused kernels on CUDA), "onednn" (packed weights on a CPU) or "torch".
        quantization: None, or "int8", "int4" or "fp8" weights in the decoder layers: less memory, less exact scores.
        instruction: what "relevant" means for your task, in English, or a function that returns that for a query. None
            selects the model card's web-search instruction.
        top_n: maximum number of documents that `rank` returns; None returns all.
        min_score: lowest probability that `rank` returns, inclusive; None returns all.
        max_length: maximum tokens of one prompt; None is 8,192, or the model's limit if that is lower. Only documents
            are ever truncated, at their end.
        long_documents: "truncate" cuts a document that is too long, and reports that in the result and in one warning
            per call; "error" refuses the call; "windows" reads overlapping windows and keeps the best one's score.
        on_nonfinite: what to do with a score that overflows in 16 bits: "error", or "float32" to recompute it.
        timeout: maximum seconds of a call, waiting and computing together, also on a server; None is no limit.
        max_waiting_tokens: unique tokens that may already wait when a call arrives; with more, it fails at once. "auto"
            is about 30 seconds of work, as measured; None is no limit.
        max_batch_tokens: maximum unique tokens in one forward pass; "auto" derives it from free memory.
        threads: CPU threads of a model on the CPU; "auto" depends on this process's cores, quota and affinity and on
            the size of the model. Only the engine's thread is set, never those of your program.
        compile: compile the layers with torch.compile, on CUDA in place of the fused kernels.
        cache_dir: hub cache folder.
        local_files_only: never use the network.
        token: hub access token.
        trust_remote_code: let transformers run code from the checkpoint.
        remote: URL of a rerank server that runs the model. `model` is then the model's name on that server, and the
            other engine settings are refused. Needs the extra "remote".
        protocol: "auto", "vllm", "vllm-rerank", "sglang", "tei", "infinity" or "cohere".
        template: with `remote`, who applies the prompt template: "server" or "client".
        scores: what the server returns: "auto", "probability" or "logit".
        probe: refuse a server whose answers to known questions show a missing, doubled or damaged template.
        api_key: API key of the server.
        scorer: your own engine instead of a local model; the engine settings are then unused.

    Raises:
        SettingsError: an option is malformed.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        revision: str | None = None,
        device: str | torch.device = "auto",
        devices: Sequence[str | torch.device] | None = None,
        device_map: DeviceMap | None = None,
        dtype: Dtype = "auto",
        attention: AttentionName = "auto",
        kernels: KernelsName = "auto",
        quantization: Quantization | None = None,
        instruction: Instruction | None = None,
        top_n: int | None = None,
        min_score: float | None = None,
        max_length: int | None = None,
        long_documents: LongDocuments = "truncate",
        on_nonfinite: OnNonfinite = "error",
        timeout: float | None = None,
        max_waiting_tokens: MaxWaitingTokens = None,
        max_batch_tokens: int | Literal["auto"] = "auto",
        threads: int | Literal["auto"] = "auto",
        compile: bool = False,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | None = None,
        trust_remote_code: bool = False,
        remote: str | None = None,
        protocol: ProtocolName = "auto",
        template: Template | None = None,
        scores: ServerScores = "auto",
        probe: bool = True,
        api_key: str | None = None,
        scorer: Scorer | None = None,
    ) -> None:
        # error reports show local variables, so secrets are hidden before anything can fail
        token, api_key, remote = as_secret(token), as_secret(api_key), hidden_url(remote)
        if remote is not None and isinstance(model, (str, Path)) and str(model).strip():
            model = ModelName(plain.text(model))  # a name on the server, even if a local folder has the same name
        given = locals()
        settings = EngineSettings(**{field.name: given[field.name] for field in dataclasses.fields(EngineSettings)})
        server = choose_remote(remote, settings, **{name: given[name] for name in REMOTE_OPTIONS})
        super().__init__(settings, server, scorer)
        self.top_n = check_top_n(top_n)
        self.min_score = check_min_score(min_score)
        self.timeout = check_timeout(timeout)
        self.max_waiting_tokens = check_max_waiting_tokens(max_waiting_tokens)
        self.max_length = check_max_length(max_length)
        self.long_documents: LongDocuments = one_of("long_documents", long_documents, get_args(LongDocuments))
        self.on_nonfinite: OnNonfinite = one_of("on_nonfinite", on_nonfinite, get_args(OnNonfinite))
        if on_nonfinite == "float32" and quantization is not None:
            raise SettingsError(
                "on_nonfinite='float32' needs unquantized weights, and "
                f"quantization={quantization!r} rounds them. Drop one of the two."
            )
        if server and (refusal := unsupported_remotely(self.max_length, self.long_documents, self.on_nonfinite)):
            raise SettingsError(refusal)
        if server and self.max_waiting_tokens is not None:
            raise SettingsError(
                "max_waiting_tokens limits the queue of a model in this process, and the server of remote=URL has its "
                "own queue. Leave it out."
            )
        check_instruction(instruction)
        self.instruction = instruction
