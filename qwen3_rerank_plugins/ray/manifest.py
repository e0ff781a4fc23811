"""The input, settings and model that a folder of answers belongs to. A job that differs in one of them is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.ray.fingerprint import Fingerprint, differences
from qwen3_rerank_plugins.ray.output_folder import disk_errors, replace_file
from qwen3_rerank_plugins.ray.source import SourceFile
from qwen3_rerank_plugins.reranker import Qwen3Reranker

MANIFEST, MODEL = "_manifest.json", "_model.json"
"""Readers of a folder's files skip names that begin with an underscore."""
_WITHOUT_EFFECT = {
    *("token", "cache_dir", "local_files_only", "trust_remote_code"),
    *("devices", "device_map", "max_batch_tokens", "threads", "cache", "cache_bytes"),
}
"""Settings for finding the model and distributing the work; a later run may use others."""
_RERANKER_SETTINGS = ("instruction", "top_n", "min_score", "max_length", "long_documents", "on_nonfinite")
_SERVER_SETTINGS = ("protocol", "template", "scores")
"""Without the address, which may change and may contain a password."""


class InputFile(BaseModel):
    """A file of requests."""

    name: str
    sha256: str
    rows: int


class Manifest(BaseModel):
    """Everything that decides the answers and the file of each answer."""

    version: Literal[2]
    package: str
    input: list[InputFile]
    partition_rows: int
    settings: dict[str, Any]


def manifest_of(files: Sequence[SourceFile], partition_rows: int, reranker: Qwen3Reranker) -> Manifest:
    """Describe a job.

    Raises:
        SettingsError: the reranker's instruction is a function, which cannot be compared with that of a later run.
    """
    if callable(reranker.instruction):
        raise SettingsError(
            "An instruction that is a function cannot be compared between two runs of a job. Put its results into the "
            "instruction field of the rows."
        )
    engine = dataclasses.asdict(reranker.settings.cache_key)
    settings = {
        **{name: value for name, value in engine.items() if name not in _WITHOUT_EFFECT},
        **{name: getattr(reranker, name) for name in _RERANKER_SETTINGS},
        **{name: getattr(reranker.remote, name) for name in _SERVER_SETTINGS if reranker.remote},
    }
    return Manifest(
        version=2,
        package=__version__,
        input=[InputFile(name=file.path.name, sha256=file.sha256, rows=file.rows) for file in files],
        partition_rows=partition_rows,
        settings=json.loads(json.dumps(settings)),  # a tuple is a list in the file that this is compared with
    )


def claim(folder: Path, manifest: Manifest) -> None:
    """Record a new folder's job, or compare the job with the recorded one.

    Raises:
        SettingsError: the folder belongs to another job, or holds something else.
        BatchError: the manifest cannot be written.
    """
    file = folder / MANIFEST
    if file.exists():
        changes = list(_changes(_read(file), manifest))
        if changes:
            raise SettingsError(
                f"{folder} holds answers of another job: {'; '.join(changes)}. Use another folder, or remove this one "
                "to start over."
            )
        return
    if any(found.name[0] not in "._" for found in folder.iterdir()):
        raise SettingsError(f"{folder} holds files that do not belong to a batch job. Use an empty or a new folder.")
    replace_file(file, json.dumps(manifest.model_dump(), indent=1) + "\n")


def claim_model(folder: Path, fingerprint: Fingerprint) -> None:
    """Record the model of the first actor that has loaded it, and compare the models of all other actors with it.

    Raises:
        SettingsError: the model differs from the recorded one.
        BatchError: the record cannot be written.
    """
    new = folder / f".{MODEL}.{uuid.uuid4().hex}"
    try:
        with disk_errors(folder / MODEL):
            new.write_text(json.dumps(fingerprint.model_dump()) + "\n", encoding="utf-8")
            with contextlib.suppress(FileExistsError):
                _rename_exclusively(new, folder / MODEL)
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
    check_model(folder, read_model(folder), fingerprint)


def check_model(folder: Path, before: Fingerprint, now: Fingerprint) -> None:
    """Compare a model with the recorded one.

    Raises:
        SettingsError: the model differs.
    """
    found = list(differences(before, now))
    if found:
        raise SettingsError(
            f"The model {now.model!r} on {now.host} differs from the one that computed the answers in {folder}, which "
            f"was read on {before.host}: {'; '.join(found)}. Use the original model (for a hub model, pass its commit "
            "as the revision), or another output folder."
        )


def read_model(folder: Path) -> Fingerprint:
    """Return the fingerprint of the model that computed the answers in a folder.

    Raises:
        SettingsError: it is missing or damaged.
    """
    try:
        return Fingerprint.model_validate(json.loads((folder / MODEL).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{folder / MODEL} is missing or damaged. Without it, the model of the answers is unknown. Use another "
            "folder, or remove this one to start over."
        ) from error


def _read(file: Path) -> Manifest:
    try:
        return Manifest.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{file} is damaged, unreadable, or of another version of this package. Use another folder, or remove this "
            "one to start over."
        ) from error


def _changes(before: Manifest, now: Manifest) -> Iterator[str]:
    if before.package != now.package:
        yield f"the version of this package was {before.package} and is {now.package}"
    old_files, new_files = ({file.name: file.sha256 for file in manifest.input} for manifest in (before, now))
    yield from (f"the input had a file {name}" for name in old_files if name not in new_files)
    yield from (f"the input has a new file {name}" for name in new_files if name not in old_files)
    kept = [name for name in new_files if name in old_files]
    yield from (f"its input {name} has changed since" for name in kept if new_files[name] != old_files[name])
    if before.partition_rows != now.partition_rows:
        yield f"partition_rows was {before.partition_rows!r} and is {now.partition_rows!r}"
    for name in sorted(before.settings.keys() | now.settings.keys()):
        old, new = before.settings.get(name), now.settings.get(name)
        if old != new:
            yield f"{name} was {old!r} and is {new!r}"


def _rename_exclusively(new: Path, file: Path) -> None:
    """Link the file under its final name, because a rename would replace an existing file."""
    try:
        os.link(new, file)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        with file.open("x", encoding="utf-8") as out:
            out.write(new.read_text(encoding="utf-8"))
