"""How good a ranking is, and where to cut it. Needs the extra `eval`; `mteb_model` and `card` need the extra `mteb`.

1. `judged`: files of judged sets -> queries that can be measured;
2. `measures`: rankings as grades -> nDCG, MRR, recall and MAP, by trec_eval;
3. `bootstrap`: figures of queries -> means with intervals;
4. `comparison`: a reranker against the order of its sets: `evaluate`;
5. `pairs`, `thresholds` and `calibration`: labelled pairs -> a threshold, or that none separates: `calibrate`;
6. `collection` and `search`: a set as one collection, and what every stage of a search found in it: `evaluate_search`;
7. `trec`: runs and judgements in the formats of TREC;
8. `record`, `report` and `picture`: what is kept and shown of all three;
9. `mteb_adapter` and `card`: the same reranker inside mteb.
"""

from __future__ import annotations

from qwen3_rerank_plugins.errors import MissingExtraError

try:
    import pytrec_eval  # noqa: F401
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("pytrec_eval", "sklearn"):
        raise  # it is installed, and misses something of its own
    raise MissingExtraError("pytrec_eval-terrier" if error.name == "pytrec_eval" else "scikit-learn", "eval") from error

from qwen3_rerank_plugins._records import as_markdown, as_table, write_record
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
