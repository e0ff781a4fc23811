"""Find out which keyword arguments a first stage takes.

LangChain silently drops the arguments of `invoke` if a retriever names none, and many vector stores drop arguments that
they do not know. A search whose filter is lost may return other people's documents, so unknown names must be refused.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableLambda,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import merge_configs
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

Names = frozenset[str]
ANY: Names = frozenset({"*"})
"""The names that an open `**kwargs` takes."""
_FROM_LANGCHAIN = {"self", "config", "run_manager"}
_METHOD_NAMES = {"mmr": "search", "similarity": "similarity_search", "similarity_score_threshold": "similarity_search"}
"""For each search type, the part that the names of a store's search methods have in common."""


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """How a first stage is called.

    Attributes:
        config: LangChain's config, which may choose among alternatives.
        in_async: whether it is called by `ainvoke`.
    """

    config: RunnableConfig
    in_async: bool


@functools.singledispatch
def taken_by(stage: Runnable[Any, Any], call: Call) -> Names:
    """Return the names of the keyword arguments that a runnable uses; `ANY` if it takes any name."""
    return _named(stage.ainvoke if call.in_async else stage.invoke)


@taken_by.register(RunnableBindingBase)
def _(stage: RunnableBindingBase[Any, Any], call: Call) -> Names:
    return taken_by(stage.bound, dataclasses.replace(call, config=merge_configs(stage.config, call.config)))


@taken_by.register(RunnableSequence)
def _(stage: RunnableSequence[Any, Any], call: Call) -> Names:
    return taken_by(stage.first, call)  # LangChain passes them to no other step


@taken_by.register(RunnableWithFallbacks)
def _(stage: RunnableWithFallbacks[Any, Any], call: Call) -> Names:
    return _intersection(taken_by(one, call) for one in stage.runnables)


@taken_by.register(DynamicRunnable)
def _(stage: DynamicRunnable[Any, Any], call: Call) -> Names:
    chosen, config = stage.prepare(call.config)
    return taken_by(chosen, dataclasses.replace(call, config=config))


@taken_by.register(RunnableLambda)
def _(stage: RunnableLambda[Any, Any], call: Call) -> Names:
    preferred = "afunc" if call.in_async or not hasattr(stage, "func") else "func"
    return _named(getattr(stage, preferred if hasattr(stage, preferred) else "func"))


@taken_by.register(BaseRetriever)
def _(stage: BaseRetriever, call: Call) -> Names:
    names = _named(type(stage)._get_relevant_documents)  # LangChain inspects this one, also for async calls
    if call.in_async and names:
        names = _intersection((names, _named(type(stage)._aget_relevant_documents)))
    inner = getattr(stage, "base_retriever", None)  # ContextualCompressionRetriever passes them on
    return taken_by(inner, call) if names == ANY and isinstance(inner, Runnable) else names


@taken_by.register(VectorStoreRetriever)
def _(stage: VectorStoreRetriever, call: Call) -> Names:
    if type(stage)._get_relevant_documents is not VectorStoreRetriever._get_relevant_documents:
        names: Names = taken_by.dispatch(BaseRetriever)(stage, call)
        return names
    methods = _METHOD_NAMES.get(stage.search_type, "search")
    threshold = {"score_threshold"} if stage.search_type == "similarity_score_threshold" else set()
    return frozenset(threshold | _search_parameters(type(stage.vectorstore), methods) | set(stage.search_kwargs))


def _search_parameters(store: type[VectorStore], name_part: str) -> set[str]:
    """Return every name in the signatures of the store's search methods; names that go into `**kwargs` are unknown."""
    methods = [method for name, method in inspect.getmembers(store, inspect.isfunction) if name_part in name]
    return {name for method in methods for name in _by_name(method)} - {"query", "embedding", "vector"}


def _named(function: Callable[..., Any]) -> Names:
    kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
    return ANY if inspect.Parameter.VAR_KEYWORD in kinds else _by_name(function)


def _by_name(function: Callable[..., Any]) -> Names:
    """Return the parameters that can be passed by name, without the query, which is the first, and LangChain's own."""
    parameters = [one for one in inspect.signature(function).parameters.values() if one.name not in _FROM_LANGCHAIN]
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return frozenset(one.name for one in parameters[1:] if one.kind in by_name)


def _intersection(sets: Iterable[Names]) -> Names:
    named = [names for names in sets if names != ANY]
    return frozenset.intersection(*named) if named else ANY
