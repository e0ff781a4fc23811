"""Read the rotary position embedding (RoPE) from a config.json: its type, its limit, and how it depends on the length.

This module computes plain numbers only; `engine.model.rotary` computes the rotation with the formulas of transformers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

from qwen3_rerank_plugins.errors import UnsupportedCheckpointError

_LAST_EXACT = 2**24
"""Positions are multiplied as float32, which represents every whole number up to this one exactly."""

RopeType = Literal["default", "linear", "dynamic", "yarn", "longrope", "llama3"]


@dataclasses.dataclass(frozen=True, slots=True)
class Rope:
    """A model's rotary position embedding.

    Attributes:
        type: its name in transformers.
        original: longest prompt without extension, in tokens.
        limit: longest prompt, in tokens.
    """

    type: RopeType
    original: int
    limit: int

    @property
    def varies(self) -> bool:
        """Whether the frequencies depend on the length of the prompt, and so those of a prefix on its document."""
        return self.type in ("dynamic", "longrope")

    def regime(self, length: int) -> int:
        """Return a number that is equal for all prompt lengths, in tokens, that have the same frequencies."""
        if not self.varies or length <= self.original:
            return 0
        return length if self.type == "dynamic" else self.original + 1

    def groups(self, prefix: int, documents: Sequence[int]) -> list[list[int]]:
        """Group the indices of documents that may share a prefix; `prefix` and `documents` are lengths in tokens."""
        groups: dict[int, list[int]] = {}
        for index, length in enumerate(documents):
            groups.setdefault(self.regime(prefix + length), []).append(index)
        return list(groups.values())


def read_rope(name: str, config: dict[str, Any]) -> Rope:
    """Read the RoPE of a config.json, in the format of transformers 5 or of earlier versions.

    Args:
        name: the checkpoint, for messages.
        config: its config.json; max_position_embeddings is a positive number of tokens.

    Raises:
        UnsupportedCheckpointError: the type is unknown, or a parameter is missing or malformed.
    """
    return _Reader(name, config).read()


class _Reader:
    """Reads one config.json, and builds the errors for it."""

    def __init__(self, name: str, config: dict[str, Any]) -> None:
        self._name = name
        self._config = config
        self._type: Any = "default"
        self._field = "rope_scaling" if config.get("rope_scaling") else "rope_parameters"
        found = config.get(self._field) or {}
        if not isinstance(found, dict):
            raise self._refusal(f"{self._field} is {found!r}, not an object")
        if any(isinstance(value, dict) for value in found.values()):
            raise self._refusal(
                f"{self._field} has one entry for each layer type, and all layers of a Qwen3 share one RoPE"
            )
        self._parameters = found
        self._type = found.get("rope_type", found.get("type", "default"))

    def read(self) -> Rope:
        if self._type not in get_args(RopeType):
            raise UnsupportedCheckpointError(
                f"{self._name!r} uses the RoPE type {self._type!r} ({self._field} in its config.json), which is not "
                f"supported. Use a checkpoint with one of these types: {', '.join(get_args(RopeType))}."
            )
        positions = self._config["max_position_embeddings"]
        self._check_theta()
        if self._parameters.get("partial_rotary_factor", self._config.get("partial_rotary_factor")) not in (None, 1):
            raise self._refusal("partial_rotary_factor is not 1, but a Qwen3 rotates whole heads")
        if self._type == "default":
            return Rope("default", positions, positions)
        # transformers extends "dynamic" from max_position_embeddings on
        original = positions if self._type == "dynamic" else self._original() or positions
        factor = self._factor(positions, original)
        for key in ("attention_factor", "beta_fast", "beta_slow"):
            self._number(key, optional=True)
        for key in ("mscale", "mscale_all_dim"):
            self._number(key, above=-math.inf, optional=True)
        if not isinstance(self._parameters.get("truncate", True), bool):
            raise self._refusal(f"truncate is {self._parameters['truncate']!r}, not true or false")
        if self._type == "llama3":
            self._check_bands()
        if self._type == "longrope":
            self._check_factors()
        return Rope(self._type, original, max(positions, int(min(original * factor, _LAST_EXACT))))

    def _factor(self, positions: int, original: int) -> float:
        """Return the ratio of the extended length to the original length."""
        stated = self._number("factor", least=1, optional=self._type == "longrope")
        return positions / original if stated is None else stated

    def _original(self) -> int | None:
        key = "original_max_position_embeddings"
        found = self._config.get(key) or self._parameters.get(key)
        if found is not None and (type(found) is not int or found < 1):
            raise self._refusal(f"{key} is {found!r}, not a number of tokens")
        return found

    def _check_theta(self) -> None:
        theta = self._parameters.get("rope_theta", self._config.get("rope_theta"))
        if theta is not None and not (_is_number(theta) and theta > 1):
            raise self._refusal(f"rope_theta is {theta!r}, not a number above 1")

    def _check_bands(self) -> None:
        low, high = self._number("low_freq_factor"), self._number("high_freq_factor")
        if low is not None and high is not None and high <= low:
            raise self._refusal(f"high_freq_factor is {high!r}, which is not above low_freq_factor, {low!r}")

    def _check_factors(self) -> None:
        width = self._config.get("head_dim", 128)  # the default of transformers for Qwen3
        for key in ("short_factor", "long_factor"):
            found = self._parameters.get(key)
            if not (isinstance(found, list) and all(_is_number(one) and one > 0 for one in found)):
                raise self._refusal(f"{key} is not a list of positive numbers")
            if isinstance(width, int) and len(found) != width // 2:
                raise self._refusal(f"{key} has {len(found)} numbers, and half the head_dim is {width // 2}")

    def _number(self, key: str, *, above: float = 0, least: float = 0, optional: bool = False) -> float | None:
        found: Any = self._parameters.get(key)
        if found is None and optional:
            return None
        if not _is_number(found) or found <= above or found < least:
            bound = f"{least:g} or more" if least else f"above {above:g}" if above == 0 else "finite"
            raise self._refusal(f"{key} is {found!r}, not a number {bound}")
        return float(found)

    def _refusal(self, what: str) -> UnsupportedCheckpointError:
        return UnsupportedCheckpointError(
            f"In the {self._field} of {self._name!r}, RoPE type {self._type!r}, {what}. Correct its config.json, or "
            "download or export the checkpoint again."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
