"""Identify a loaded model by a digest of every file, because a file of the same name, size and time may differ."""

from __future__ import annotations

import dataclasses
import hashlib
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, Field

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.concurrency.threads import start_refused
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import BatchError, CheckpointError

_READERS = 4
"""Files that are read concurrently, such as the shards of a large model."""
_SMALL_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "model.safetensors.index.json",
)
Signature = tuple[tuple[str, int, int, int, int], ...]


class Fingerprint(BaseModel, frozen=True):
    """Everything that decides the scores of a local model.

    Attributes:
        model: its name.
        commit: the hub commit; None for a local folder.
        files: SHA-256 of every file that is read, by its name in its folder.
        dtype: the dtype it runs in on this machine; None if it does not run here.
        package: the version of this package.
        host: the machine that computed the fingerprint; fingerprints are compared without it.
    """

    model: str
    commit: str | None
    files: dict[str, str]
    dtype: str | None
    package: str = Field(default_factory=lambda: __version__)
    host: str = Field(default_factory=socket.gethostname)


class LoadedModel:
    """The files of a model, to be watched while the engine loads and uses them.

    Args:
        settings: settings of the engine that loads the model.

    Attributes:
        fingerprint: computed before the engine reads the files.

    Raises:
        CheckpointError: the model is missing.
        OSError: a file of it cannot be read.
    """

    def __init__(self, settings: EngineSettings) -> None:
        from qwen3_rerank_plugins.engine.loading.placement import choose_placement, dtype_name

        self._settings = settings
        checkpoint = find_checkpoint(settings)
        self._files = _files(checkpoint)
        self._signature = _signature(self._files)
        dtype = dtype_name(choose_placement(settings.replicas[0], checkpoint).dtype)
        self.fingerprint = _fingerprint(settings.model, checkpoint.commit, self._files, dtype)

    def check_loaded(self) -> None:
        """Check, right after the engine has loaded the files, that they are those of the fingerprint.

        Raises:
            BatchError: they changed.
        """
        found = _files(find_checkpoint(dataclasses.replace(self._settings, local_files_only=True)))
        if found != self._files or _signature(found) != self._signature:
            raise BatchError(
                f"The files of the model {self._settings.model!r} changed while they were loaded. Run the job again "
                "when the files are complete."
            )

    def check_unchanged(self) -> None:
        """Check the files later. They are read again only if the file system shows a change.

        Raises:
            BatchError: the content of a file changed, or a file is gone.
        """
        try:
            signature = _signature(self._files)
            if signature == self._signature:
                return
            changed = [name for name, sha256 in _digests(self._files).items() if sha256 != self.fingerprint.files[name]]
        except OSError as error:
            changed = [Path(error.filename).name if error.filename else str(error)]
        if changed:
            raise BatchError(
                f"{', '.join(changed)} of the model {self._settings.model!r} changed on {self.fingerprint.host} while "
                "the job was running. The finished answers are from the original model: restore it and run the job "
                "again, or start over with another output folder."
            )
        self._signature = signature


def fingerprint_on_disk(settings: EngineSettings) -> Fingerprint | None:
    """Fingerprint a model without network access and without its dtype; None if it is not on this machine."""
    try:
        checkpoint = find_checkpoint(dataclasses.replace(settings, local_files_only=True))
        return _fingerprint(settings.model, checkpoint.commit, _files(checkpoint), None)
    except (CheckpointError, OSError):
        return None


def differences(before: Fingerprint, now: Fingerprint) -> Iterator[str]:
    """Describe each difference between two fingerprints in words."""
    for name in ("commit", "dtype", "package"):
        old, new = getattr(before, name), getattr(now, name)
        if old != new and (name != "dtype" or (old and new)):
            yield f"{'the version of this package' if name == 'package' else name} was {old} and is {new}"
    for file in sorted(before.files.keys() | now.files.keys()):
        old, new = before.files.get(file), now.files.get(file)
        if old != new:
            yield f"{file} of the model {'changed' if old and new else 'is new' if new else 'is gone'}"


def digest_of_file(file: Path) -> str:
    """SHA-256 of a whole file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fingerprint(model: str, commit: str | None, files: Mapping[str, Path], dtype: str | None) -> Fingerprint:
    return Fingerprint(model=model, commit=commit, files=_digests(files), dtype=dtype)


def _files(checkpoint: Checkpoint) -> dict[str, Path]:
    """All files that are read of a model and of its adapter."""
    names = [*_SMALL_FILES, *(file.name for file in checkpoint.weight_files)]
    files = {name: checkpoint.folder / name for name in names}
    if adapter := checkpoint.adapter:
        names = [adapter.config_file.name, adapter.weights_file.name, *_SMALL_FILES]
        files |= {f"adapter/{name}": adapter.folder / name for name in names}
    return {name: file for name, file in files.items() if file.is_file()}


def _signature(files: Mapping[str, Path]) -> Signature:
    """Status of each file in the file system: cheap to read. It differs after every change, but not only then."""
    found = [(name, file.stat()) for name, file in files.items()]
    return tuple((name, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for name, one in found)


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    try:
        with ThreadPoolExecutor(_READERS, thread_name_prefix="qwen3-rerank-digest") as threads:
            return dict(zip(files, threads.map(digest_of_file, files.values()), strict=True))
    except RuntimeError as error:
        raise start_refused("qwen3-rerank-digest", error) from error
