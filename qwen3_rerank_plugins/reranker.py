"""The facade: validates, submits to an engine, builds results. Both adapters and the command line stand on it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.engine.concurrency.lifetime import inside_a_call
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
    SHORTEST_MAX_LENGTH,
    AttentionName,
    DeviceMap,
    Dtype,
    EngineSettings,
    LongDocuments,
    OnNonfinite,
    Quantization,
    as_secret,
    one_of,
    positive_int,
)
from qwen3_rerank_plugins.engine.submission import asubmit_all, submit_all
from qwen3_rerank_plugins.errors import ClosedError, SettingsError
from qwen3_rerank_plugins.remote.settings import (
    DEFAULT_TIMEOUT,
    ProtocolName,
    ServerScores,
    Template,
    choose_remote,
    hidden_url,
    unsupported_remotely,
)

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class Unset(enum.Enum):
    """The type of `OWN`, which stands for an option that a call leaves to whoever is called."""

    UNSET = "own"

    def __repr__(self) -> str:
        return self.name


UNSET = Unset.UNSET
"""None cannot say it: as an option None is a choice, such as no limit."""


class Qwen3Reranker:
    """A Qwen3-Reranker, ready to rank. Making one loads nothing; the first call does.

    Rerankers with equal engine settings share one loaded model. All methods may be called from any thread and any event
    loop. Copies (also deep ones) share the engine; a pickle holds the settings only, never the weights or the token.

    Args:
        model: hub id, local folder, or "demo" for the bundled demo checkpoint. Which one is meant is decided once, now:
            a string is a folder if it begins like a path or if there is such a folder. A `Path` is always a folder.
        revision: branch, tag or commit on the hub.
        device: "auto", or a torch device, as a string or an object.
        devices: several of them, such as ["cuda:0", "cuda:1"], instead of `device`: a whole model on each, and every
            call goes where there is least to do, a large one to all of them.
        device_map: "auto" spreads the layers of one model over all GPUs, for one that is too large for any of them.
        dtype: "auto", "bfloat16", "float16" or "float32".
        attention: "auto", "varlen", "flash_attn" or "sdpa".
        quantization: None, or "int8", "int4" or "fp8" for the weights of the decoder layers: less memory, less exact.
        instruction: what "relevant" means for your task, in English, or a function of the query that says so; None is
            the model card's web-search instruction.
        top_n: most documents that `rank` returns; None returns all.
        min_score: lowest probability that `rank` returns, inclusive; None returns all.
        max_length: tokens of one whole prompt; None is 8,192, or as many as the model has positions for if those are
            fewer. Only documents are ever cut, from their end.
        long_documents: what becomes of a document that does not fit: "truncate" cuts its end, and says so in the result
            and in one warning a call; "error" refuses the call; "windows" reads all of it in overlapping windows, of
            which the best stands for the document.
        on_nonfinite: what becomes of a score that overflows in 16 bits: "error", or "float32" to compute just that one
            again in float32.
        max_batch_tokens: unique tokens in one forward pass; "auto" derives it from free memory.
        threads: of the CPU, for a model that runs on it; "auto" goes by the cores, the quota and the affinity of this
            process, and by the size of the model. Only the engine's own thread is set, never those of your program.
        compile: compile the layers with torch.compile; worth it for servers.
        cache_dir: hub cache folder.
        local_files_only: never touch the network.
        token: hub access token.
        trust_remote_code: let transformers run code from the checkpoint.
        remote: URL of a server that runs the model, instead of this process; `model` is then its name there, and the
            other engine settings are refused. Needs the extra "remote".
        protocol: what the server speaks: "auto", "vllm", "vllm-rerank", "sglang", "tei", "infinity" or "cohere".
        template: with `remote`, who applies the prompt template: "server" or "client".
        scores: what the server's numbers are: "auto", "probability" or "logit".
        probe: refuse a server whose answers to known questions show that the template is missing, doubled or damaged.
        timeout: seconds that one request to the server may take, from the connection to the last byte of the answer.
        api_key: of the server.
        scorer: an engine of your own instead of a local model; the engine settings are then not used.

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
        # before anything here can fail, and be reported with its local variables
        token, api_key, remote = as_secret(token), as_secret(api_key), hidden_url(remote)
        if remote is not None and isinstance(model, (str, Path)) and str(model).strip():
            model = ModelName(plain.text(model))  # the server's word, whatever folders there are on this machine
        settings = EngineSettings(
            model=model,  # type: ignore[arg-type]  # the settings resolve it
            revision=revision,
            device=device,  # type: ignore[arg-type]  # the settings name it
            devices=devices,  # type: ignore[arg-type]  # the settings check it, and make it a tuple
            device_map=device_map,
            dtype=dtype,
            attention=attention,
            quantization=quantization,
            max_batch_tokens=max_batch_tokens,
            threads=threads,
            compile=compile,
            cache_dir=cache_dir,  # type: ignore[arg-type]
            local_files_only=local_files_only,
            token=token,
            trust_remote_code=trust_remote_code,
        )
        self.remote = choose_remote(
            remote,
            settings,
            protocol=protocol,
            template=template,
            scores=scores,
            probe=probe,
            timeout=timeout,
            api_key=api_key,
        )
        self.settings = settings
        top_n, min_score = check_top_n(top_n), check_min_score(min_score)
        if max_length is not None:
            max_length = positive_int("max_length", max_length)
        if max_length is not None and max_length < SHORTEST_MAX_LENGTH:
            raise SettingsError(
                f"max_length={max_length} is too short: the bare template takes {SHORTEST_MAX_LENGTH - 1} tokens, so "
                f"max_length must be at least {SHORTEST_MAX_LENGTH}, plus the instruction, the query and the document."
            )
        long_documents = one_of("long_documents", long_documents, get_args(LongDocuments))
        on_nonfinite = one_of("on_nonfinite", on_nonfinite, get_args(OnNonfinite))
        if on_nonfinite == "float32" and quantization is not None:
            raise SettingsError(
                "on_nonfinite='float32' needs the weights as they were, and "
                f"quantization={quantization!r} rounds them. Drop one of the two."
            )
        if self.remote is not None:
            if scorer is not None:
                raise SettingsError("remote=... and scorer=... are two engines; pass only one.")
            if refusal := unsupported_remotely(max_length, long_documents, on_nonfinite):
                raise SettingsError(refusal)
            import qwen3_rerank_plugins.remote.scorer  # noqa: F401  # a missing extra shows here, not at the first call
        check_instruction(instruction)
        self.instruction = instruction
        self.top_n = top_n
        self.min_score = min_score
        self.max_length = max_length
        self.long_documents: LongDocuments = long_documents
        self.on_nonfinite: OnNonfinite = on_nonfinite
        self._own_scorer = scorer
        self._closed = False

    def rank(
        self,
        query: str,
        documents: Iterable[AnyText],
        *,
        instruction: Instruction | Unset | None = UNSET,
        top_n: int | Unset | None = UNSET,
        min_score: float | Unset | None = UNSET,
    ) -> list[RankedDocument]:
        """Order documents by how well they meet the query, best first.

        Args:
            query: what is looked for.
            documents: texts, or mappings with a text under "page_content" or "text"; their order breaks ties.
            instruction: for this call, a sentence or a function of the query; None is the model card's.
            top_n: for this call; None returns all.
            min_score: for this call; None returns all.

        What is left out is the reranker's own.

        Returns:
            At most `top_n` documents, each with its index, probability, log-odds and the tokens cut from its end.

        Raises:
            RequestError: something is not text, query and instruction leave no room for any document, or a document is
                too long and `long_documents` is "error".
            CheckpointError: the model cannot be loaded.
            ScoringError: the model gave no usable score; nothing is ever ordered by a broken one.
            Exception: whatever an instruction that is a function raises.
        """
        most, lowest = check_top_n(_resolve(top_n, self.top_n)), check_min_score(_resolve(min_score, self.min_score))
        request = self._request(query, documents, instruction)
        (scores,) = submit_all([request], self._scorer)
        ranked = rank_documents(request, scores, most, lowest)
        log_report([scores])
        return ranked

    async def arank(
        self,
        query: str,
        documents: Iterable[AnyText],
        *,
        instruction: Instruction | Unset | None = UNSET,
        top_n: int | Unset | None = UNSET,
        min_score: float | Unset | None = UNSET,
    ) -> list[RankedDocument]:
        """`rank` without blocking the event loop; cancelling the task drops what has not run yet."""
        most, lowest = check_top_n(_resolve(top_n, self.top_n)), check_min_score(_resolve(min_score, self.min_score))
        request = self._request(query, documents, instruction)
        (scores,) = await asubmit_all([request], self._scorer)
        ranked = rank_documents(request, scores, most, lowest)
        log_report([scores])
        return ranked

    def score(
        self, pairs: Iterable[tuple[str, AnyText]], *, instruction: Instruction | Unset | None = UNSET
    ) -> list[float]:
        """Probability of "yes" for each (query, document) pair, in input order; pairs of one query share its prefix.

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

    def warmup(self) -> None:
        """Load the model and run once, so that the first request does not pay for it."""
        scorer = self._scorer()
        with inside_a_call():
            scorer.warmup()

    def close(self) -> None:
        """Stop using the engine; its memory is freed once no other reranker uses it. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._release()

    @property
    def loads_a_model(self) -> bool:
        """Whether a model runs in this process: there is neither a server nor an engine of the caller's own."""
        return self.remote is None and self._own_scorer is None

    def __enter__(self) -> Qwen3Reranker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if "settings" not in vars(self):  # refused, and shown by a reporter of the error
            return "Qwen3Reranker(unmade)"
        if self.remote is not None:
            return f"Qwen3Reranker({self.settings.model!r}, remote={self.remote.url!r})"
        settings = self.settings
        where = f"devices={list(settings.devices)!r}" if settings.devices else f"device={settings.device!r}"
        return f"Qwen3Reranker({settings.model!r}, {where}, dtype={settings.dtype!r})"

    def __copy__(self) -> Qwen3Reranker:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Qwen3Reranker:
        return self

    def _request(
        self, query: str, documents: Iterable[AnyText], instruction: Instruction | Unset | None
    ) -> RerankRequest:
        return make_request(
            query,
            documents,
            _resolve(instruction, self.instruction),
            self.max_length,
            self.long_documents,
            self.on_nonfinite,
        )

    def _groups(self, pairs: Iterable[tuple[str, AnyText]], instruction: Instruction | Unset | None) -> list[PairGroup]:
        return group_pairs(pairs, lambda query, documents: self._request(query, documents, instruction))

    def _scorer(self) -> Scorer:
        self._refuse_closed()
        scorer = self._find_scorer()
        try:
            self._refuse_closed()  # by another thread or a signal handler, while the engine was found
        except ClosedError:
            self._release()
            raise
        return scorer

    def _find_scorer(self) -> Scorer:
        if self.remote is not None:
            from qwen3_rerank_plugins.remote.scorer import RemoteScorer

            return registry.share(self.remote, RemoteScorer, self)
        return self._own_scorer or registry.acquire(self.settings, self)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError("This reranker is closed. Make a new one to go on.")

    def _release(self) -> None:
        if self._own_scorer is None:
            registry.release(self.remote or self.settings, self)


def _resolve(option: T | Unset, own: T) -> T:
    return own if isinstance(option, Unset) else option


def check_top_n(top_n: int | None) -> int | None:
    """`top_n` as an `int` or None, unless it is negative, fractional or no number."""
    found = plain.whole(top_n)
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 0):
        raise SettingsError(f"top_n must be None (all documents) or a whole number >= 0, got {top_n!r}.")
    return found


def check_min_score(min_score: float | None) -> float | None:
    """`min_score` as a `float` or None, unless it is no probability."""
    found = plain.number(min_score)
    if found is not None and not (isinstance(found, float) and 0 <= found <= 1):
        raise SettingsError(f"min_score must be None or a probability between 0 and 1, got {min_score!r}.")
    return found


def _probabilities(groups: Sequence[PairGroup], scores: Sequence[Scores]) -> list[float]:
    probabilities = pair_probabilities(groups, scores)
    log_report(scores)
    return probabilities
