"""Measure passes on the CPU with one thread and with all, on an idle machine and beside busy neighbors.

    python -m benchmarks.cpu_threads --out benchmarks/results/cpu-threads.json

Every setting runs in a process of its own, as some of them count only before torch is loaded. Neighbors are processes
that compute without end, one for each core. The record is what `engine/cpu_threads.py` derives its rule from.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins._records import make_record, note_circumstances, write_record
from qwen3_rerank_plugins.bench.stopwatch import Spread
from qwen3_rerank_plugins.bench.subject import write_random_checkpoint
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, find_checkpoint
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.model_name import DEMO
from qwen3_rerank_plugins.engine.settings import EngineSettings

SHAPES = {
    "width 1024, as the 0.6B": Shape(1024, 4, 16, 8, 128, 3072, 9_216, tied=True),
}
DOCUMENTS = [f"Report {number}: " + "the river rose again in spring. " * (5 + number % 7) for number in range(20)]
QUERY = "When did the river rise?"
LEAST, LONGEST = 2, 4.0
"""Calls of one setting, and seconds after which no further one begins."""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One way to run.

    Attributes:
        subject: which model.
        layer_parameters: parameters of one of its layers.
        threads: of the engine.
        neighbors: processes of ours that keep the cores busy.
        waiting: OMP_WAIT_POLICY; empty is not set.
    """

    subject: str
    layer_parameters: int
    threads: int
    neighbors: int
    waiting: str


def main() -> None:
    """Run every setting."""
    parser = argparse.ArgumentParser(description="Measure threads of the CPU.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--neighbors", type=int, nargs="+", default=[0, psutil.cpu_count(logical=False) or 1])
    parser.add_argument("--watch", help=argparse.SUPPRESS)  # a setting's own process
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        print(json.dumps(time_calls(options.model, int(options.watch))))
        return
    cores = psutil.cpu_count(logical=False) or 1
    around = note_circumstances("20 documents of about 60 tokens", torch.device("cpu"), torch.float32)
    results = []
    with tempfile.TemporaryDirectory() as name:
        models = {DEMO: DEMO}
        for subject, shape in SHAPES.items():
            models[subject] = str(Path(name) / subject)
            write_random_checkpoint(Path(models[subject]), shape, torch.float32, DEMO_FOLDER)
        for subject, model in models.items():
            shape = Shape.from_config(find_checkpoint(EngineSettings(model=model)).config)
            for neighbors in options.neighbors:
                for threads in (1, cores):
                    for waiting in ("",) if threads == 1 else ("", "PASSIVE"):
                        setting = Setting(subject, shape.layer_parameters // shape.layers, threads, neighbors, waiting)
                        seconds = Spread.of(watch(setting, model))
                        load = os.getloadavg()[0]  # of the last minute: what else ran counts as well
                        results.append({"setting": setting, "seconds": seconds, "load": load})
                        print(setting, seconds, load, flush=True)
    record = make_record("threads", around, {"processor": processor(), "cores": cores, "calls": results})
    write_record(options.out, record)


def watch(setting: Setting, model: str) -> list[float]:
    """Seconds of each call, in a process of its own, beside its neighbors."""
    unset = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MKL_", "GOMP_"))}
    environment = unset | ({"OMP_WAIT_POLICY": setting.waiting} if setting.waiting else {})
    command = [sys.executable, __file__, "--watch", str(setting.threads), "--model", model]
    with busy_neighbors(setting.neighbors):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


@contextlib.contextmanager
def busy_neighbors(count: int) -> Iterator[None]:
    """So many processes that never rest."""
    neighbors = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for neighbor in neighbors:
            neighbor.kill()
            neighbor.wait()


def time_calls(model: str, threads: int) -> list[float]:
    """Rank again and again; the first call loads, and does not count."""
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32", "threads": threads}
    with Qwen3Reranker(model, **options) as reranker:
        reranker.rank(QUERY, DOCUMENTS[:1])
        seconds: list[float] = []
        while len(seconds) < LEAST or sum(seconds) < LONGEST:
            started = time.perf_counter()
            reranker.rank(QUERY, DOCUMENTS)
            seconds.append(time.perf_counter() - started)
    return seconds


def processor() -> str:
    """The processor's own name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
