"""The JSON form of a ranked document, the same in every file and pipe."""

from __future__ import annotations

import math
from typing import Any

from qwen3_rerank_plugins.engine.ranking import RankedDocument


def as_object(document: RankedDocument, **name: Any) -> dict[str, Any]:
    """Return everything but the text; `name` is an extra field that identifies the document, such as `doc_id`."""
    return {
        "index": document.index,
        **name,
        "score": document.score,
        "logit": document.logit if math.isfinite(document.logit) else None,  # JSON has no -Infinity
        "truncated_tokens": document.truncated_tokens,
        "span": document.span,
    }
