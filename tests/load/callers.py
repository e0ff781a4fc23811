"""Threads and coroutines that ask, and hold every answer and every error against what it must be.

Comes in: questions, doors, rates. Goes out: notes in the tally.
Must not know: how passes fail, or how anything is measured over time.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import random
import time
from collections.abc import Sequence
from typing import Protocol

from qwen3_rerank_plugins.errors import ClosedError, DeviceMemoryError, NonFiniteScoreError, PassError
from tests.load.call_trace import TICKET, Moment, Ticket
from tests.load.entry_points import ASYNC_DOORS, DOORS, AsyncDoor, Door, answer_of_scores
from tests.load.expected_answers import Answer, Expected, Verdict, judge
from tests.load.faults import BAD_INPUT, BAD_INPUTS, CANCELLED, CLOSED, InjectedError, Rates
from tests.load.outcomes import Tally
from tests.load.questions import Question
from tests.load.shutdown import Entrance

MOST_QUESTIONS_A_CALL = 3
"""Of the doors that take several."""

Cancelled = (asyncio.CancelledError, concurrent.futures.CancelledError)


class Shift(Protocol):
    """How long everybody goes on asking."""

    def take(self) -> bool:
        """Whether there is another call to make."""
        ...

    def end(self) -> None:
        """From now on there is none."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What all callers share.

    Attributes:
        expected: one entry a question.
    """

    questions: Sequence[Question]
    expected: Sequence[Expected]
    entrance: Entrance
    rates: Rates
    tolerance: float
    seed: int
    tally: Tally
    shift: Shift


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to: answers or an error."""

    answers: Sequence[Answer] = ()
    error: BaseException | None = None


class Caller:
    """One of those who ask, one question after the other.

    Args:
        work: what all share.
        number: which caller; it has dice of its own.

    Attributes:
        since: when the call began that it waits for; None between calls.
    """

    def __init__(self, work: Work, number: int) -> None:
        self._work = work
        self._dice = random.Random(f"{work.seed}/caller {number}")
        self._pending: list[str] = []
        self.since: float | None = None

    def ask_on(self) -> None:
        """As a thread: until the shift ends, and until the last fault was followed by a right answer."""
        while self._work.shift.take():
            kind = self._dice.random()
            if kind < self._work.rates.bad_input:
                self._ask_badly()
            elif kind < self._work.rates.bad_input + self._work.rates.cancelled:
                self._ask_and_cancel(self._dice.choice(list(Moment)))
            else:
                self._ask(self._dice.choice(DOORS))
        while self._pending and not self._work.tally.wrong:
            self._ask(self._dice.choice(DOORS))

    async def aask_on(self) -> None:
        """`ask_on` as a coroutine."""
        while self._work.shift.take():
            kind = self._dice.random()
            if kind < self._work.rates.bad_input:
                await asyncio.to_thread(self._ask_badly)
            elif kind < self._work.rates.bad_input + self._work.rates.cancelled:
                await self._aask(self._dice.choice(ASYNC_DOORS), self._dice.choice(list(Moment)))
            else:
                await self._aask(self._dice.choice(ASYNC_DOORS))
        while self._pending and not self._work.tally.wrong:
            await self._aask(self._dice.choice(ASYNC_DOORS))

    def _ask(self, door: Door) -> None:
        asked, ticket, mark = self._draw(door), Ticket(), self._begin()
        token = TICKET.set(ticket)
        try:
            outcome = Outcome(door.ask(self._work.entrance.doors, asked))
        except Exception as error:
            outcome = Outcome(error=error)
        finally:
            TICKET.reset(token)
        self._settle(door.name, asked, ticket, mark, outcome)

    async def _aask(self, door: AsyncDoor, moment: Moment | None = None) -> None:
        asked, ticket, mark = self._draw(door), Ticket(moment), self._begin()
        token = TICKET.set(ticket)
        task = asyncio.ensure_future(_awaited(door, self._work.entrance, asked))
        TICKET.reset(token)
        loop = asyncio.get_running_loop()
        ticket.cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        if moment is Moment.AT_ONCE:
            ticket.cancelled = task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            outcome = Outcome(error=asyncio.CancelledError())
        elif error := task.exception():
            outcome = Outcome(error=error)
        else:
            outcome = Outcome(task.result())
        if moment is Moment.ANSWERED:
            ticket.cancelled = task.cancel()  # too late: false, and the answer stays
        self._settle(door.name, asked, ticket, mark, outcome)

    def _ask_and_cancel(self, moment: Moment) -> None:
        """A thread cannot be cancelled; its engine's future can."""
        question, ticket, mark = self._dice.choice(self._work.questions), Ticket(moment), self._begin()
        ticket.cancel = lambda: ticket.future is not None and ticket.future.cancel()
        token = TICKET.set(ticket)
        try:
            future = self._work.entrance.doors.submit(question)
            if moment is Moment.AT_ONCE:
                ticket.cancelled = future.cancel()
            outcome = Outcome([answer_of_scores(question, future.result())])
            if moment is Moment.ANSWERED:
                ticket.cancelled = future.cancel()
        except Exception as error:
            outcome = Outcome(error=error)
        finally:
            TICKET.reset(token)
        self._settle("engine", [question], ticket, mark, outcome, checked=False)

    def _ask_badly(self) -> None:
        bad, mark = self._dice.choice(BAD_INPUTS), self._begin()
        try:
            bad.ask(self._work.entrance.doors)
        except Exception as error:
            if type(error) is bad.error or self._closed(error, mark):
                self._refused([BAD_INPUT])
            else:
                self._wrong(f"{bad.name}: {error!r:.200}")
        else:
            self._wrong(f"{bad.name} was answered")

    def _draw(self, door: Door | AsyncDoor) -> list[Question]:
        """One question, or several of one manner where the door takes them in one call."""
        first = self._dice.choice(self._work.questions)
        if not door.many:
            return [first]
        alike = [question for question in self._work.questions if question.manner is first.manner]
        return [first, *self._dice.choices(alike, k=self._dice.randrange(MOST_QUESTIONS_A_CALL))]

    def _begin(self) -> int:
        self.since = time.perf_counter()
        self._work.tally.start()
        return self._work.entrance.mark()

    def _settle(
        self, door: str, asked: Sequence[Question], ticket: Ticket, mark: int, outcome: Outcome, *, checked: bool = True
    ) -> None:
        """Is this what the call had to come to? `checked`: a NaN is found by whoever ranks, not by the engine."""
        ticket.finish()
        seconds = time.perf_counter() - (self.since or 0.0)
        error = outcome.error
        if error is None:
            self._settle_answers(door, asked, ticket, seconds, outcome.answers, checked=checked)
        elif isinstance(error, Cancelled) and ticket.cancelled:
            self._refused([*ticket.met, *([f"{CANCELLED} {ticket.moment.value}"] if ticket.moment else [])])
        elif self._is_due(error, ticket):
            self._refused(ticket.met)
        elif self._closed(error, mark):
            self._refused([*ticket.met, CLOSED])
        else:
            self._wrong(f"{door}: {error!r:.300}, having met {sorted(ticket.met)}")

    def _is_due(self, error: BaseException, ticket: Ticket) -> bool:
        """Whether the faults that the ticket tells of have to come out as this very error."""
        if type(error) is PassError:
            return ticket.broken and isinstance(error.__cause__, InjectedError)
        if type(error) is DeviceMemoryError:
            return ticket.no_memory
        if type(error) is NonFiniteScoreError:
            return not ticket.broken and not ticket.no_memory and error.documents == ticket.unscored
        return False

    def _closed(self, error: BaseException, mark: int) -> bool:
        return type(error) is ClosedError and self._work.entrance.closed_since(mark)

    def _settle_answers(
        self,
        door: str,
        asked: Sequence[Question],
        ticket: Ticket,
        seconds: float,
        answers: Sequence[Answer],
        *,
        checked: bool,
    ) -> None:
        if ticket.broken or ticket.no_memory or (ticket.nan and checked):
            self._wrong(f"{door}: an answer in spite of {sorted(ticket.met)}")
            return
        if ticket.nan:
            self._refused(ticket.met)
            return
        verdicts = [self._judge(question, answer) for question, answer in zip(asked, answers, strict=True)]
        complaint = next((verdict.complaint for verdict in verdicts if verdict.complaint), None)
        if complaint:
            self._wrong(f"{door}: {complaint}, having met {sorted(ticket.met)}")
            return
        off = max(v.log_odds_off for v in verdicts), max(v.probability_off for v in verdicts)
        self._work.tally.answer(door, seconds, sum(len(question.documents) for question in asked), off)
        met = list(ticket.met)
        if ticket.cancelled or ticket.moment is Moment.ANSWERED:
            met.append(f"{CANCELLED} {Moment.ANSWERED.value}")  # whenever it was meant to be, the answer was faster
        self._work.tally.meet(met)
        self._work.tally.survive([*self._pending, *met])
        self._pending = []
        self.since = None

    def _judge(self, question: Question, answer: Answer) -> Verdict:
        return judge(question, self._work.expected[question.number], answer, self._work.tolerance)

    def _refused(self, met: Sequence[str] | set[str]) -> None:
        """Rightly so; whether the fault is survived, the next question will tell."""
        self._pending += met
        self._work.tally.meet(met)
        self._work.tally.refuse()
        self.since = None

    def _wrong(self, complaint: str) -> None:
        self._work.tally.complain(complaint)
        self.since = None


async def _awaited(door: AsyncDoor, entrance: Entrance, asked: Sequence[Question]) -> list[Answer]:
    return await door.ask(entrance.doors, asked)
