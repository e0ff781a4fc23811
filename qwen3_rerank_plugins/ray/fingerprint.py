"""The model that an actor has loaded -> what it may be known by, and how two of them differ.

Every byte of the files is part of it: a file of the same name, size and time may hold other weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.concurrency.threads import start_refused
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import BatchError, CheckpointError

_READERS = 4
"""Files that are read at once: one shard of a large model each."""
_SMALL_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "model.safetensors.index.json",
)
Signature = tuple[tuple[str, int, int, int, int], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Fingerprint:
    """What decides the scores of a local model.

    Attributes:
        model: its name.
        commit: of the hub; None for a local folder.
        files: SHA-256 of every file that is read, by its name in its folder.
        dtype: the number format it runs in on this machine; None where it does not run.
        package: the version of this package.
        host: where it was taken; no part of the comparison.
    """

    model: str
    commit: str | None
    files: dict[str, str]
    dtype: str | None
    package: str = dataclasses.field(default_factory=lambda: __version__)
    host: str = dataclasses.field(default_factory=socket.gethostname, compare=False)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        """The inverse of `to_json`."""
        return cls(**json.loads(text))


class LoadedModel:
    """The files of a model that is being loaded, and is then in use.

    Args:
        settings: of the engine that loads it.

    Attributes:
        fingerprint: of the files as they were before the engine read them.

    Raises:
        CheckpointError: the model is not there.
        OSError: a file of it cannot be read.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        checkpoint = find_checkpoint(settings)
        self._files = _files(checkpoint)
        self._signature = _signature(self._files)
        self.fingerprint = _fingerprint(settings, checkpoint, self._files)

    def check_loaded(self) -> None:
        """Right after the engine has read the files: they must be those of the fingerprint.

        Raises:
            BatchError: they are not.
        """
        found = _files(find_checkpoint(dataclasses.replace(self._settings, local_files_only=True)))
        if found != self._files or _signature(found) != self._signature:
            raise BatchError(
                f"The files of the model {self._settings.model!r} changed while they were loaded. Run the same again "
                "once they are complete."
            )

    def check_unchanged(self) -> None:
        """Later: only where the file system shows a change, the files are read again.

        Raises:
            BatchError: a file has another content, or is gone.
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
                "the job was running. What was finished is of the model as it was: put it back and run the same again, "
                "or start anew with another output folder."
            )
        self._signature = signature


def fingerprint_on_disk(settings: EngineSettings) -> Fingerprint | None:
    """Of the model as it is on this machine, without the network and without its dtype; None where it is not here."""
    local = dataclasses.replace(settings, local_files_only=True)
    try:
        checkpoint = find_checkpoint(local)
        return Fingerprint(settings.model, checkpoint.commit, _digests(_files(checkpoint)), dtype=None)
    except (CheckpointError, OSError):
        return None


def differences(before: Fingerprint, now: Fingerprint) -> Iterator[str]:
    """What is another than before, in words."""
    for name in ("commit", "dtype", "package"):
        old, new = getattr(before, name), getattr(now, name)
        if old != new and (name != "dtype" or (old and new)):
            yield f"{'the version of this package' if name == 'package' else name} was {old} and is {new}"
    for file in sorted(before.files.keys() | now.files.keys()):
        old, new = before.files.get(file), now.files.get(file)
        if old != new:
            changed = "has another content" if old and new else "is new" if new else "is gone"
            yield f"{file} of the model {changed}"


def _files(checkpoint: Checkpoint) -> dict[str, Path]:
    """Everything that is read of a model, and of the adapter over it."""
    found = dict(_there(checkpoint.folder, [*_SMALL_FILES, *(file.name for file in checkpoint.weight_files)]))
    if adapter := checkpoint.adapter:
        names = [adapter.config_file.name, adapter.weights_file.name, *_SMALL_FILES]
        found |= {f"adapter/{name}": file for name, file in _there(adapter.folder, names)}
    return found


def _there(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    return ((name, folder / name) for name in names if (folder / name).is_file())


def _fingerprint(settings: EngineSettings, checkpoint: Checkpoint, files: Mapping[str, Path]) -> Fingerprint:
    from qwen3_rerank_plugins.engine.loading.placement import choose_placement, dtype_name

    placement = choose_placement(settings.replicas[0], checkpoint.quantization)
    return Fingerprint(settings.model, checkpoint.commit, _digests(files), dtype_name(placement.dtype))


def _signature(files: Mapping[str, Path]) -> Signature:
    """What the file system says: cheap to ask, and another after every change, though not only then."""
    found = [(name, file.stat()) for name, file in files.items()]
    return tuple((name, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for name, one in found)


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    try:
        with ThreadPoolExecutor(_READERS, thread_name_prefix="qwen3-rerank-digest") as threads:
            return dict(zip(files, threads.map(digest_of_file, files.values()), strict=True))
    except RuntimeError as error:
        raise start_refused("qwen3-rerank-digest", error) from error


def digest_of_file(file: Path) -> str:
    """SHA-256 of a whole file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
