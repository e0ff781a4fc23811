"""Measure everything on a GPU that is at hand for a quarter of an hour, in one call.

    python -m benchmarks.gpu --out gpu.json                      # all parts, twelve minutes
    python -m benchmarks.gpu --out gpu.json --parts check,speed  # some of them
    python -m benchmarks.gpu --device cpu --shapes tiny --workloads small --rounds 1 --out cpu.json    # a try on a CPU

Weights are random. Every part runs in a new process with a time limit. A part that fails, crashes or needs a missing
package is recorded as such, and the next one runs. The record is written again after each part. The exit code is 1 if a
part failed or ran out of time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts.isolation import Part, PartResults, run_part, run_parts
from benchmarks.gpu_parts.parts import device, parts_for
from benchmarks.gpu_parts.stage import SHAPES, Stage
from qwen3_rerank_plugins._records.record import make_record, write_record
from qwen3_rerank_plugins.bench.workloads import RECIPES

_SECONDS_TO_DESCRIBE = 120.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts and write the record."""
    parser = argparse.ArgumentParser(description="Measure checks, speed and memory on this device in one call.")
    parser.add_argument("--out", type=Path, required=True, help="file for the record in JSON")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=12, help="time for everything")
    parser.add_argument("--parts", type=_names, help="names of parts or their beginnings, such as check,speed-8b")
    parser.add_argument("--shapes", type=_names, default=("8b", "4b", "0.6b"), help="shapes, the most important first")
    parser.add_argument("--workloads", type=_names, default=tuple(RECIPES), help="names of workloads")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each measurement")
    parser.add_argument("--folder", type=Path, help="folder that keeps the checkpoints for another call")
    given = parser.parse_args(arguments)
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # else a check may start CUDA before parts are forked
    for what, names, known in (("shape", given.shapes, SHAPES), ("workload", given.workloads, RECIPES)):
        if unknown := [name for name in names if name not in known]:
            parser.error(f"There is no {what} {unknown[0]!r}; there are {', '.join(known)}.")
    parts = parts_for(given.shapes)
    if given.parts:
        parts = [part for part in parts if any(part.name.startswith(name) for name in given.parts)]
    if not parts:
        parser.error(f"There are no such parts; there are {', '.join(part.name for part in parts_for(given.shapes))}.")
    with contextlib.ExitStack() as stack:
        root = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen3-rerank-gpu-")))
        stage = Stage(root, given.device, given.shapes, given.workloads, given.rounds)
        found = measure(parts, stage, given.minutes * 60, given.out)
    sys.exit(0 if all(one.status in ("done", "skipped") for one in found) else 1)


def measure(parts: Sequence[Part], stage: Stage, seconds: float, out: Path) -> list[PartResults]:
    """Run parts and write the record after each of them.

    Args:
        parts: the parts, the most important first.
        stage: what they measure on.
        seconds: time for all of them.
        out: file for the record.
    """
    described = run_part(Part("device", 0, device), stage, _SECONDS_TO_DESCRIBE)
    circumstances = described.results.get("circumstances", {"error": described.error})
    latest: list[PartResults] = []

    def save(found: list[PartResults]) -> None:
        latest[:] = found
        last = found[-1]
        print(f"{last.name}: {last.status} after {last.seconds:.0f} of {last.limit:.0f} s {last.error}", flush=True)
        results: dict[str, Any] = {
            "minutes": seconds / 60,
            "rounds": stage.rounds,
            "device": described.results.get("device"),
            "parts": found,
        }
        unfinished = out.with_name(f"{out.name}.unfinished")
        write_record(unfinished, make_record("gpu", circumstances, results))
        unfinished.replace(out)  # a call that is ended meanwhile leaves the last record whole

    run_parts(parts, stage, seconds, save)
    return latest


def _names(typed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in typed.split(","))


if __name__ == "__main__":
    main()
