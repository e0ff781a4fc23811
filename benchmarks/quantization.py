"""The study of quantization: memory, speed, and how far the scores move, for each mode.

The engine loads every model. A mode that cannot run here is listed with the reason.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
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
    """Log-odds compared with those of the same checkpoint, unquantized, in float32.

    Attributes:
        largest_difference: largest absolute difference over all pairs.
        mean_difference: mean absolute difference over all pairs.
        rank_correlation: mean over the queries of Spearman's rank correlation; None if no query has two documents.
        lowest_rank_correlation: the lowest of the same.
    """

    largest_difference: float
    mean_difference: float
    rank_correlation: float | None
    lowest_rank_correlation: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class ModeFigures:
    """One mode. If it cannot run here, only `mode` and `refused` are set.

    Attributes:
        mode: the mode; None is the unquantized model in the dtype of the study.
        reason: the engine's description of the mode.
        refused: the error message if the mode cannot run here.
        weight_bytes: bytes of all parameters and scales, as loaded.
        predicted_bytes: bytes that `doctor` predicts before loading.
        speed: how many times as fast as unquantized on the same device and dtype; below 1 is slower.
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
        label: name of the checkpoint.
        device: the device.
        dtype: the dtype of the study.
        queries: number of queries.
        pairs: number of (query, document) pairs.
        rounds: timed runs of each mode.
        spread: standard deviation of the reference's log-odds, the scale for differences.
        modes: results of the modes.
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
    """Measure every mode in turns with the unquantized model.

    Args:
        folder: the checkpoint.
        label: its name in the record.
        pairs: queries and documents; pairs of one query are one request.
        device: see `EngineSettings`.
        dtype: see `EngineSettings`.
        rounds: timed runs of each mode; a median needs at least 3.
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
    name: str = mode or "unquantized"
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
    rerankers = {"unquantized": _reranker(plain), name: _reranker(settings)}
    try:
        scores = {side: _score(reranker, sets) for side, reranker in rerankers.items()}  # loads and warms up
        calls = {side: functools.partial(_score, reranker, sets) for side, reranker in rerankers.items()}
        measured = take_turns(calls, rounds, placement.device, lambda side, turn: tell(f"{side}, round {turn + 1}"))
    finally:
        for reranker in rerankers.values():
            reranker.close()
    return dataclasses.replace(
        figures,
        speed=ratios(measured[name], measured["unquantized"]),
        faithfulness=compare(scores[name], reference),
    )


def compare(scores: list[list[float]], reference: list[list[float]]) -> Faithfulness:
    """Compare log-odds with those of the reference, query by query."""
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
    """Return Spearman's rank correlation; equal values share a rank.

    It is not defined if all values of one side are equal. Then the result is 1 if those of the other side are equal,
    too, and 0 otherwise.
    """
    if len(set(left)) == 1 or len(set(right)) == 1:
        return float(len(set(left)) == len(set(right)))
    return statistics.correlation(_ranks(left), _ranks(right))


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [bisect.bisect_left(ordered, value) + bisect.bisect_right(ordered, value) for value in values]


def _score_once(settings: EngineSettings, sets: Sets) -> list[list[float]]:
    with _reranker(settings) as reranker:
        return _score(reranker, sets)


def _score(reranker: Qwen3Reranker, sets: Sets) -> list[list[float]]:
    """Return one list of log-odds per query, in the order of its documents."""
    return [reranker.log_odds(query, documents) for query, documents in sets.items()]


def _reranker(settings: EngineSettings) -> Qwen3Reranker:
    return Qwen3Reranker(
        settings.model, device=settings.device, dtype=settings.dtype, quantization=settings.quantization
    )


def _resident_bytes(settings: EngineSettings) -> int:
    """Return the bytes of all parameters and scales; tied matrices count once."""
    model = load_model(settings, find_checkpoint(settings)).causal_lm
    scales = [buffer for name, buffer in model.named_buffers() if "inv_freq" not in name]
    tensors: list[Any] = [*model.parameters(), *scales]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
