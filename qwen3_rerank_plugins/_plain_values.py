"""Values as array libraries, stores and data frames hold them -> plain Python values that are equal to them.

A `numpy.int64`, a tensor without dimensions, a `Decimal` or a member of a string enum says the same as an `int`, a
`float` or a `str`. These functions return that `int`, `float` or `str`. Anything else comes back as it is, for the
caller to refuse: a truth value is never a number, and text is never one either.
"""

from __future__ import annotations

import math
from decimal import Decimal
from numbers import Real
from typing import Any, cast

_PLAIN = (str, int, float, bool, type(None))


def plain(value: Any) -> Any:
    """A scalar of any library as Python's own; numbers, truth values and text keep their kind.

    No library is imported for it: arrays and tensors without dimensions have `item()`.
    """
    if type(value) in _PLAIN:
        return value
    if callable(getattr(value, "item", None)) and getattr(value, "ndim", None) == 0:
        try:
            value = value.item()
        except (RuntimeError, TypeError, ValueError):  # a tensor without data
            return value
    if isinstance(value, bool):
        return value
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    return text(value)


def text(value: Any) -> Any:
    """A subclass of `str` as the `str` that it equals. An enum's own `str()` would be its name."""
    return str.__str__(value) if isinstance(value, str) else value


def number(value: Any) -> Any:
    """Any real number as a `float`."""
    found = plain(value)
    if isinstance(found, bool) or not isinstance(found, (Real, Decimal)):
        return value
    try:
        return float(found)
    except OverflowError:
        return value


def whole(value: Any) -> Any:
    """Any real number without a fraction as an `int`; a data frame with a gap in a column holds 3 as 3.0."""
    found = plain(value)
    if type(found) is int:
        return found
    if isinstance(found, bool) or not isinstance(found, (Real, Decimal)) or not math.isfinite(found):
        return value
    rounded = int(cast("float", found))
    return rounded if rounded == found else value
