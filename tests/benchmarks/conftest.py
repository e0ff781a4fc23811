"""The small model and the texts of `tests/bench`."""

from __future__ import annotations

from tests.bench.conftest import sets, subject, text, told

__all__ = ["sets", "subject", "text", "told"]
