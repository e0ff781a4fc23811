"""Measure calls on the CPU with one thread and with all, on an idle machine and beside busy processes.

    python -m benchmarks.cpu_threads --out benchmarks/results/cpu-threads.json

Every setting runs in a new process, because some settings have an effect only before torch is loaded. Neighbors are
processes that compute without end. The rule in `engine/loading/cpu_threads.py` is derived from the record.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins._records.record import make_record, note_circumstances, write_record
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
ROOT = Path(__file__).parents[1]
QUERY = "When did the river rise?"
CALLS = 2
"""Minimum number of calls per setting."""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """Settings of one process.

    Attributes:
        subject: the model.
        layer_parameters: parameters of one of its layers.
        threads: threads of the engine.
        neighbors: number of processes that keep the cores busy.
        waiting: OMP_WAIT_POLICY; empty means not set.
    """

    subject: str
    layer_parameters: int
    threads: int
    neighbors: int
    waiting: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every setting and write the record."""
    cores = psutil.cpu_count(logical=False) or 1
    parser = argparse.ArgumentParser(description="Measure threads of the CPU.")
    parser.add_argument("--out", type=Path, help="file for the record in JSON")
    parser.add_argument("--neighbors", type=int, nargs="+", default=[0, cores], help="numbers of neighbors")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, cores], help="numbers of the engine's threads")
    parser.add_argument("--models", nargs="+", choices=[DEMO, *SHAPES], default=[DEMO, *SHAPES])
    parser.add_argument("--seconds", type=float, default=4.0, help="time after which no further call begins")
    parser.add_argument("--watch", help=argparse.SUPPRESS)  # threads, in the process of one setting
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.watch:
        print(json.dumps(time_calls(options.model, int(options.watch), options.seconds)))
        return
    around = note_circumstances("20 documents of about 60 tokens", torch.device("cpu"), torch.float32)
    results = []
    with tempfile.TemporaryDirectory() as name:
        models = {subject: DEMO if subject == DEMO else str(Path(name) / subject) for subject in options.models}
        for subject in models.keys() & SHAPES.keys():
            write_random_checkpoint(Path(models[subject]), SHAPES[subject], torch.float32, DEMO_FOLDER)
        for subject, model in models.items():
            shape = Shape.from_config(find_checkpoint(EngineSettings(model=model)).config)
            for neighbors in options.neighbors:
                for threads in options.threads:
                    for waiting in ("",) if threads == 1 else ("", "PASSIVE"):
                        setting = Setting(subject, shape.layer_parameters // shape.layers, threads, neighbors, waiting)
                        seconds = Spread.of(watch(setting, model, options.seconds))
                        load = os.getloadavg()[0]  # of the last minute, including other processes
                        results.append({"setting": setting, "seconds": seconds, "load": load})
                        print(setting, seconds, load, flush=True)
    record = make_record("threads", around, {"processor": processor(), "cores": cores, "calls": results})
    if options.out:
        write_record(options.out, record)


def watch(setting: Setting, model: str, limit: float) -> list[float]:
    """Return the seconds of each call, in a new process beside its neighbors; no call begins after `limit` seconds."""
    unset = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MKL_", "GOMP_"))}
    environment = unset | ({"OMP_WAIT_POLICY": setting.waiting} if setting.waiting else {})
    command = [sys.executable, "-m", "benchmarks.cpu_threads", "--watch", str(setting.threads)]
    command += ["--model", model, "--seconds", str(limit)]
    with busy_neighbors(setting.neighbors):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


@contextlib.contextmanager
def busy_neighbors(count: int) -> Iterator[None]:
    """Run a number of processes that compute all the time."""
    neighbors = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for neighbor in neighbors:
            neighbor.kill()
            neighbor.wait()


def time_calls(model: str, threads: int, limit: float) -> list[float]:
    """Rank until `limit` seconds have passed, and return the seconds of each call; the first call loads the model."""
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32", "threads": threads}
    with Qwen3Reranker(model, **options) as reranker:
        reranker.rank(QUERY, DOCUMENTS[:1])
        seconds: list[float] = []
        while len(seconds) < CALLS or sum(seconds) < limit:
            started = time.perf_counter()
            reranker.rank(QUERY, DOCUMENTS)
            seconds.append(time.perf_counter() - started)
    return seconds


def processor() -> str:
    """Return the name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
