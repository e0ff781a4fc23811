"""The scorer that runs a model in this process. It connects checkpoint, tokenizer, schedulers and engine."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import Any

from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.engine.call import Meter
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.checkpoints.nonfinite_weights import describe_damage
from qwen3_rerank_plugins.engine.concurrency.lifetime import closed_at_exit, loading_alone, refuse_at_exit
from qwen3_rerank_plugins.engine.memory import trim_malloc
from qwen3_rerank_plugins.engine.request import RerankRequest, make_request
from qwen3_rerank_plugins.engine.scheduling.loaded_engine import LoadedEngine
from qwen3_rerank_plugins.engine.scheduling.queued_request import ResultBuilder
from qwen3_rerank_plugins.engine.scheduling.replicas import Replicas, ShardCollector, request_of
from qwen3_rerank_plugins.engine.scheduling.scheduler import Scheduler
from qwen3_rerank_plugins.engine.scheduling.sharding import Shard
from qwen3_rerank_plugins.engine.scorer import Scores, blank_scores, check_process
from qwen3_rerank_plugins.engine.settings import DEFAULT_MAX_LENGTH, EngineSettings
from qwen3_rerank_plugins.engine.text.encoding import EncodedRequest, encode_request
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest
from qwen3_rerank_plugins.engine.usage import Stats
from qwen3_rerank_plugins.errors import RequestError


class LocalScorer:
    """A model in this process, or one on each device; see `Scorer`.

    Nothing is loaded before the first request. Equal settings should share one scorer.

    Args:
        settings: which model to load and how.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._process = os.getpid()
        self._opening = threading.RLock()
        self._opened: tuple[Checkpoint, PromptEncoder] | None = None
        self._damage: str | None = None
        self._limit_noted = False
        self._counting = threading.Lock()
        self._calls = self._documents = 0
        self._schedulers = [self._make_scheduler(number) for number in range(len(settings.replicas))]
        self._replicas = self._schedulers[0] if len(self._schedulers) == 1 else Replicas(self._schedulers)

    def submit(self, request: RerankRequest) -> Future[Scores]:
        """Tokenize on the caller's thread and queue the request; see `Scorer.submit`."""
        check_process(self._process, "engine")
        with self._counting:
            self._calls += 1
            self._documents += len(request.documents)
        if not request.readable:
            return blank_scores(request)
        meter = Meter(request.call)
        meter.call.check()
        self._replicas.refuse_overload(meter.call)
        encoded = self._encode(request)

        def finish(log_odds: Sequence[float], rescored: Collection[int]) -> Scores:
            scores = dataclasses.replace(
                encoded.scores(log_odds, rescored),
                naive_tokens=encoded.tokens.naive_tokens,
                unique_tokens=meter.unique_tokens,
                passes=meter.passes,
            )
            return scores if all(map(math.isfinite, log_odds)) else self._add_damage(scores)

        return self._submit(encoded.tokens, finish, meter, float32_fallback=request.on_nonfinite == "float32")

    def stats(self) -> Stats:
        """Return what this engine has done so far. That is cheap, and loads nothing."""
        waiting = [scheduler.queue.waiting() for scheduler in self._schedulers]
        measured = [scheduler.throughput for scheduler in self._schedulers]
        memory = [one.engine.allocated() for one in self._schedulers if one.engine and one.engine.allocated]
        rates = [one.tokens_per_second for one in measured if one.tokens_per_second is not None]
        return Stats(
            calls=self._calls,
            documents=self._documents,
            unique_tokens=sum(one.tokens for one in measured),
            passes=sum(one.passes for one in measured),
            waiting_requests=sum(requests for requests, _ in waiting),
            waiting_tokens=sum(tokens for _, tokens in waiting),
            tokens_per_second=sum(rates) if rates else None,
            memory_bytes=sum(memory) if memory else None,
        )

    def warmup(self) -> None:
        """Load the tokenizer, and load the weights and run one batch on every device."""
        check_process(self._process, "engine")  # before taking the lock, which a forked child may inherit locked
        encoded = self._encode(make_request("warm up", ["warm up"], None))
        futures: list[Future[Scores]] = []
        try:
            for scheduler in self._schedulers:
                futures.append(scheduler.submit(encoded.tokens, encoded.scores))
            for future in futures:
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def renew_token(self, token: str | None) -> None:
        """Use a newer hub token from now on. Without effect once the checkpoint was found."""
        if token and self._opened is None:
            self._settings = dataclasses.replace(self._settings, token=token)

    def close(self) -> None:
        """See `Scorer.close`."""
        if os.getpid() == self._process:
            self._replicas.close()
            trim_malloc()

    def _add_damage(self, scores: Scores) -> Scores:
        """Add what is wrong with the weights, if they are the reason why a score is not finite."""
        with self._opening:
            if self._damage is None:
                checkpoint, _ = self._opened or (None, None)
                self._damage = describe_damage(checkpoint.all_weight_files) if checkpoint else ""
            return dataclasses.replace(scores, damage=self._damage)

    def _open(self) -> tuple[Checkpoint, PromptEncoder]:
        """Find the checkpoint and read its tokenizer once, on the first thread that needs them."""
        if self._opened is not None:
            return self._opened
        with self._opening, closed_at_exit():
            if self._opened is None:
                refuse_at_exit()
                checkpoint = find_checkpoint(self._settings)
                with loading_alone():  # a child forked meanwhile would wait for the library's half-made state for ever
                    encoder = PromptEncoder(checkpoint.tokenizer_file)
                self._opened = checkpoint, encoder
            return self._opened

    def _encode(self, request: RerankRequest) -> EncodedRequest:
        checkpoint, encoder = self._open()
        if request.may_shorten and request.max_length > checkpoint.positions:
            request = dataclasses.replace(request, max_length=checkpoint.positions)
            self._note_limit(checkpoint)
        _check_request(request, checkpoint)
        return encode_request(request, encoder)

    def _note_limit(self, checkpoint: Checkpoint) -> None:
        with self._opening:
            noted, self._limit_noted = self._limit_noted, True
        if not noted:
            logger.warning(
                "%r has positions for %d tokens, so this is its max_length instead of the usual %d. Pass max_length to "
                "choose a lower one.",
                *(checkpoint.name, checkpoint.positions, DEFAULT_MAX_LENGTH),
            )

    def _submit(
        self, request: TokenizedRequest, finish: ResultBuilder[Scores], meter: Meter, *, float32_fallback: bool
    ) -> Future[Scores]:
        """Queue a request, split into several if its documents cannot share the keys of their prefix.

        With a RoPE whose frequencies depend on the length of the prompt, short and long documents rotate the same
        prefix differently.
        """
        prefix, lengths = len(request.prefix), list(map(len, request.document_ids))
        groups = self._open()[0].rope.groups(prefix, lengths)
        if len(groups) == 1:
            return self._replicas.submit(request, finish, float32_fallback=float32_fallback, meter=meter)
        collector = ShardCollector(len(lengths), len(groups), finish)
        futures: list[Future[Any]] = []
        try:
            for group in groups:
                shard = Shard(0, tuple(group), prefix + sum(lengths[document] for document in group))
                part, finish_part = request_of(request, shard), collector.builder_of(shard)
                submit = functools.partial(self._replicas.submit, float32_fallback=float32_fallback, meter=meter)
                futures.append(submit(part, finish_part))
        except BaseException:  # closed meanwhile: nothing will read the results of the earlier shards
            for future in futures:
                future.cancel()
            raise
        return collector.collect(futures)

    def _make_scheduler(self, number: int) -> Scheduler:
        replicas = self._settings.replicas
        label = f"{replicas[number].device} (replica {number + 1} of {len(replicas)})" if len(replicas) > 1 else ""
        return self._new_scheduler(functools.partial(self._load_engine, number), label)

    def _new_scheduler(self, load: Callable[[], LoadedEngine], label: str) -> Scheduler:
        return Scheduler(load, label)

    def _load_engine(self, number: int) -> LoadedEngine:
        """Load the engine of one replica, on its scheduler's thread."""
        checkpoint, encoder = self._open()
        with closed_at_exit(), loading_alone():
            return self._load_alone(number, checkpoint, encoder)

    def _load_alone(self, number: int, checkpoint: Checkpoint, encoder: PromptEncoder) -> LoadedEngine:
        """Load while no other thread loads. Torch is first imported here."""
        from qwen3_rerank_plugins.engine.loading.engine import load_engine

        return load_engine(self._settings, number, checkpoint, encoder)


def _check_request(request: RerankRequest, checkpoint: Checkpoint) -> None:
    if request.max_length > checkpoint.positions:
        raise RequestError(
            f"max_length={request.max_length} is more than the {checkpoint.positions} positions of "
            f"{checkpoint.name!r}. Use max_length={checkpoint.positions} or less."
        )
    if request.on_nonfinite == "float32" and checkpoint.quantization and checkpoint.quantization.packed_mode:
        raise RequestError(
            f"on_nonfinite='float32' needs unquantized weights, and {checkpoint.name!r} is quantized by "
            f"{checkpoint.quantization.method}. Use on_nonfinite='error', or the checkpoint that it was made from."
        )
