"""The whole line behind the seam: prompt, tokens, workers, passes, in this process.

Comes in: `RerankRequest`. Goes out: a future of `Scores`.
Must not know: ranking, adapters.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, check_rows, find_checkpoint
from qwen3_rerank_plugins.engine.checkpoints.model_sizes import complete_config
from qwen3_rerank_plugins.engine.checkpoints.nonfinite_weights import describe_damage
from qwen3_rerank_plugins.engine.concurrency.lifetime import closed_at_exit, loading_alone, refuse_at_exit
from qwen3_rerank_plugins.engine.memory import trim_malloc
from qwen3_rerank_plugins.engine.request import RerankRequest, make_request
from qwen3_rerank_plugins.engine.scheduling.queued_request import ResultBuilder
from qwen3_rerank_plugins.engine.scheduling.replicas import Replicas, ShardCollector, request_of
from qwen3_rerank_plugins.engine.scheduling.scheduler import LoadedEngine, RunBatch, Scheduler
from qwen3_rerank_plugins.engine.scheduling.sharding import Shard
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.engine.settings import DEFAULT_MAX_LENGTH, EngineSettings
from qwen3_rerank_plugins.engine.text.encoding import EncodedRequest, encode_request
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest
from qwen3_rerank_plugins.errors import (
    ClosedError,
    DeviceMemoryError,
    RequestError,
    RerankError,
    UnsupportedCheckpointError,
)

if TYPE_CHECKING:
    from qwen3_rerank_plugins.engine.loading.loader import LoadedModel
    from qwen3_rerank_plugins.engine.loading.shape import Shape
    from qwen3_rerank_plugins.engine.model.head import YesNoHead


class LocalScorer:
    """A model in this process, or one a device. Nothing is loaded before the first request; equal settings should share
    one scorer.

    Args:
        settings: what to load and how.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._process = os.getpid()
        self._opening = threading.RLock()
        self._opened: tuple[Checkpoint, PromptEncoder] | None = None
        self._damage: str | None = None
        self._limit_noted = False
        self._workers = self._make_workers()
        # one needs nobody who divides the work
        self._serving = self._workers[0] if len(self._workers) == 1 else Replicas(self._workers)

    def submit(self, request: RerankRequest) -> Future[Scores]:
        """Tokenise in the caller's thread and queue for the worker's; see `Scorer.submit`."""
        self._check_process()
        if not request.readable:
            nothing_to_do: Future[Scores] = Future()
            count = len(request.documents)
            nothing_to_do.set_result(Scores((-math.inf,) * count, (0,) * count))
            return nothing_to_do
        reading = self._read(request)

        def finish(tails: Sequence[float], rescored: Collection[int]) -> Scores:
            return self._explain(reading.scores(tails, rescored), all(map(math.isfinite, tails)))

        return self._submit(reading.tokens, finish, float32_fallback=request.on_nonfinite == "float32")

    def warmup(self) -> None:
        """Load tokenizer and weights, on every device, and run one pass there."""
        self._check_process()  # before the lock, which a forked child may have inherited closed
        reading = self._read(make_request("warm up", ["warm up"], None))
        futures: list[Future[Scores]] = []
        try:
            for worker in self._workers:
                futures.append(worker.submit(reading.tokens, reading.scores))
            for future in futures:
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def renew_token(self, token: str | None) -> None:
        """Use a newer hub token from now on; what is loaded already needs none."""
        if token and self._opened is None:
            self._settings = dataclasses.replace(self._settings, token=token)

    def close(self) -> None:
        """See `Scorer.close`."""
        if os.getpid() == self._process:
            self._serving.close()
            trim_malloc()

    def _explain(self, scores: Scores, finite: bool) -> Scores:
        """The same, with what is wrong with the weights, if that is why a score is not finite."""
        if finite:
            return scores
        with self._opening:
            if self._damage is None:
                checkpoint, _ = self._opened or (None, None)
                self._damage = describe_damage(checkpoint.all_weight_files) if checkpoint else ""
            return dataclasses.replace(scores, damage=self._damage)

    def _open(self) -> tuple[Checkpoint, PromptEncoder]:
        """Checkpoint and tokenizer, found and read once, whichever thread comes first."""
        if self._opened is not None:
            return self._opened
        with self._opening, closed_at_exit():
            if self._opened is None:
                refuse_at_exit()
                checkpoint = find_checkpoint(self._settings)
                self._opened = checkpoint, PromptEncoder(checkpoint.tokenizer_file)
            return self._opened

    def _read(self, request: RerankRequest) -> EncodedRequest:
        checkpoint, encoder = self._open()
        if request.may_shorten and request.max_length > checkpoint.positions:
            request = dataclasses.replace(request, max_length=checkpoint.positions)
            self._note_limit(checkpoint)
        _check_length(request, checkpoint)
        _check_float32_fallback(request, checkpoint)
        return encode_request(request, encoder)

    def _note_limit(self, checkpoint: Checkpoint) -> None:
        with self._opening:
            noted, self._limit_noted = self._limit_noted, True
        if not noted:
            logger.warning(
                "%r has positions for %d tokens: that is its max_length, instead of the usual %d. Pass "
                "max_length to choose a lower one.",
                *(checkpoint.name, checkpoint.positions, DEFAULT_MAX_LENGTH),
            )

    def _submit(
        self, request: TokenizedRequest, finish: ResultBuilder[Scores], *, float32_fallback: bool
    ) -> Future[Scores]:
        """Queue a request; as several, where its documents cannot share the keys of their prefix.

        With a RoPE whose frequencies depend on the length of the prompt, short and long documents rotate the same
        prefix differently.
        """
        prefix, tails = len(request.prefix), list(map(len, request.document_ids))
        groups = self._open()[0].rope.groups(prefix, tails)
        if len(groups) == 1:
            return self._serving.submit(request, finish, float32_fallback=float32_fallback)
        collector = ShardCollector(len(tails), len(groups), finish)
        sent: list[Future[Any]] = []
        try:
            for group in groups:
                part = Shard(0, tuple(group), prefix + sum(tails[tail] for tail in group))
                sent.append(
                    self._serving.submit(
                        request_of(request, part), collector.builder_of(part), float32_fallback=float32_fallback
                    )
                )
        except BaseException:  # closed in between: nobody will read what is on its way
            for future in sent:
                future.cancel()
            raise
        return collector.collect(sent)

    def _make_workers(self) -> list[Scheduler]:
        replicas = self._settings.replicas
        workers = []
        for number, replica in enumerate(replicas):
            label = f"{replica.device} (replica {number + 1} of {len(replicas)})" if len(replicas) > 1 else ""
            workers.append(self._make_worker(functools.partial(self._load_engine, number), label))
        return workers

    def _make_worker(self, load: Callable[[], LoadedEngine], label: str) -> Scheduler:
        return Scheduler(load, label)

    def _load_engine(self, number: int) -> LoadedEngine:
        """The engine of one replica, on its worker's thread."""
        checkpoint, encoder = self._open()
        with closed_at_exit(), loading_alone():
            return self._load_alone(number, checkpoint, encoder)

    def _load_alone(self, number: int, checkpoint: Checkpoint, encoder: PromptEncoder) -> LoadedEngine:
        """Torch is first imported here."""
        import torch

        from qwen3_rerank_plugins.engine.loading.budget import MemoryCheck, check_weights_fit, choose_budget
        from qwen3_rerank_plugins.engine.loading.loader import load_model
        from qwen3_rerank_plugins.engine.loading.placement import choose_placement, models_on_device
        from qwen3_rerank_plugins.engine.loading.shape import Shape
        from qwen3_rerank_plugins.engine.memory import is_out_of_memory
        from qwen3_rerank_plugins.engine.model.head import YesNoHead
        from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
        from qwen3_rerank_plugins.engine.model.runner import ModelRunner

        settings = self._settings.replicas[number]  # not kept: a newer token may have come
        shape = Shape.from_config(complete_config(checkpoint.config))
        check_weights_fit(checkpoint.name, shape, choose_placement(settings, checkpoint.quantization))
        sharing = models_on_device(self._settings, settings)
        try:
            loaded = load_model(settings, checkpoint, sharing=sharing)
        except Exception as error:
            if torch.cuda._is_in_bad_fork():
                raise ClosedError(
                    "This process was forked from one that had used CUDA, so CUDA cannot be used here. Start processes "
                    "with the 'spawn' method, or fork before anything uses CUDA."
                ) from error
            if isinstance(error, RerankError) or not is_out_of_memory(error):
                raise
            raise DeviceMemoryError(
                f"The weights of {checkpoint.name!r} do not fit into the memory that is free on device "
                f"{settings.device!r}: {str(error).rstrip('.')}. Free memory, use a smaller model or quantization, or "
                "see what fits with `qwen3-rerank doctor`."
            ) from error
        _check_vocabulary(checkpoint, encoder, loaded)
        placement = loaded.placement
        head = YesNoHead(loaded.causal_lm, encoder.yes_id, encoder.no_id)
        loaded.release_output_matrix()
        model = PackedModel(
            loaded.causal_lm.model,
            placement.attention.attend,
            compile=settings.compile,
            rows_at_once=placement.rows_at_once,
        )
        check = MemoryCheck(shape, placement.dtype, placement.rows_at_once, placement.device)
        return LoadedEngine(
            ModelRunner(model, head, placement.device, check),
            choose_budget(settings.max_batch_tokens, loaded, sharing=sharing),
            max_merged_tokens=placement.rows_at_once,
            float32_fallback=_float32_runner(loaded, head, shape),
        )

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ClosedError(
                "This engine was made before this process was forked, and its threads do not exist here. Make a new "
                "one in this process, or start processes with the 'spawn' method."
            )


def _float32_runner(loaded: LoadedModel, head: YesNoHead, shape: Shape) -> RunBatch | None:
    """The same model in float32, for single scores that overflowed; None where there is nothing wider to try."""
    import torch

    from qwen3_rerank_plugins.engine.loading.budget import MemoryCheck
    from qwen3_rerank_plugins.engine.model.float32 import Float32Backbone
    from qwen3_rerank_plugins.engine.model.packed_model import CPU_ROWS_AT_ONCE, PackedModel
    from qwen3_rerank_plugins.engine.model.runner import ModelRunner
    from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention

    placement = loaded.placement
    if placement.dtype == torch.float32 or placement.quantization.name:
        return None
    backbone = Float32Backbone(loaded.causal_lm.model)
    # few rows at once: it is there for the memory that is left, not for speed
    model = PackedModel(backbone, sdpa_attention, rows_at_once=CPU_ROWS_AT_ONCE)
    check = MemoryCheck(shape, torch.float32, CPU_ROWS_AT_ONCE, placement.device)
    return ModelRunner(model, head, placement.device, check)


def _check_vocabulary(checkpoint: Checkpoint, encoder: PromptEncoder, loaded: LoadedModel) -> None:
    """On a GPU an id without a row ends the whole process's use of the device."""
    check_rows(checkpoint.name, encoder.rows, loaded.causal_lm.get_input_embeddings().num_embeddings)
    output = loaded.causal_lm.get_output_embeddings()
    if output is None:  # a classifier
        return
    rows, highest = len(output.weight), max(encoder.yes_id, encoder.no_id)
    if highest >= rows:
        raise UnsupportedCheckpointError(
            f"The answers of {checkpoint.name!r} have ids up to {highest}, and its output matrix has rows up to "
            f"{rows - 1}. Take tokenizer and weights from the same checkpoint."
        )


def _check_length(request: RerankRequest, checkpoint: Checkpoint) -> None:
    if request.max_length > checkpoint.positions:
        raise RequestError(
            f"max_length={request.max_length} is more than the {checkpoint.positions} positions of "
            f"{checkpoint.name!r}. Use max_length={checkpoint.positions} or less."
        )


def _check_float32_fallback(request: RerankRequest, checkpoint: Checkpoint) -> None:
    if request.on_nonfinite == "float32" and checkpoint.quantization and checkpoint.quantization.packed_mode:
        raise RequestError(
            f"on_nonfinite='float32' needs the weights as they were, and {checkpoint.name!r} is quantized by "
            f"{checkpoint.quantization.method}. Use on_nonfinite='error', or the checkpoint that it was made from."
        )
