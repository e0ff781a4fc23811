"""What all callers share, and the result of one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from tests.load.expected_answers import Answer, Expected
from tests.load.faults import Rates
from tests.load.outcomes import Outcomes
from tests.load.questions import Question
from tests.load.shutdown import SharedClients


class Quota(Protocol):
    """Decides how many calls are made."""

    def take(self) -> bool:
        """Return whether there is another call to make."""
        ...

    def end(self) -> None:
        """Stop further calls."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What all callers share. `expected` has one entry per question."""

    questions: Sequence[Question]
    expected: Sequence[Expected]
    shared: SharedClients
    rates: Rates
    tolerance: float
    seed: int
    outcomes: Outcomes
    quota: Quota


@dataclasses.dataclass(frozen=True, slots=True)
class CallResult:
    """The answers of a call, or its error."""

    answers: Sequence[Answer] = ()
    error: BaseException | None = None
