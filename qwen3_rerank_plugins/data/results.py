"""A ranked document -> the object that programs read, the same in every file and pipe.

Comes in: `RankedDocument`. Goes out: what JSON and Arrow can hold.
Must not know: files, tables.
"""

from __future__ import annotations

import math
from typing import Any

from qwen3_rerank_plugins.engine.ranking import RankedDocument


def as_object(document: RankedDocument, **name: Any) -> dict[str, Any]:
    """Everything but the text; `name` says which document it is, beside its index."""
    return {
        "index": document.index,
        **name,
        "score": document.score,
        "logit": document.logit if math.isfinite(document.logit) else None,  # JSON knows no -Infinity
        "truncated_tokens": document.truncated_tokens,
        "span": document.span,
    }
