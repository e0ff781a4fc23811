"""Identify a checkpoint by the content of its files, whatever its path and name are.

Every byte of the weights is read: a fine-tune may differ from its base in one tensor, and a sample would miss it. So
that this happens once and not in every process, a weight file's digest is remembered with the file's path, inode, size
and times. They differ after every change, except after one made within the resolution of the clock of the file system;
so the digest of a file that changed in the last seconds is not remembered.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint
from qwen3_rerank_plugins.engine.concurrency.threads import start_refused

DIGEST_BYTES = 32
_READERS = 4
"""Files that are read at once, such as the shards of a large model."""
_SETTLED = 2.0
"""Seconds, which is the coarsest clock of a file system that is in use."""
_SMALL_FILES = ("*.json", "*.py")
"""The files beside the weights that decide scores: configuration, tokenizer, index of the shards, and remote code."""

RememberedDigest = Callable[[str, str], bytes | None]
RememberDigest = Callable[[str, str, bytes], None]


def files_of(checkpoint: Checkpoint) -> dict[str, Path]:
    """Return all files that decide scores, by their names in the checkpoint."""
    weights = {str(file.relative_to(checkpoint.folder)): file for file in checkpoint.weight_files}
    files = weights | _small_files(checkpoint.folder)
    if adapter := checkpoint.adapter:
        of_adapter = {adapter.weights_file.name: adapter.weights_file} | _small_files(adapter.folder)
        files |= {f"adapter/{name}": file for name, file in of_adapter.items()}
    return files


def signatures_of(files: Mapping[str, Path]) -> dict[str, str]:
    """Return what the file system says about each file.

    Raises:
        OSError: a file is gone.
    """
    return {name: _signature(file) for name, file in files.items()}


def checkpoint_digest(
    checkpoint: Checkpoint, files: Mapping[str, Path], known: RememberedDigest, remember: RememberDigest
) -> bytes:
    """Return the digest of a checkpoint's files.

    Args:
        checkpoint: tells which files are weights.
        files: see `files_of`.
        known: returns the digest that was remembered for a path and a signature, or None.
        remember: called with the path, signature and digest of each weight file that was read.

    Raises:
        OSError: a file cannot be read.
        ThreadStartError: no thread could start.
    """
    weights = set(checkpoint.all_weight_files)

    def digest_of(file: Path) -> str:
        if file not in weights:
            return _read(file).hex()
        path, signature = str(file.resolve()), _signature(file)
        digest = known(path, signature)
        if digest is None:
            digest = _read(file)
            if _signature(file) == signature and time.time() - file.stat().st_ctime > _SETTLED:
                remember(path, signature, digest)
        return digest.hex()

    try:
        with ThreadPoolExecutor(_READERS, thread_name_prefix="qwen3-rerank-digest") as threads:
            digests = dict(zip(files, threads.map(digest_of, files.values()), strict=True))
    except RuntimeError as error:
        raise start_refused("qwen3-rerank-digest", error) from error
    return hashlib.blake2b(json.dumps(digests, sort_keys=True).encode(), digest_size=DIGEST_BYTES).digest()


def _small_files(folder: Path) -> dict[str, Path]:
    found = sorted(file for pattern in _SMALL_FILES for file in folder.glob(pattern))
    return {file.name: file for file in found if file.is_file()}


def _signature(file: Path) -> str:
    found = file.stat()
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).digest()
