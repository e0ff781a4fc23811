"""Fixtures of `tests/bench` and `tests/evaluation`."""

from __future__ import annotations

from tests.bench.conftest import sets, subject, text, told
from tests.evaluation.conftest import demo

__all__ = ["demo", "sets", "subject", "text", "told"]
