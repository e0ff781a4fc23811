"""Make the record of an evaluation, a calibration or a search: results, circumstances and versions as JSON types."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins._records.record import make_record, note_circumstances
from qwen3_rerank_plugins.engine.loading.placement import find_placement
from qwen3_rerank_plugins.evaluation.comparison import Evaluation
from qwen3_rerank_plugins.evaluation.search import SearchEvaluation
from qwen3_rerank_plugins.evaluation.thresholds import Calibration
from qwen3_rerank_plugins.reranker import Qwen3Reranker

_PACKAGES = ("torch", "transformers", "tokenizers", "pytrec_eval-terrier", "scikit-learn", "numpy")
_STUDIES = {Evaluation: "evaluation", Calibration: "calibration", SearchEvaluation: "search"}


def record_of(
    results: Evaluation | Calibration | SearchEvaluation, reranker: Qwen3Reranker, packages: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a record in the format of the benchmarks' records. A local model is named by its folder, without the path.

    Args:
        results: the results.
        reranker: the reranker that was measured.
        packages: further packages whose versions to record.
    """
    settings = reranker.settings
    placement = find_placement(settings)
    model = Path(settings.model)
    subject = model.resolve().name if model.is_dir() else settings.model
    if settings.quantization:
        subject = f"{subject}, {settings.quantization}"
    circumstances = note_circumstances(subject, placement.device, placement.dtype, (*_PACKAGES, *packages))
    record = make_record(_STUDIES[type(results)], circumstances, results)
    if isinstance(results, Calibration):
        record["results"]["threshold"] = results.threshold  # not rounded, because rounding could drop other documents
    return record
