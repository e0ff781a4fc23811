"""The study of concurrency: many callers at once, compared with the same calls one after the other."""

from __future__ import annotations

import dataclasses
import math
import statistics
import threading
import time
from collections.abc import Sequence

import torch

from qwen3_rerank_plugins.bench.speed import OnStep
from qwen3_rerank_plugins.bench.stopwatch import Spread
from qwen3_rerank_plugins.bench.texts import RealText
from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.request import RerankRequest, make_request
from qwen3_rerank_plugins.engine.settings import EngineSettings

CALLERS, DOCUMENTS = 16, 4


@dataclasses.dataclass(frozen=True, slots=True)
class Manner:
    """Throughput and latency of one way to make the calls.

    Attributes:
        documents_per_second: documents of all calls together, per round.
        p50: median seconds from a call to its result, over all rounds.
        p95: 95th percentile of the same.
    """

    documents_per_second: Spread
    p50: float
    p95: float


@dataclasses.dataclass(frozen=True, slots=True)
class TogetherResults:
    """The same calls, made in three ways.

    Attributes:
        callers: number of callers.
        documents_each: documents per call.
        rounds: number of rounds.
        one_by_one: each call starts after the result of the previous one.
        at_once: one thread per caller, and all start at the same moment.
        lone: a single caller.
        throughput_ratio: throughput of `at_once` / throughput of `one_by_one`.
        largest_difference: largest difference of log-odds between the two.
    """

    callers: int
    documents_each: int
    rounds: int
    one_by_one: Manner
    at_once: Manner
    lone: Manner
    throughput_ratio: Spread
    largest_difference: float


def measure_together(text: RealText, settings: EngineSettings, rounds: int, tell: OnStep) -> TogetherResults:
    """Make the calls in each way, in turns.

    Args:
        text: supply of queries and documents; every caller has different ones.
        settings: settings of the engine.
        rounds: number of rounds.
        tell: called before every step.
    """
    requests = [
        make_request(text.draw(12), [text.draw(length) for length in text.lengths_between(40, 80, DOCUMENTS)], None)
        for _ in range(CALLERS)
    ]
    scorer = LocalScorer(settings)
    scorer.warmup()
    _at_once(scorer, requests)
    calls: dict[str, list[_Run]] = {"one_by_one": [], "at_once": [], "lone": []}
    for turn in range(rounds):
        tell(f"round {turn + 1} of {rounds}")
        calls["one_by_one"].append(_one_by_one(scorer, requests))
        calls["at_once"].append(_at_once(scorer, requests))
        calls["lone"].append(_one_by_one(scorer, requests[:1]))
    scorer.close()
    pairs = zip(calls["at_once"], calls["one_by_one"], strict=True)
    return TogetherResults(
        callers=CALLERS,
        documents_each=DOCUMENTS,
        rounds=rounds,
        one_by_one=_manner(calls["one_by_one"], CALLERS),
        at_once=_manner(calls["at_once"], CALLERS),
        lone=_manner(calls["lone"], 1),
        throughput_ratio=Spread.of([single.seconds / merged.seconds for merged, single in pairs]),
        largest_difference=_difference(calls["one_by_one"][0], calls["at_once"][0]),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Run:
    seconds: float
    latencies: tuple[float, ...]
    log_odds: tuple[tuple[float, ...], ...]


def _one_by_one(scorer: LocalScorer, requests: Sequence[RerankRequest]) -> _Run:
    started, latencies, answers = time.perf_counter(), [], []
    for request in requests:
        called = time.perf_counter()
        answers.append(scorer.submit(request).result().log_odds)
        latencies.append(time.perf_counter() - called)
    return _Run(time.perf_counter() - started, tuple(latencies), tuple(answers))


def _at_once(scorer: LocalScorer, requests: Sequence[RerankRequest]) -> _Run:
    latencies: dict[int, float] = {}
    answers: dict[int, tuple[float, ...]] = {}
    start = threading.Barrier(len(requests) + 1)

    def call(caller: int) -> None:
        start.wait()
        called = time.perf_counter()
        answers[caller] = scorer.submit(requests[caller]).result().log_odds
        latencies[caller] = time.perf_counter() - called

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(len(requests))]
    for thread in threads:
        thread.start()
    start.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    callers = range(len(requests))
    return _Run(
        time.perf_counter() - started,
        tuple(latencies[caller] for caller in callers),
        tuple(answers[caller] for caller in callers),
    )


def _manner(runs: Sequence[_Run], callers: int) -> Manner:
    latencies = sorted(latency for run in runs for latency in run.latencies)
    p95 = latencies[math.ceil(0.95 * len(latencies)) - 1]  # nearest rank
    throughput = Spread.of([callers * DOCUMENTS / run.seconds for run in runs])
    return Manner(throughput, statistics.median(latencies), p95)


def _difference(left: _Run, right: _Run) -> float:
    first, second = (torch.tensor(run.log_odds) for run in (left, right))
    return float((first - second).abs().max())
