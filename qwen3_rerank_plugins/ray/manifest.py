"""What a folder of answers is of: no job of another input or other settings may add to it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.ray.output_folder import write_whole
from qwen3_rerank_plugins.ray.source import Source
from qwen3_rerank_plugins.reranker import Qwen3Reranker

NAME = "_manifest.json"
"""Readers of folders of files pass over names that begin like this."""
_VERSION = 2
_WITHOUT_EFFECT = {
    *("token", "cache_dir", "local_files_only", "trust_remote_code"),
    *("devices", "device_map", "max_batch_tokens", "threads"),
}
"""Settings that say how the model is found, and how it is spread; a run may go on with others."""
_OWN = ("instruction", "top_n", "min_score", "max_length", "long_documents", "on_nonfinite")
_OF_A_SERVER = ("protocol", "template", "scores")
"""Not where it is: an address may move, and may hold a password."""

Manifest = dict[str, Any]


def manifest_of(source: Source, partition_rows: int, reranker: Qwen3Reranker) -> Manifest:
    """Everything that decides which answers there are, and in which file each stands.

    Raises:
        SettingsError: the reranker's instruction is a function, of which nobody could say later whether it is the same.
    """
    if callable(reranker.instruction):
        raise SettingsError(
            "An instruction that is a function cannot be compared between two runs of a job. Write what it says into "
            "the rows, as their instruction."
        )
    engine = dataclasses.asdict(reranker.settings.cache_key)
    manifest: Manifest = {
        "version": _VERSION,
        "package": __version__,
        "input": [{"name": file.path.name, "sha256": file.sha256, "rows": file.rows} for file in source.files],
        "partition_rows": partition_rows,
        "settings": {name: value for name, value in engine.items() if name not in _WITHOUT_EFFECT}
        | {name: getattr(reranker, name) for name in _OWN}
        | {name: getattr(reranker.remote, name) for name in _OF_A_SERVER if reranker.remote},
    }
    return _parsed(json.dumps(manifest))


def claim(folder: Path, manifest: Manifest) -> None:
    """Make a folder this job's, or see that it is.

    Raises:
        SettingsError: it belongs to another job, or holds something else.
        BatchError: the disk does not take the manifest.
    """
    place = folder / NAME
    if place.exists():
        differences = list(_differences(_read(place), manifest))
        if differences:
            raise SettingsError(
                f"{folder} holds answers of another job: {'; '.join(differences)}. Use another folder, or remove this "
                "one to start anew."
            )
        return
    if any(file.name[0] not in "._" for file in folder.iterdir()):
        raise SettingsError(f"{folder} holds files that are of no batch job. Use an empty or a new folder.")
    write_whole(place, json.dumps(manifest, indent=1) + "\n")


def _read(place: Path) -> Manifest:
    try:
        found = _parsed(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    if found.get("version") != _VERSION:
        raise SettingsError(
            f"{place} is damaged, unreadable, or of another version of this package. Use another folder, or remove "
            "this one to start anew."
        )
    return found


def _parsed(text: str) -> Manifest:
    found = json.loads(text)
    return found if isinstance(found, dict) else {}


def _differences(before: Manifest, now: Manifest) -> Iterator[str]:
    if before["package"] != now["package"]:
        yield f"the version of this package was {before['package']} and is {now['package']}"
    yield from _changed_files(before["input"], now["input"])
    if before["partition_rows"] != now["partition_rows"]:
        yield f"partition_rows was {before['partition_rows']!r} and is {now['partition_rows']!r}"
    for name in sorted(before["settings"].keys() | now["settings"].keys()):
        old, new = before["settings"].get(name), now["settings"].get(name)
        if old != new:
            yield f"{name} was {old!r} and is {new!r}"


def _changed_files(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> Iterator[str]:
    """By name; a changed order moves every row."""
    old, new = ({file["name"]: file["sha256"] for file in files} for files in (before, now))
    yield from (f"the input had a file {name}" for name in old if name not in new)
    yield from (f"the input has a new file {name}" for name in new if name not in old)
    yield from (f"its input {name} has changed since" for name in new if name in old and new[name] != old[name])
