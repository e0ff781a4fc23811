"""Options of the reranker and of its calls: the marker for an omitted option, and the checks that both share."""

from __future__ import annotations

import enum
import math
from typing import TypeVar

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins.engine.call import MaxWaitingTokens
from qwen3_rerank_plugins.engine.settings import SHORTEST_MAX_LENGTH, positive_int
from qwen3_rerank_plugins.errors import SettingsError

T = TypeVar("T")


class Unset(enum.Enum):
    """The type of `UNSET`, the default of an option that a call omits."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return self.name


UNSET = Unset.UNSET
"""None cannot be this default, because None is a value: it removes a limit, or selects the default instruction."""


def resolve(option: T | Unset, default: T) -> T:
    """The option of a call, or the reranker's if the call omits it."""
    return default if isinstance(option, Unset) else option


def check_top_n(top_n: int | None, name: str = "top_n") -> int | None:
    """Return a number of documents as an `int` or None; errors call it `name`.

    Raises:
        SettingsError: it is negative, fractional or not a number.
    """
    found = plain.whole(top_n)
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 0):
        raise SettingsError(f"{name} must be None (all documents) or a whole number >= 0, got {top_n!r}.")
    return found


def check_min_score(min_score: float | None) -> float | None:
    """Return `min_score` as a `float` or None.

    Raises:
        SettingsError: it is not a probability.
    """
    found = plain.number(min_score)
    if found is not None and not (isinstance(found, float) and 0 <= found <= 1):
        raise SettingsError(f"min_score must be None or a probability between 0 and 1, got {min_score!r}.")
    return found


def check_timeout(timeout: float | None) -> float | None:
    """Return `timeout` as a `float` or None.

    Raises:
        SettingsError: it is not a positive number of seconds.
    """
    found = plain.number(timeout)
    if found is not None and not (isinstance(found, float) and 0 < found < math.inf):
        raise SettingsError(f"timeout must be None or a positive number of seconds, got {timeout!r}.")
    return found


def check_max_waiting_tokens(tokens: MaxWaitingTokens) -> MaxWaitingTokens:
    """Return `max_waiting_tokens` as an `int`, "auto" or None.

    Raises:
        SettingsError: it is none of them, or not positive.
    """
    return tokens if tokens is None or tokens == "auto" else positive_int("max_waiting_tokens", tokens)


def check_max_length(max_length: int | None) -> int | None:
    """Return `max_length` as an `int` or None.

    Raises:
        SettingsError: it is not a whole number, or too short for the prompt template.
    """
    if max_length is None:
        return None
    found = positive_int("max_length", max_length)
    if found < SHORTEST_MAX_LENGTH:
        raise SettingsError(
            f"max_length={found} is too short: the prompt template alone takes {SHORTEST_MAX_LENGTH - 1} tokens, so "
            f"max_length must be at least {SHORTEST_MAX_LENGTH}, plus the instruction, the query and the document."
        )
    return found
