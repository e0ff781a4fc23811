"""Whether the model is loaded and has run once. Requests that come earlier are told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.serve.failures import RETRY_SECONDS, Failure

State = Literal["loading", "ready", "failed"]


class Readiness:
    """Loads the models on a thread, one after the other.

    Args:
        steps: functions that each load one model and run it once.
        on_failure: called on the event loop with the error if a step fails.

    Attributes:
        state: "loading" until all steps have ended.
    """

    def __init__(self, steps: list[Callable[[], None]], on_failure: Callable[[Exception], None] | None) -> None:
        self.state: State = "loading"
        self._steps = steps
        self._on_failure = on_failure

    async def load(self) -> None:
        """Run the steps."""
        try:
            for step in self._steps:
                await asyncio.to_thread(step)
        except Exception as error:
            self.state = "failed"
            logger.error("The model cannot be loaded: %s", str(error))
            if self._on_failure is not None:
                self._on_failure(error)
        else:
            self.state = "ready"

    def check(self) -> None:
        """Raise a failure with status 503 if requests cannot be answered."""
        if self.state == "loading":
            raise Failure(503, "The model is still being loaded. Ask again later.", RETRY_SECONDS)
        if self.state == "failed":
            raise Failure(503, "The model could not be loaded. The log of the server says why.")
