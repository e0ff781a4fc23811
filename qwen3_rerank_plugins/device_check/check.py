"""The result of one check, as a line for people and as a row of the record."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One result.

    Attributes:
        name: what was measured.
        value: the result, in the unit of `limit`; None if nothing was measured.
        limit: the largest value that passes; None if every finite value passes.
        note: more about the result, or why nothing was measured.
        error: the error that ended the check; empty if there was none.
        passed: whether the value is a finite number within its limit; None if nothing was measured.
    """

    name: str
    value: float | None = None
    limit: float | None = None
    note: str = ""
    error: str = ""
    passed: bool | None = dataclasses.field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):  # JSON has no such numbers
            object.__setattr__(self, "error", f"the result is {self.value}")
            object.__setattr__(self, "value", None)
        if self.error:
            object.__setattr__(self, "passed", False)
        elif self.value is not None:
            object.__setattr__(self, "passed", self.limit is None or self.value <= self.limit)

    def line(self) -> str:
        """Return one line: ok, FAIL or skip, the name, the value, the limit, and the note or the error."""
        mark = {True: "ok  ", False: "FAIL", None: "skip"}[self.passed]
        value = "" if self.value is None else f": {self.value:.4g}"
        limit = "" if self.limit is None else f" (limit {self.limit:.4g})"
        more = "; ".join(filter(None, (self.error, self.note)))
        return f"{mark} {self.name}{value}{limit}{f' - {more}' if more else ''}"


def survive(name: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yield checks; an exception becomes a failed check, so that the checks after it still run."""
    try:
        yield from checks()
    except Exception as error:  # whatever a kernel, a driver or a library raises is a result
        reason = (str(error).strip().splitlines() or ["no more details"])[0]
        yield Check(name, error=f"{type(error).__name__}: {reason}")
