"""Threads and coroutines that ask questions, and check every answer and every error."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import time
from collections.abc import Sequence

from qwen3_rerank_plugins.errors import ClosedError, DeviceMemoryError, NonFiniteScoreError, PassError
from tests.load.call_trace import CURRENT_TRACE, CallTrace, Moment
from tests.load.entry_points import ASYNC_ENTRY_POINTS, ENTRY_POINTS, AsyncEntryPoint, EntryPoint, answer_of_scores
from tests.load.expected_answers import Answer, Verdict, judge
from tests.load.faults import BAD_INPUT, BAD_INPUTS, CANCELLED, CLOSED, InjectedError
from tests.load.questions import Question
from tests.load.shutdown import SharedClients
from tests.load.work import CallResult, Work

MOST_QUESTIONS_A_CALL = 3
"""For the entry points that take several."""

Cancelled = (asyncio.CancelledError, concurrent.futures.CancelledError)


class Caller:
    """A caller that asks one question after the other.

    Args:
        work: what all callers share.
        number: number of the caller, part of its random seed.

    Attributes:
        since: when the current call began; None between calls.
    """

    def __init__(self, work: Work, number: int) -> None:
        self._work = work
        self._dice = random.Random(f"{work.seed}/caller {number}")
        self._pending: list[str] = []
        self.since: float | None = None

    def ask_on(self) -> None:
        """Ask as a thread until the quota ends and a right answer has followed the last fault."""
        while self._work.quota.take():
            kind = self._dice.random()
            if kind < self._work.rates.bad_input:
                self._ask_badly()
            elif kind < self._work.rates.bad_input + self._work.rates.cancelled:
                self._ask_and_cancel(self._dice.choice(list(Moment)))
            else:
                self._ask(self._dice.choice(ENTRY_POINTS))
        while self._pending and not self._work.outcomes.wrong:
            self._ask(self._dice.choice(ENTRY_POINTS))

    async def aask_on(self) -> None:
        """Ask as `ask_on` does, as a coroutine."""
        while self._work.quota.take():
            kind = self._dice.random()
            if kind < self._work.rates.bad_input:
                await asyncio.to_thread(self._ask_badly)
            elif kind < self._work.rates.bad_input + self._work.rates.cancelled:
                await self._aask(self._dice.choice(ASYNC_ENTRY_POINTS), self._dice.choice(list(Moment)))
            else:
                await self._aask(self._dice.choice(ASYNC_ENTRY_POINTS))
        while self._pending and not self._work.outcomes.wrong:
            await self._aask(self._dice.choice(ASYNC_ENTRY_POINTS))

    def _ask(self, entry_point: EntryPoint) -> None:
        asked, trace, mark = self._draw(entry_point), CallTrace(), self._begin()
        token = CURRENT_TRACE.set(trace)
        try:
            result = CallResult(entry_point.ask(self._work.shared.clients, asked))
        except Exception as error:
            result = CallResult(error=error)
        finally:
            CURRENT_TRACE.reset(token)
        self._settle(entry_point.name, asked, trace, mark, result)

    async def _aask(self, entry_point: AsyncEntryPoint, moment: Moment | None = None) -> None:
        asked, trace, mark = self._draw(entry_point), CallTrace(moment), self._begin()
        token = CURRENT_TRACE.set(trace)
        task = asyncio.ensure_future(_awaited(entry_point, self._work.shared, asked))
        CURRENT_TRACE.reset(token)
        loop = asyncio.get_running_loop()
        trace.cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        if moment is Moment.AT_ONCE:
            trace.cancelled = task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            result = CallResult(error=asyncio.CancelledError())
        elif error := task.exception():
            result = CallResult(error=error)
        else:
            result = CallResult(task.result())
        if moment is Moment.ANSWERED:
            trace.cancelled = task.cancel()  # too late: returns false, and the answer stays
        self._settle(entry_point.name, asked, trace, mark, result)

    def _ask_and_cancel(self, moment: Moment) -> None:
        """Cancel the engine's future, because a thread cannot be canceled."""
        question, trace, mark = self._dice.choice(self._work.questions), CallTrace(moment), self._begin()
        trace.cancel = lambda: trace.future is not None and trace.future.cancel()
        token = CURRENT_TRACE.set(trace)
        try:
            future = self._work.shared.clients.submit(question)
            if moment is Moment.AT_ONCE:
                trace.cancelled = future.cancel()
            result = CallResult([answer_of_scores(question, future.result())])
            if moment is Moment.ANSWERED:
                trace.cancelled = future.cancel()
        except Exception as error:
            result = CallResult(error=error)
        finally:
            CURRENT_TRACE.reset(token)
        self._settle("engine", [question], trace, mark, result, checked=False)

    def _ask_badly(self) -> None:
        bad, mark = self._dice.choice(BAD_INPUTS), self._begin()
        try:
            bad.ask(self._work.shared.clients)
        except Exception as error:
            if type(error) is bad.error or self._closed(error, mark):
                self._refused([BAD_INPUT])
            else:
                self._wrong(f"{bad.name}: {error!r:.200}")
        else:
            self._wrong(f"{bad.name} was answered")

    def _draw(self, entry_point: EntryPoint | AsyncEntryPoint) -> list[Question]:
        """Draw one question, or several with the same options if the entry point takes several."""
        first = self._dice.choice(self._work.questions)
        if not entry_point.many:
            return [first]
        alike = [question for question in self._work.questions if question.manner is first.manner]
        return [first, *self._dice.choices(alike, k=self._dice.randrange(MOST_QUESTIONS_A_CALL))]

    def _begin(self) -> int:
        self.since = time.perf_counter()
        self._work.outcomes.start()
        return self._work.shared.mark()

    def _settle(
        self,
        entry_point: str,
        asked: Sequence[Question],
        trace: CallTrace,
        mark: int,
        result: CallResult,
        *,
        checked: bool = True,
    ) -> None:
        """Check the result of a call. `checked`: whether the entry point refuses NaN; the engine alone does not."""
        trace.finish()
        seconds = time.perf_counter() - (self.since or 0.0)
        error = result.error
        if error is None:
            self._settle_answers(entry_point, asked, trace, seconds, result.answers, checked=checked)
        elif isinstance(error, Cancelled) and trace.cancelled:
            self._refused([*trace.met, *([f"{CANCELLED} {trace.moment.value}"] if trace.moment else [])])
        elif self._is_due(error, trace):
            self._refused(trace.met)
        elif self._closed(error, mark):
            self._refused([*trace.met, CLOSED])
        else:
            self._wrong(f"{entry_point}: {error!r:.300}, having met {sorted(trace.met)}")

    def _is_due(self, error: BaseException, trace: CallTrace) -> bool:
        """Whether the faults of the trace must raise this error."""
        if type(error) is PassError:
            return trace.broken and isinstance(error.__cause__, InjectedError)
        if type(error) is DeviceMemoryError:
            return trace.no_memory
        if type(error) is NonFiniteScoreError:
            return not trace.broken and not trace.no_memory and error.documents == trace.unscored
        return False

    def _closed(self, error: BaseException, mark: int) -> bool:
        return type(error) is ClosedError and self._work.shared.closed_since(mark)

    def _settle_answers(
        self,
        entry_point: str,
        asked: Sequence[Question],
        trace: CallTrace,
        seconds: float,
        answers: Sequence[Answer],
        *,
        checked: bool,
    ) -> None:
        if trace.broken or trace.no_memory or (trace.nan and checked):
            self._wrong(f"{entry_point}: an answer in spite of {sorted(trace.met)}")
            return
        if trace.nan:
            self._refused(trace.met)
            return
        verdicts = [self._judge(question, answer) for question, answer in zip(asked, answers, strict=True)]
        complaint = next((verdict.complaint for verdict in verdicts if verdict.complaint), None)
        if complaint:
            self._wrong(f"{entry_point}: {complaint}, having met {sorted(trace.met)}")
            return
        off = max(v.log_odds_off for v in verdicts), max(v.probability_off for v in verdicts)
        self._work.outcomes.answer(entry_point, seconds, sum(len(question.documents) for question in asked), off)
        met = list(trace.met)
        if trace.cancelled or trace.moment is Moment.ANSWERED:
            met.append(f"{CANCELLED} {Moment.ANSWERED.value}")  # the answer came before the cancellation
        self._work.outcomes.meet(met)
        self._work.outcomes.survive([*self._pending, *met])
        self._pending = []
        self.since = None

    def _judge(self, question: Question, answer: Answer) -> Verdict:
        return judge(question, self._work.expected[question.number], answer, self._work.tolerance)

    def _refused(self, met: Sequence[str] | set[str]) -> None:
        """Count a correct error. The answer to the next question shows whether the fault was survived."""
        self._pending += met
        self._work.outcomes.meet(met)
        self._work.outcomes.refuse()
        self.since = None

    def _wrong(self, complaint: str) -> None:
        self._work.outcomes.complain(complaint)
        self.since = None


async def _awaited(entry_point: AsyncEntryPoint, shared: SharedClients, asked: Sequence[Question]) -> list[Answer]:
    return await entry_point.ask(shared.clients, asked)
