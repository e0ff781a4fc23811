"""An evaluation or a calibration -> a record in plain types: what was found, where, and with which versions.

Comes in: `Evaluation` or `Calibration`, and the reranker it is of. Goes out: the JSON of a record.
Must not know: how anything was measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qwen3_rerank_plugins.bench.record import make_record, note_circumstances
from qwen3_rerank_plugins.engine.weights import choose_placement
from qwen3_rerank_plugins.evaluation.comparison import Evaluation
from qwen3_rerank_plugins.evaluation.thresholds import Calibration
from qwen3_rerank_plugins.reranker import Qwen3Reranker

_PACKAGES = ("torch", "transformers", "tokenizers", "pytrec_eval-terrier", "scikit-learn", "numpy")


def record_of(results: Evaluation | Calibration, reranker: Qwen3Reranker) -> dict[str, Any]:
    """A record as those of the benchmarks are; a local model is called by its folder's own name."""
    settings = reranker.settings
    placement = choose_placement(settings)
    model = Path(settings.model)
    subject = model.resolve().name if model.is_dir() else settings.model
    if settings.quantization:
        subject = f"{subject}, {settings.quantization}"
    study = "evaluation" if isinstance(results, Evaluation) else "calibration"
    record = make_record(study, note_circumstances(subject, placement.device, placement.dtype, _PACKAGES), results)
    if isinstance(results, Calibration):
        record["results"]["threshold"] = results.threshold  # in full: rounded, it would cut elsewhere
    return record
