"""What each quantization costs and saves: memory, speed, and how far the scores move.

Comes in: a checkpoint folder and real (query, document) pairs. Goes out: `QuantizationStudy`.
Must not know: how a mode works. Every model is loaded by the project's own code; a mode that is refused says why.
"""

from __future__ import annotations

import bisect
import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from qwen3_rerank_plugins.bench.speed import OnStep
from qwen3_rerank_plugins.bench.stopwatch import Spread, ratios, take_turns
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.loader import load_model
from qwen3_rerank_plugins.engine.loading.placement import choose_placement, dtype_name
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.settings import Dtype, EngineSettings, Quantization
from qwen3_rerank_plugins.errors import MissingExtraError, SettingsError
from qwen3_rerank_plugins.reranker import Qwen3Reranker

Sets = Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Faithfulness:
    """Log-odds against those of the same checkpoint, unquantised, in float32.

    Attributes:
        largest_difference, mean_difference: absolute, over all pairs.
        rank_correlation, lowest_rank_correlation: Spearman's, one a query: the mean and the lowest; None where no query
            has two documents.
    """

    largest_difference: float
    mean_difference: float
    rank_correlation: float | None
    lowest_rank_correlation: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class ModeFigures:
    """One mode; where it was refused, only `refused` says something.

    Attributes:
        mode: None is the unquantised model in the dtype of the study.
        reason: what the mode is, in the engine's words.
        refused: the message, where the mode cannot run here.
        weight_bytes: of all parameters and scales, as loaded.
        predicted_bytes: what `doctor` says before loading.
        speed: how many times as fast as unquantised, same device and dtype; below 1 is slower.
        faithfulness: how far the scores moved.
    """

    mode: Quantization | None
    reason: str = ""
    refused: str | None = None
    weight_bytes: int | None = None
    predicted_bytes: int | None = None
    speed: Spread | None = None
    faithfulness: Faithfulness | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class QuantizationStudy:
    """All modes on one checkpoint and one device.

    Attributes:
        spread: standard deviation of the reference's log-odds; differences mean little without it.
    """

    label: str
    device: str
    dtype: str
    queries: int
    pairs: int
    rounds: int
    spread: float
    modes: tuple[ModeFigures, ...]


def measure_quantization(
    folder: Path,
    label: str,
    pairs: Sequence[tuple[str, str]],
    *,
    device: str = "auto",
    dtype: Dtype = "auto",
    rounds: int = 3,
    tell: OnStep = lambda _: None,
) -> QuantizationStudy:
    """Every mode beside the unquantised model, each alternating with it in the same run.

    Args:
        folder: the checkpoint.
        label: what to call it, its depth included where it was cut.
        pairs: queries and documents; pairs of one query are one request.
        device: as of `EngineSettings`.
        dtype: as of `EngineSettings`.
        rounds: timed runs of each side; at least 3 for a median that means something.
        tell: called before every step.
    """
    plain = EngineSettings(model=str(folder), device=device, dtype=dtype)
    placement = choose_placement(plain)
    sets: dict[str, list[str]] = {}
    for query, document in pairs:
        sets.setdefault(query, []).append(document)
    tell("float32 reference")
    reference = _score_once(dataclasses.replace(plain, dtype="float32"), sets)
    modes = [_examine(plain, None, sets, reference, rounds, tell)]
    modes += [_examine(plain, mode, sets, reference, rounds, tell) for mode in get_args(Quantization)]
    return QuantizationStudy(
        label=label,
        device=str(placement.device),
        dtype=dtype_name(placement.dtype),
        queries=len(sets),
        pairs=len(pairs),
        rounds=rounds,
        spread=statistics.pstdev(score for scores in reference for score in scores),
        modes=tuple(modes),
    )


def _examine(
    plain: EngineSettings,
    mode: Quantization | None,
    sets: Sets,
    reference: list[list[float]],
    rounds: int,
    tell: OnStep,
) -> ModeFigures:
    settings = dataclasses.replace(plain, quantization=mode)
    try:
        placement = choose_placement(settings)
    except (SettingsError, MissingExtraError) as error:
        return ModeFigures(mode, refused=str(error))
    name: str = mode or "unquantised"
    tell(name)
    config = find_checkpoint(settings).config
    figures = ModeFigures(
        mode,
        reason=placement.quantization.reason,
        weight_bytes=_resident_bytes(settings),
        predicted_bytes=Shape.from_config(config).weight_bytes(placement.dtype, mode),
    )
    if mode is None:
        return dataclasses.replace(figures, faithfulness=compare(_score_once(plain, sets), reference))
    rerankers = {"unquantised": _reranker(plain), name: _reranker(settings)}
    try:
        scores = {side: _score(reranker, sets) for side, reranker in rerankers.items()}  # loads, and warms up
        calls = {side: _scoring(reranker, sets) for side, reranker in rerankers.items()}
        measured = take_turns(calls, rounds, placement.device, lambda side, turn: tell(f"{side}, round {turn + 1}"))
    finally:
        for reranker in rerankers.values():
            reranker.close()
    return dataclasses.replace(
        figures,
        speed=ratios(measured[name], measured["unquantised"]),
        faithfulness=compare(scores[name], reference),
    )


def compare(scores: list[list[float]], reference: list[list[float]]) -> Faithfulness:
    """Log-odds against the reference's, query by query."""
    paired = list(zip(scores, reference, strict=True))
    differences = [abs(a - b) for ours, theirs in paired for a, b in zip(ours, theirs, strict=True)]
    correlations = [spearman(ours, theirs) for ours, theirs in paired if len(ours) > 1]
    return Faithfulness(
        largest_difference=max(differences),
        mean_difference=statistics.fmean(differences),
        rank_correlation=statistics.fmean(correlations) if correlations else None,
        lowest_rank_correlation=min(correlations, default=None),
    )


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Spearman's rank correlation; equal values share a rank. A side without any order agrees only with its like."""
    if len(set(left)) == 1 or len(set(right)) == 1:
        return float(len(set(left)) == len(set(right)))
    return statistics.correlation(_ranks(left), _ranks(right))


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [bisect.bisect_left(ordered, value) + bisect.bisect_right(ordered, value) for value in values]


def _score_once(settings: EngineSettings, sets: Sets) -> list[list[float]]:
    reranker = _reranker(settings)
    try:
        return _score(reranker, sets)
    finally:
        reranker.close()


def _score(reranker: Qwen3Reranker, sets: Sets) -> list[list[float]]:
    """Log-odds, one list a query, in the order of its documents."""
    ranked = [reranker.rank(query, documents) for query, documents in sets.items()]
    return [[found.logit for found in sorted(one, key=lambda found: found.index)] for one in ranked]


def _scoring(reranker: Qwen3Reranker, sets: Sets) -> Callable[[], Any]:
    return lambda: _score(reranker, sets)


def _reranker(settings: EngineSettings) -> Qwen3Reranker:
    return Qwen3Reranker(
        settings.model, device=settings.device, dtype=settings.dtype, quantization=settings.quantization
    )


def _resident_bytes(settings: EngineSettings) -> int:
    """Bytes of every distinct parameter and scale; tied matrices count once."""
    model = load_model(settings, find_checkpoint(settings)).causal_lm
    scales = [buffer for name, buffer in model.named_buffers() if "inv_freq" not in name]
    tensors: list[Any] = [*model.parameters(), *scales]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
