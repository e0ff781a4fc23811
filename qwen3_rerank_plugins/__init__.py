"""Reranking with the Qwen3-Reranker models: one scoring engine for LangChain, LlamaIndex and plain Python.

Importing this package loads neither torch nor a host framework; names are resolved when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwen3_rerank_plugins.engine.results import RankedDocument as RankedDocument
    from qwen3_rerank_plugins.errors import RerankError as RerankError
    from qwen3_rerank_plugins.registry import close_all as close_all
    from qwen3_rerank_plugins.reranker import Qwen3Reranker as Qwen3Reranker

__version__ = "0.1.0"

_HOMES = {
    "Qwen3Reranker": "reranker",
    "RankedDocument": "engine.results",
    "RerankError": "errors",
    "close_all": "registry",
}
__all__ = ["Qwen3Reranker", "RankedDocument", "RerankError", "__version__", "close_all"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
