"""JSON -> fields of the kinds that they must have; every stranger is an error.

Comes in: a file, and then its objects. Goes out: strings, numbers and further objects.
Must not know: what the fields mean.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeVar

from qwen3_rerank_plugins.errors import RequestError

T = TypeVar("T")


def read_json(file: Path, what: str) -> Any:
    """The content of a JSON file without NaN and infinities.

    Raises:
        RequestError: it cannot be read; the message says that it is not `what`.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
    except OSError as error:
        raise RequestError(f"Cannot read {file}: {error.strerror or error}. Name {what}.") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{file} is not {what}: it is no JSON ({error}).") from error


class Fields:
    """The fields of one object. Each is taken once; `end` refuses what is left over.

    Args:
        content: what should be an object.
        place: where it stands, for messages.

    Raises:
        RequestError: (by all methods) a field is missing, of the wrong kind, or unknown.
    """

    def __init__(self, content: object, location: str) -> None:
        if not isinstance(content, dict):
            raise RequestError(f"{location} must be an object.")
        self._left: dict[str, Any] = dict(content)
        self.location = location

    def text(self, name: str) -> str:
        """A string."""
        return self._checked(name, self._take(name), str, "a string")

    def text_or_none(self, name: str) -> str | None:
        """A string or null."""
        found = self._take(name)
        return None if found is None else self._checked(name, found, str, "a string or null")

    def whole_number(self, name: str) -> int:
        """An int."""
        return self._checked(name, self._take(name), int, "a whole number")

    def number(self, name: str) -> float:
        """A finite float."""
        return self._number(name, self._take(name))

    def number_or_none(self, name: str) -> float | None:
        """A finite float or null."""
        found = self._take(name)
        return None if found is None else self._number(name, found)

    def numbers(self, name: str) -> tuple[float, ...]:
        """Finite floats."""
        return tuple(self._number(name, found) for found in self._list(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """Strings."""
        return tuple(self._checked(name, found, str, "a list of strings") for found in self._list(name))

    def section(self, name: str) -> Fields:
        """An object in this one."""
        return Fields(self._take(name), f"{self.location}, {name}")

    def rows(self, name: str) -> list[Fields]:
        """A list of objects; the places count from 1."""
        return [Fields(found, f"{self.location}, {name} {number}") for number, found in enumerate(self._list(name), 1)]

    def has(self, name: str) -> bool:
        """Whether a field is there to be taken."""
        return name in self._left

    def end(self) -> None:
        """Refuse what nobody has taken."""
        if self._left:
            raise RequestError(f"{self.location} has fields that do not belong there: {', '.join(self._left)}.")

    def _take(self, name: str) -> Any:
        if name not in self._left:
            raise RequestError(f"{self.location} lacks {name!r}.")
        return self._left.pop(name)

    def _list(self, name: str) -> list[Any]:
        return self._checked(name, self._take(name), list, "a list")

    def _number(self, name: str, found: object) -> float:
        if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**53:
            return float(found)
        if isinstance(found, float) and math.isfinite(found):
            return found
        raise RequestError(f"{self.location}: {name!r} must be finite numbers.")

    def _checked(self, name: str, found: object, kind: type[T], words: str) -> T:
        if not isinstance(found, kind) or isinstance(found, bool):
            raise RequestError(f"{self.location}: {name!r} must be {words}.")
        return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
