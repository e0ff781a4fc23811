"""The ways to run a model on this machine: each attention kernel and each kind of kernels that the settings name."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args, get_type_hints

from qwen3_rerank_plugins.engine.settings import EngineSettings

_HINTS = get_type_hints(EngineSettings)
_PLAIN = {"attention": "sdpa", "kernels": "torch"}
"""The reference: torch's own operations."""


def names_of(setting: str) -> tuple[str, ...]:
    """Return the names that a setting takes, without "auto"; none if there is no such setting."""
    return tuple(name for name in get_args(_HINTS.get(setting)) if name != "auto")


def with_settings(settings: EngineSettings, **others: Any) -> EngineSettings:
    """Return settings with others in place of those that exist under their names."""
    return dataclasses.replace(settings, **{name: value for name, value in others.items() if name in _HINTS})


def plain(settings: EngineSettings) -> EngineSettings:
    """Return the settings of the reference: torch's own operations instead of special kernels."""
    return with_settings(settings, **_PLAIN)


def variants(settings: EngineSettings) -> dict[str, EngineSettings]:
    """Return every way to run a model by its name: what "auto" chooses, then each kernel that can be asked for."""
    found = {"default": settings}
    for setting in ("kernels", "attention"):
        found |= {f"{setting} {name}": with_settings(settings, **{setting: name}) for name in names_of(setting)}
    return found
