"""Read JSON files whose objects must match a pydantic model exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from qwen3_rerank_plugins.errors import RequestError

_PROBLEMS = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this format",
    "unexpected_keyword_argument": "is not a field of this format",
    "model_type": "must be an object",
    "dataclass_type": "must be an object",
    "tuple_type": "must be a list",
}
"""Descriptions of pydantic's error types, where pydantic's own message names Python types or is less clear."""


class StrictModel(BaseModel):
    """A JSON object without unknown fields. Declare numbers as `StrictInt` or `StrictFloat`, so that "1" is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def from_json(cls, content: object, location: str, remedy: str) -> Self:
        """Check decoded JSON.

        Args:
            content: any JSON value.
            location: the file, for messages.
            remedy: last sentence of the message.

        Raises:
            RequestError: a field is missing, unknown or of the wrong type. List items are counted from 1.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = "".join(f" {part + 1}" if isinstance(part, int) else f", {part}" for part in first["loc"])
            problem = _PROBLEMS.get(first["type"]) or first["msg"].replace("Input should be", "must be")
            raise RequestError(f"{location}{field} {problem}. {remedy}") from error


def read_json(file: Path, description: str) -> Any:
    """Return the content of a JSON file. NaN and infinities are not JSON.

    Args:
        file: the file.
        description: what the file should be, for messages.

    Raises:
        RequestError: the file cannot be read or is not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
    except OSError as error:
        raise RequestError(f"Cannot read {file}: {error.strerror or error}. Pass {description}.") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{file} is not {description}, because it is not valid JSON ({error}).") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
