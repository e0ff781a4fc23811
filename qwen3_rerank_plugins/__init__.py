"""Reranking with the Qwen3-Reranker models: one scoring engine for LangChain, LlamaIndex and plain Python.

Importing this package loads neither torch nor a host framework, because names are imported at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwen3_rerank_plugins._registry import close_all as close_all
    from qwen3_rerank_plugins.engine.ranking import RankedDocument as RankedDocument
    from qwen3_rerank_plugins.engine.ranking import Ranking as Ranking
    from qwen3_rerank_plugins.engine.usage import Stats as Stats
    from qwen3_rerank_plugins.engine.usage import Usage as Usage
    from qwen3_rerank_plugins.errors import BatchError as BatchError
    from qwen3_rerank_plugins.errors import CheckpointError as CheckpointError
    from qwen3_rerank_plugins.errors import CheckpointNotFoundError as CheckpointNotFoundError
    from qwen3_rerank_plugins.errors import ClosedError as ClosedError
    from qwen3_rerank_plugins.errors import DeviceMemoryError as DeviceMemoryError
    from qwen3_rerank_plugins.errors import IncompleteCheckpointError as IncompleteCheckpointError
    from qwen3_rerank_plugins.errors import InputTypeError as InputTypeError
    from qwen3_rerank_plugins.errors import LongDocumentError as LongDocumentError
    from qwen3_rerank_plugins.errors import MissingExtraError as MissingExtraError
    from qwen3_rerank_plugins.errors import NonFiniteScoreError as NonFiniteScoreError
    from qwen3_rerank_plugins.errors import NoRoomError as NoRoomError
    from qwen3_rerank_plugins.errors import OverloadedError as OverloadedError
    from qwen3_rerank_plugins.errors import PassError as PassError
    from qwen3_rerank_plugins.errors import RemoteAnswerError as RemoteAnswerError
    from qwen3_rerank_plugins.errors import RemoteError as RemoteError
    from qwen3_rerank_plugins.errors import RemoteRefusedError as RemoteRefusedError
    from qwen3_rerank_plugins.errors import RemoteTemplateError as RemoteTemplateError
    from qwen3_rerank_plugins.errors import RemoteUnreachableError as RemoteUnreachableError
    from qwen3_rerank_plugins.errors import RequestError as RequestError
    from qwen3_rerank_plugins.errors import RerankError as RerankError
    from qwen3_rerank_plugins.errors import RerankTimeoutError as RerankTimeoutError
    from qwen3_rerank_plugins.errors import ScoringError as ScoringError
    from qwen3_rerank_plugins.errors import SettingsError as SettingsError
    from qwen3_rerank_plugins.errors import ThreadStartError as ThreadStartError
    from qwen3_rerank_plugins.errors import UnknownArgumentError as UnknownArgumentError
    from qwen3_rerank_plugins.errors import UnsupportedCheckpointError as UnsupportedCheckpointError
    from qwen3_rerank_plugins.reranker import Qwen3Reranker as Qwen3Reranker

__version__ = "0.1.0"

_MODULES = {
    "Qwen3Reranker": "reranker",
    "RankedDocument": "engine.ranking",
    "Ranking": "engine.ranking",
    "Stats": "engine.usage",
    "Usage": "engine.usage",
    "close_all": "_registry",
}
"""The module of each public name that is not an error. The errors are in `errors`."""
__all__ = [
    "BatchError",
    "CheckpointError",
    "CheckpointNotFoundError",
    "ClosedError",
    "DeviceMemoryError",
    "IncompleteCheckpointError",
    "InputTypeError",
    "LongDocumentError",
    "MissingExtraError",
    "NoRoomError",
    "NonFiniteScoreError",
    "OverloadedError",
    "PassError",
    "Qwen3Reranker",
    "RankedDocument",
    "Ranking",
    "RemoteAnswerError",
    "RemoteError",
    "RemoteRefusedError",
    "RemoteTemplateError",
    "RemoteUnreachableError",
    "RequestError",
    "RerankError",
    "RerankTimeoutError",
    "ScoringError",
    "SettingsError",
    "Stats",
    "ThreadStartError",
    "UnknownArgumentError",
    "UnsupportedCheckpointError",
    "Usage",
    "__version__",
    "close_all",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
