"""Run each part in a new process with a time limit, so that no failure and no crash ends the parts after it."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Literal

from benchmarks.gpu_parts.stage import Item, Stage
from qwen3_rerank_plugins.device_check.engines import free_cached_memory
from qwen3_rerank_plugins.errors import MissingExtraError, SettingsError

Status = Literal["done", "failed", "out of time", "skipped"]
_SHORTEST = 5.0
"""Seconds; a part that would have fewer is skipped."""
_KEPT_IMPORTS = ["torch", "transformers"]
"""Imported once, in the process that all parts are forked from. It must not start CUDA, and these do not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One part of the program.

    Attributes:
        name: its name.
        share: its share of the whole time. What a part leaves, the next may use.
        items: yields its measurements. It is called in the new process, so it must be a function of a module.
    """

    name: str
    share: float
    items: Callable[[Stage], Iterator[Item]]


@dataclasses.dataclass(frozen=True, slots=True)
class PartResults:
    """What a part measured.

    Attributes:
        name: the part.
        status: "failed" if any measurement or check failed; the results of the others are there.
        seconds: time that it took.
        limit: seconds that it could take.
        error: why it ended early; empty if it did not.
        results: by measurement: its result, or a dictionary with `error`, or with `unavailable` and what is missing.
    """

    name: str
    status: Status
    seconds: float
    limit: float
    error: str
    results: dict[str, Any]


def run_parts(parts: Sequence[Part], stage: Stage, seconds: float, save: Callable[[list[PartResults]], None]) -> None:
    """Run parts one after the other.

    Args:
        parts: the parts, the most important first.
        stage: what they measure on.
        seconds: time for all of them.
        save: called with all results so far after each part.
    """
    end, unused = time.monotonic() + seconds, 0.0
    found: list[PartResults] = []
    for part in parts:
        limit = min(part.share * seconds + unused, end - time.monotonic())
        if limit < _SHORTEST:
            found.append(PartResults(part.name, "skipped", 0.0, max(0.0, limit), "no time was left", {}))
        else:
            found.append(run_part(part, stage, limit))
            unused = limit - found[-1].seconds
        save(found)


def run_part(part: Part, stage: Stage, limit: float) -> PartResults:
    """Run a part in a new process and end the process after `limit` seconds."""
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(_KEPT_IMPORTS)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(part, stage, sender), daemon=False)
    started = time.monotonic()
    process.start()
    sender.close()
    results: dict[str, Any] = {}
    error, in_time = "", True
    with contextlib.suppress(EOFError):
        while in_time := receiver.poll(max(0.0, started + limit - time.monotonic())):
            name, result = receiver.recv()
            if name is None:
                error = result
            else:
                results[name] = result
    if not in_time:
        process.kill()
        error = f"ended after {limit:.0f} seconds"
    process.join()
    if in_time and process.exitcode:
        error = f"the process ended with exit code {process.exitcode}"
    found = [result for result in results.values() if isinstance(result, dict)]
    broken = [result for result in found if "error" in result or result.get("passed") is False]
    status: Status = "out of time" if not in_time else "failed" if error or broken else "done"
    return PartResults(part.name, status, time.monotonic() - started, limit, error, results)


def _work(part: Part, stage: Stage, sender: Connection) -> None:
    """Run the measurements of a part and send each result when it is there."""
    with contextlib.closing(sender):
        try:
            for name, measure in part.items(stage):
                print(f"{part.name}: {name}", flush=True)
                sender.send((name, _result_of(measure)))
                free_cached_memory()
        except Exception as error:
            sender.send((None, describe(error)))


def _result_of(measure: Callable[[], Any]) -> Any:
    try:
        return measure()
    except (MissingExtraError, SettingsError) as error:
        return {"unavailable": describe(error)}
    except Exception as error:  # out of memory, a driver, a library: the other measurements still run
        return {"error": describe(error)}


def describe(error: Exception) -> str:
    """Return the type and the first line of an error."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no more details'])[0]}"
