"""The public reranker: it validates options and requests, submits them to an engine and ranks the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins._options import UNSET, Unset, check_max_length, check_min_score, check_top_n, resolve
from qwen3_rerank_plugins._registry import EngineUser
from qwen3_rerank_plugins.engine.model_name import ModelName
from qwen3_rerank_plugins.engine.ranking import (
    PairGroup,
    RankedDocument,
    group_pairs,
    pair_probabilities,
    rank_documents,
)
from qwen3_rerank_plugins.engine.report import log_report
from qwen3_rerank_plugins.engine.request import AnyText, Instruction, RerankRequest, check_instruction, make_request
from qwen3_rerank_plugins.engine.scorer import Scorer, Scores
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
from qwen3_rerank_plugins.engine.submission import asubmit_all, submit_all
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.remote.settings import (
    DEFAULT_TIMEOUT,
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


class Qwen3Reranker(EngineUser):
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
        timeout: maximum seconds of one request to the server, from the connection to the last byte of the answer.
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
        timeout: float = DEFAULT_TIMEOUT,
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
        check_instruction(instruction)
        self.instruction = instruction

    def rank(
        self,
        query: str,
        documents: Iterable[AnyText],
        *,
        instruction: Instruction | Unset | None = UNSET,
        top_n: int | Unset | None = UNSET,
        min_score: float | Unset | None = UNSET,
        long_documents: LongDocuments | Unset = UNSET,
    ) -> list[RankedDocument]:
        """Rank documents by their relevance to the query, best first.

        The options default to those of the reranker.

        Args:
            query: what to look for.
            documents: texts, or mappings with a text under "page_content" or "text". Ties keep this order.
            instruction: for this call, a sentence or a function of the query; None selects the model card's.
            top_n: for this call; None returns all.
            min_score: for this call; None returns all.
            long_documents: for this call.

        Returns:
            At most `top_n` documents, each with its index, probability, log-odds and the tokens cut from its end.

        Raises:
            RequestError: an argument is not text, query and instruction leave no tokens for any document, or a
                document is too long and `long_documents` is "error".
            CheckpointError: the model cannot be loaded.
            ScoringError: the model gave no usable score. Broken scores never order documents.
            Exception: anything that an instruction function raises.
        """
        limits = self._limits(top_n, min_score)
        request = self._request(query, documents, instruction, long_documents)
        (scores,) = submit_all([request], self._scorer)
        return _ranked(request, scores, *limits)

    async def arank(
        self,
        query: str,
        documents: Iterable[AnyText],
        *,
        instruction: Instruction | Unset | None = UNSET,
        top_n: int | Unset | None = UNSET,
        min_score: float | Unset | None = UNSET,
        long_documents: LongDocuments | Unset = UNSET,
    ) -> list[RankedDocument]:
        """`rank` without blocking the event loop. Canceling the task drops the work that has not run yet."""
        limits = self._limits(top_n, min_score)
        request = self._request(query, documents, instruction, long_documents)
        (scores,) = await asubmit_all([request], self._scorer)
        return _ranked(request, scores, *limits)

    def score(
        self, pairs: Iterable[tuple[str, AnyText]], *, instruction: Instruction | Unset | None = UNSET
    ) -> list[float]:
        """Return the probability of "yes" for each (query, document) pair, in input order.

        Pairs with the same query share its prefix. The instruction defaults to that of the reranker.

        Raises:
            RerankError: as `rank`.
        """
        groups = self._groups(pairs, instruction)
        return _probabilities(groups, submit_all([group.request for group in groups], self._scorer))

    async def ascore(
        self, pairs: Iterable[tuple[str, AnyText]], *, instruction: Instruction | Unset | None = UNSET
    ) -> list[float]:
        """`score` without blocking the event loop."""
        groups = self._groups(pairs, instruction)
        return _probabilities(groups, await asubmit_all([group.request for group in groups], self._scorer))

    def _limits(self, top_n: int | Unset | None, min_score: float | Unset | None) -> tuple[int | None, float | None]:
        return check_top_n(resolve(top_n, self.top_n)), check_min_score(resolve(min_score, self.min_score))

    def _request(
        self,
        query: str,
        documents: Iterable[AnyText],
        instruction: Instruction | Unset | None,
        long_documents: LongDocuments | Unset = UNSET,
    ) -> RerankRequest:
        wanted = resolve(instruction, self.instruction)
        long = one_of("long_documents", resolve(long_documents, self.long_documents), get_args(LongDocuments))
        return make_request(query, documents, wanted, self.max_length, long, self.on_nonfinite)

    def _groups(self, pairs: Iterable[tuple[str, AnyText]], instruction: Instruction | Unset | None) -> list[PairGroup]:
        return group_pairs(pairs, lambda query, documents: self._request(query, documents, instruction))


def _ranked(request: RerankRequest, scores: Scores, top_n: int | None, min_score: float | None) -> list[RankedDocument]:
    ranked = rank_documents(request, scores, top_n, min_score)
    log_report([scores])
    return ranked


def _probabilities(groups: Sequence[PairGroup], scores: Sequence[Scores]) -> list[float]:
    probabilities = pair_probabilities(groups, scores)
    log_report(scores)
    return probabilities
