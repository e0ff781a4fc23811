"""The engine as a user gets it from the registry, watched, and with passes that fail when it is their turn.

Comes in: `Rates`. Goes out: notes on the tickets of those who are concerned.
Must not know: doors, answers. What fails is the model or the head in a pass: everything around them is the package's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, cast

import torch

from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins import close_all
from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, RequestSlice
from qwen3_rerank_plugins.engine.scheduling.queued_request import DocumentScores, ResultBuilder
from qwen3_rerank_plugins.engine.scheduling.scheduler import LoadedEngine, Scheduler
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from tests.load.call_trace import TICKET, Moment, Ticket
from tests.load.faults import BROKEN, NAN, NO_MEMORY_CUT, NO_MEMORY_LONE, PassFault, Rates, draw_pass_fault

PATIENCE = 60.0
"""Seconds to close an engine in."""


@dataclasses.dataclass(frozen=True, slots=True)
class Journey:
    """One request of a call, on its way through the engine."""

    ticket: Ticket
    number: int
    request: RerankRequest
    tokens: TokenizedRequest

    def documents_of(self, document: int) -> list[int]:
        """Positions of the documents that are scored by a tail."""
        readable = zip(self.request.readable, self.tokens.inverse_index, strict=True)
        return [document for document, its_tail in readable if its_tail == document]


class Watch:
    """Everybody on their way, in all engines of a trial.

    Attributes:
        waiting, most_waiting: requests that were submitted and have no answer yet, now and at most.
        engines: how many were loaded.
        passes: how many ran, failed ones included.
    """

    def __init__(self, rates: Rates, seed: int) -> None:
        self.rates, self.seed = rates, seed
        self.waiting = self.most_waiting = self.engines = self.passes = 0
        self._journeys: dict[int, Journey] = {}
        self._lock = threading.Lock()

    def depart(self, journey: Journey) -> None:
        """A request is about to be queued."""
        with self._lock:
            # requests of equal content are equal, so that only their identity tells callers apart
            self._journeys[id(journey.tokens)] = journey
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)

    def arrive(self, journey: Journey) -> None:
        """It has an answer or an error, or was cancelled."""
        with self._lock:
            self.waiting -= self._journeys.pop(id(journey.tokens), None) is not None

    def concerned(self, requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[tuple[Journey, RequestSlice]]:
        """Who has documents in a pass, and still waits."""
        with self._lock:
            found = [(self._journeys.get(id(requests[part.request])), part) for part in plan.slices]
        return [(journey, part) for journey, part in found if journey is not None]


class WatchedScorer(LocalScorer):
    """A `LocalScorer` whose requests carry their caller's ticket, and whose passes can fail."""

    def __init__(self, settings: EngineSettings, watch: Watch) -> None:
        self._watch = watch
        self._asked = threading.local()
        super().__init__(settings)

    def submit(self, request: RerankRequest) -> Future[Scores]:
        self._asked.request = request
        return super().submit(request)

    def _new_scheduler(self, load: Callable[[], LoadedEngine], label: str) -> Scheduler:
        return _WatchedWorker(load, label, self._watch, self._asked)

    def _load_engine(self, number: int) -> LoadedEngine:
        engine = super()._load_engine(number)
        self._watch.engines += 1
        dice = random.Random(f"{self._watch.seed}/engine {self._watch.engines}")
        return dataclasses.replace(engine, run=_WatchedPass(cast(ModelRunner, engine.run), self._watch, dice))


class _WatchedWorker(Scheduler):
    def __init__(self, load: Callable[[], LoadedEngine], label: str, watch: Watch, asked: threading.local) -> None:
        super().__init__(load, label)
        self._watch, self._asked = watch, asked

    def submit(
        self, request: TokenizedRequest, build_result: ResultBuilder[Any], *, float32_fallback: bool = False
    ) -> Future[Any]:
        ticket = TICKET.get() or Ticket()
        journey = Journey(ticket, ticket.take_number(), self._asked.request, request)

        def arriving(tails: DocumentScores, rescored: Collection[int]) -> Any:
            self._watch.arrive(journey)  # here, as callers hear of a result before its callbacks do
            return build_result(tails, rescored)

        self._watch.depart(journey)
        try:
            future = super().submit(request, arriving, float32_fallback=float32_fallback)
        except BaseException:
            self._watch.arrive(journey)
            raise
        future.add_done_callback(lambda _: self._watch.arrive(journey))
        ticket.future = future
        ticket.reach(Moment.QUEUED)
        return future


class _WatchedPass:
    """A pass of the engine around a model and a head that do what the dice say."""

    def __init__(self, run: ModelRunner, watch: Watch, dice: random.Random) -> None:
        self._run, self._watch, self._dice = run, watch, dice
        self._model, self._head = run._model, run._head
        run._model, run._head = cast(Any, self._forward), cast(Any, self._score)
        self._fault = PassFault()
        self._tokens = 0
        self._nan_rows: list[int] = []

    def __call__(self, requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
        self._watch.passes += 1
        concerned = self._watch.concerned(requests, plan)
        self._fault, self._tokens = draw_pass_fault(self._dice, self._watch.rates), plan.tokens
        self._nan_rows = self._dice.sample(range(plan.document_count), min(self._fault.nan_rows, plan.document_count))
        self._note(concerned, plan)
        for journey, _ in concerned:
            journey.ticket.reach(Moment.RUNNING)
        log_odds = self._run(requests, plan)
        for journey, _ in concerned:
            journey.ticket.reach(Moment.PASSED)
        return log_odds

    def _forward(self, batch: Any) -> torch.Tensor:
        if self._fault.error is not None:
            raise self._fault.error
        if self._no_memory:
            raise torch.OutOfMemoryError(f"Tried to allocate {self._tokens} tokens.")
        return self._model(batch)

    def _score(self, hidden: torch.Tensor) -> torch.Tensor:
        log_odds = self._head(hidden)
        if self._nan_rows:
            log_odds[self._nan_rows] = math.nan
        return log_odds

    @property
    def _no_memory(self) -> bool:
        return self._fault.memory is not None and self._tokens > self._fault.memory

    def _note(self, concerned: Sequence[tuple[Journey, RequestSlice]], plan: BatchPlan) -> None:
        """Before anything happens, so that no caller can be faster than the note."""
        rows = iter(range(plan.document_count))
        struck = {
            (part.request, document)
            for part in plan.slices
            for document in part.documents
            if next(rows) in set(self._nan_rows)
        }
        for journey, part in concerned:
            ticket = journey.ticket
            if self._fault.error is not None:
                ticket.broken = True
                ticket.met.add(BROKEN)
            elif self._no_memory and plan.document_count == 1:
                ticket.no_memory = True
                ticket.met.add(NO_MEMORY_LONE)
            elif self._no_memory:
                ticket.met.add(NO_MEMORY_CUT)
            for document in part.documents:
                if (part.request, document) in struck:
                    ticket.note_nan(journey.number, journey.documents_of(document))
                    ticket.met.add(NAN)


@contextlib.contextmanager
def watched_engines(rates: Rates, seed: int) -> Iterator[Watch]:
    """While this lasts, the registry's engines are watched; before and after, there are none."""
    watch = Watch(rates, seed)
    close_all()
    make = "LocalScorer"  # the registry's name for what makes an engine
    original = getattr(registry, make)
    setattr(registry, make, lambda settings: WatchedScorer(settings, watch))
    try:
        yield watch
    finally:
        closing = threading.Thread(target=close_all, daemon=True)
        closing.start()
        closing.join(PATIENCE)  # an engine that hangs would hang here as well, and nobody would hear of it
        setattr(registry, make, original)
