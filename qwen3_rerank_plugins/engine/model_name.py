"""Resolve the name of a model or a file once, so that it means the same from any working directory and at any time."""

from __future__ import annotations

import json
import os
from pathlib import Path

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins.errors import SettingsError

DEMO = "demo"
"""The name of the bundled checkpoint. To use a folder of that name, pass "./demo"."""
IN_MEMORY = "memory"
"""The score cache that is no file. For a file of that name, pass "./memory"."""
_ADAPTER_CONFIG = "adapter_config.json"


class ModelName(str):
    """The bundled checkpoint, the absolute path of a folder, or a hub id. Creating one reads no file.

    Attributes:
        base: for a folder with a LoRA adapter, the base model that its config named when `resolve_model` read it: as
            written in the config, and resolved. Otherwise None. Two names are equal only if their bases are, because
            the config may name a folder relative to the working directory.
    """

    base: tuple[str, ModelName] | None = None

    @property
    def is_path(self) -> bool:
        """Whether it is a folder on this machine. The folder may not exist any more."""
        return Path(self).is_absolute()

    def __eq__(self, other: object) -> bool:
        same = str.__eq__(self, other)
        return same and self.base == other.base if isinstance(other, ModelName) else same

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def resolve_model(model: object, *, bundled: bool = True) -> ModelName:
    """Return the model that a user's value means. Later changes of the working directory or of links have no effect.

    A `pathlib.Path` is always a folder. So is a string that starts like a path, or that exists on disk now. Any other
    string is a hub id.

    Args:
        model: what the user passed.
        bundled: whether the string "demo" means the bundled checkpoint.

    Raises:
        SettingsError: it is neither a string nor a path, is empty, or is a path that the system does not accept.
    """
    if isinstance(model, ModelName):
        return model
    model = plain.text(model)
    if not isinstance(model, (str, Path)) or not str(model).strip():
        raise SettingsError(f"model must be a hub id or a folder, as a non-empty string or a path, got {model!r}.")
    if model == DEMO and bundled:
        return ModelName(DEMO)
    if not (isinstance(model, Path) or _starts_like_a_path(model) or _is_on_disk(model)):
        return ModelName(model)
    name = ModelName(resolve_path("model", model))
    name.base = _base_of(name)
    return name


def resolve_path(option: str, path: str | os.PathLike[str]) -> str:
    """Return an absolute path without links; a leading "~" is the user's home folder.

    Raises:
        SettingsError: the system does not accept it, or it is relative and the working directory was deleted.
    """
    try:
        return os.path.realpath(Path(path).expanduser())
    except (OSError, RuntimeError, ValueError) as error:
        raise SettingsError(f"{option}={str(path)!r} is not a usable path: {error}. Pass an absolute path.") from error


def resolve_cache(cache: object) -> str | None:
    """Return the place of a score cache: None, "memory", or the absolute path of a file. A `Path` is always a file.

    Raises:
        SettingsError: it is neither, or no usable path.
    """
    found = plain.text(cache)
    if found is None or found == IN_MEMORY:
        return IN_MEMORY if found else None
    if not isinstance(found, (str, os.PathLike)) or not str(found).strip():
        raise SettingsError(f'cache must be None, "memory" or the path of a file, got {cache!r}.')
    return resolve_path("cache", found)


def _starts_like_a_path(model: str) -> bool:
    return Path(model).is_absolute() or model in (".", "..") or model.startswith(("./", "../", "~"))


def _is_on_disk(model: str) -> bool:
    if os.path.isdir(model):  # noqa: PTH112  `Path.is_dir` raises without permission
        return True
    # a name without "/" and suffix is a hub id, even beside a file of that name
    return ("/" in model or bool(Path(model).suffix)) and os.path.lexists(model)


def _base_of(folder: ModelName) -> tuple[str, ModelName] | None:
    """Return the base that a local adapter's config names. An unreadable config is refused later, when it is loaded."""
    try:
        base = json.loads((Path(folder) / _ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
        return base, ModelName(resolve_model(base))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # a SettingsError is a ValueError
        return None
