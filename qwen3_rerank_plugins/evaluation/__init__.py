"""Measure the quality of rankings and find a threshold for scores. Needs the extra `eval`; `mteb_model` needs `mteb`.

- `evaluate` compares judged sets before and after reranking (`comparison`, `judged`, `measures`).
- `calibrate` proposes a threshold from labeled pairs (`calibration`, `pairs`, `thresholds`, `scored_pairs`).
- `evaluate_search` measures each stage of a search on one collection (`search`, `collection`).
- `record_of` makes a record of the results; `report` and `picture` show it, and `trec` writes the formats of TREC.
- `mteb_model` runs the reranker inside mteb (`mteb_adapter`).
"""

from __future__ import annotations

from qwen3_rerank_plugins.errors import MissingExtraError

try:
    import pytrec_eval  # noqa: F401
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("pytrec_eval", "sklearn"):
        raise  # it is installed, and one of its dependencies is missing
    raise MissingExtraError("pytrec_eval-terrier" if error.name == "pytrec_eval" else "scikit-learn", "eval") from error

from qwen3_rerank_plugins._records.record import as_markdown, as_table, write_record
from qwen3_rerank_plugins.evaluation.calibration import acalibrate, calibrate
from qwen3_rerank_plugins.evaluation.collection import Collection, bundled_collection, read_collection
from qwen3_rerank_plugins.evaluation.comparison import Evaluation, aevaluate, evaluate
from qwen3_rerank_plugins.evaluation.mteb_adapter import mteb_model
from qwen3_rerank_plugins.evaluation.record import record_of
from qwen3_rerank_plugins.evaluation.search import SearchEvaluation, evaluate_search
from qwen3_rerank_plugins.evaluation.thresholds import Calibration, propose_threshold
from qwen3_rerank_plugins.evaluation.trec import write_qrels, write_run

__all__ = [
    "Calibration",
    "Collection",
    "Evaluation",
    "SearchEvaluation",
    "acalibrate",
    "aevaluate",
    "as_markdown",
    "as_table",
    "bundled_collection",
    "calibrate",
    "evaluate",
    "evaluate_search",
    "mteb_model",
    "propose_threshold",
    "read_collection",
    "record_of",
    "write_qrels",
    "write_record",
    "write_run",
]
