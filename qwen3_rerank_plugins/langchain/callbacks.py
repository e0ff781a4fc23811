"""Convert every form of callbacks that LangChain passes around into one that `RunnableConfig` takes."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, BaseRunManager, Callbacks

from qwen3_rerank_plugins.errors import InputTypeError


def config_callbacks(given: Any) -> Callbacks:
    """Return None, a list of handlers, or a callback manager.

    A run manager, which a retriever or a tool gets for its run, becomes the manager of that run's children.

    Raises:
        InputTypeError: `given` is none of these.
    """
    if isinstance(given, BaseRunManager) and hasattr(given, "get_child"):
        children: Callbacks = given.get_child()
        return children
    if given is None or isinstance(given, BaseCallbackManager):
        return given
    if isinstance(given, (list, tuple)) and all(isinstance(handler, BaseCallbackHandler) for handler in given):
        return list(given)
    hint = " Wrap a single handler in a list." if isinstance(given, BaseCallbackHandler) else ""
    raise InputTypeError(
        f"callbacks must be None, a list of handlers, a callback manager, or the run manager of a run that can have "
        f"children, got {type(given).__name__}.{hint}"
    )
