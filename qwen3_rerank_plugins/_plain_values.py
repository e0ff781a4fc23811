"""Convert values of array libraries, databases and data frames to the plain Python values that they equal.

Examples are a `numpy.int64`, a tensor without dimensions, a `Decimal` and a member of a string enum. These functions
return an `int`, `float` or `str`. They return any other value unchanged, so that the caller can refuse it. Booleans and
text never become numbers.
"""

from __future__ import annotations

import math
from decimal import Decimal
from numbers import Real
from typing import Any, cast

_PLAIN = (str, int, float, bool, type(None))


def plain(value: Any) -> Any:
    """Return a scalar of any library as a Python value. Numbers, booleans and text keep their kind.

    This imports no library, because arrays and tensors without dimensions have `item()`.
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
    """Return a subclass of `str` as the `str` that it equals. The `str()` of an enum could be its name instead."""
    return str.__str__(value) if isinstance(value, str) else value


def number(value: Any) -> Any:
    """Return any real number as a `float`."""
    found = plain(value)
    if isinstance(found, bool) or not isinstance(found, (Real, Decimal)):
        return value
    try:
        return float(found)
    except OverflowError:
        return value


def whole(value: Any) -> Any:
    """Return any real number without a fraction as an `int`. Data frames store 3 as 3.0 if the column has gaps."""
    found = plain(value)
    if type(found) is int:
        return found
    if isinstance(found, bool) or not isinstance(found, (Real, Decimal)) or not math.isfinite(found):
        return value
    rounded = int(cast("float", found))
    return rounded if rounded == found else value
