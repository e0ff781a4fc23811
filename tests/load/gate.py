"""A gate before every batch of the real engine, so that tests need not sleep."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.scheduling.scheduler import Scheduler
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

LIMIT = 30.0
"""Seconds to wait at most."""


class Gate:
    """Blocks every batch of the real engine until the gate is open; can also make a batch fail."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.submitted, self.entered, self.left = (threading.Semaphore(0) for _ in range(3))
        self.plans: list[BatchPlan] = []
        self.break_on: Callable[[Sequence[TokenizedRequest], BatchPlan], bool] = lambda *_: False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Gate:
        run, submit = ModelRunner.__call__, Scheduler.submit

        def gated_run(runner: ModelRunner, requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
            self.plans.append(plan)
            self.entered.release()
            assert self.open.wait(LIMIT)
            if self.break_on([requests[part.request] for part in plan.slices], plan):
                raise RuntimeError("the kernel fell over")
            return run(runner, requests, plan)

        def noted_submit(worker: Scheduler, *arguments: Any, **options: Any) -> Future[Any]:
            future = submit(worker, *arguments, **options)
            future.add_done_callback(lambda _: self.left.release())
            self.submitted.release()
            return future

        monkeypatch.setattr(ModelRunner, "__call__", gated_run)
        monkeypatch.setattr(Scheduler, "submit", noted_submit)
        return self


def pass_through(gate: threading.Semaphore, times: int = 1) -> None:
    for _ in range(times):
        assert gate.acquire(timeout=LIMIT)
