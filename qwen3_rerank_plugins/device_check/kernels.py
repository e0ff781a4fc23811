"""Kernels: every way to run a model against the plain path, and against the stock forward pass in float32."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch

from qwen3_rerank_plugins.device_check.check import Check, survive
from qwen3_rerank_plugins.device_check.engines import OpenedEngine, difference_limit, stock_scores
from qwen3_rerank_plugins.device_check.requests import LAYOUTS, random_requests
from qwen3_rerank_plugins.device_check.subject import Subject
from qwen3_rerank_plugins.device_check.variants import plain, variants
from qwen3_rerank_plugins.engine.loading.placement import choose_placement
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import MissingExtraError, SettingsError

_EXACT = 1e-3
"""Log-odds. The bound in float32, and the lowest bound in 16 bits."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rounding:
    """How much the stock forward pass of transformers rounds in a dtype. It sets the limits of all comparisons.

    Attributes:
        exact: the log-odds in float32, [documents].
        root_mean_square: of the differences between the log-odds in the dtype and the exact ones.
        largest: the largest of them.
    """

    exact: torch.Tensor
    root_mean_square: float
    largest: float

    @property
    def error_limit(self) -> float:
        """Largest root mean square of errors against `exact`: half as much again as the stock path's."""
        return max(_EXACT, 1.5 * self.root_mean_square)

    @property
    def difference_limit(self) -> float:
        """Largest difference between two paths that both round: twice the stock path's largest error."""
        return max(_EXACT, 2 * self.largest)


def check_kernels(subject: Subject, dtype: torch.dtype) -> Iterator[Check]:
    """Compare every variant with the plain path and with float32, over all layouts."""
    requests = {layout: random_requests(LAYOUTS[layout]) for layout in subject.layouts}
    rounding = measure_rounding(subject, dtype, [one for some in requests.values() for one in some])
    if dtype != torch.float32:
        yield Check(subject.name(dtype, "stock path: error against float32, RMS"), rounding.root_mean_square)
    settings = subject.settings(dtype)
    with OpenedEngine(plain(settings)) as opened:
        reference = {layout: opened.score(some) for layout, some in requests.items()}
    for name, variant in variants(settings).items():
        if obstacle := _obstacle(variant):
            yield Check(subject.name(dtype, name), note=obstacle)
            continue
        yield from survive(
            subject.name(dtype, name),
            lambda name=name, variant=variant: _compare(  # type: ignore[misc]
                subject.name(dtype, name), variant, requests, reference, rounding
            ),
        )


def measure_rounding(subject: Subject, dtype: torch.dtype, requests: list[TokenizedRequest]) -> Rounding:
    """Score with the stock forward pass in float32 and in a dtype."""
    exact = stock_scores(subject.folder, subject.device, torch.float32, requests)
    if dtype == torch.float32:
        return Rounding(exact, 0.0, 0.0)
    errors = stock_scores(subject.folder, subject.device, dtype, requests) - exact
    return Rounding(exact, root_mean_square(errors), float(errors.abs().max()))


def check_against_stock(subject: Subject, dtype: torch.dtype) -> Iterator[Check]:
    """Compare what "auto" chooses with the stock forward pass in the same dtype, for models too large for float32."""
    requests = random_requests(LAYOUTS["several prefixes"]) + random_requests(LAYOUTS["many documents"], seed=1)
    stock = stock_scores(subject.folder, subject.device, dtype, requests)
    with OpenedEngine(subject.settings(dtype)) as opened:
        difference = float((opened.score(requests) - stock).abs().max())
        name = subject.name(dtype, "default: largest difference from the stock path")
        yield Check(name, difference, difference_limit(dtype, stock), note=opened.note)


def root_mean_square(errors: torch.Tensor) -> float:
    """Return the root mean square of all entries."""
    return float(errors.square().mean().sqrt())


def _compare(
    name: str,
    settings: EngineSettings,
    requests: Mapping[str, list[TokenizedRequest]],
    reference: Mapping[str, torch.Tensor],
    rounding: Rounding,
) -> Iterator[Check]:
    with OpenedEngine(settings) as opened:
        scores = {layout: opened.score(some) for layout, some in requests.items()}
        note = opened.note
    differences = {layout: float((found - reference[layout]).abs().max()) for layout, found in scores.items()}
    worst = max(differences, key=lambda layout: differences[layout])
    where = f"largest for {worst}"
    yield Check(
        f"{name}: largest difference from the plain path",
        differences[worst],
        rounding.difference_limit,
        "; ".join(filter(None, (where, note))),
    )
    errors = torch.cat([*scores.values()]) - rounding.exact
    yield Check(f"{name}: error against float32, RMS", root_mean_square(errors), rounding.error_limit)


def _obstacle(settings: EngineSettings) -> str:
    """Return why these settings cannot run on this machine; empty if they can."""
    try:
        choose_placement(settings)
    except (SettingsError, MissingExtraError) as error:
        return " ".join(str(error).split())
    return ""
