"""What an engine computes scores with, as bytes that are part of the keys of its scores.

The same in every process: the content of the checkpoint's files, the versions of this package and of the libraries that
compute, and the placement: devices, dtype, kernels, attention and quantization.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins._printable import logger, one_line
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint
from qwen3_rerank_plugins.engine.score_cache.file_store import FileStore
from qwen3_rerank_plugins.engine.score_cache.weights_digest import checkpoint_digest, files_of, signatures_of
from qwen3_rerank_plugins.errors import RerankError

_LIBRARIES = ("torch", "transformers")
Predict = Callable[[int], str]
"""Returns the placement that a replica will have once it is loaded; see `Placement.numerics`."""


class Identity(Protocol):
    """Tells the engine of a score; see `EngineIdentity` and `OneEngine`."""

    def opened(self, checkpoint: Checkpoint) -> None:
        """Take the checkpoint that was found."""
        ...

    def loaded(self, replica: int, numerics: str) -> None:
        """Take the placement that a replica really has."""
        ...

    def current(self) -> bytes | None:
        """Return the identity; None while scores must neither be found nor kept."""
        ...


class OneEngine:
    """The identity for a store that no other engine uses, and that ends with its engine: nothing must be told apart."""

    def opened(self, checkpoint: Checkpoint) -> None:
        """See `Identity.opened`."""

    def loaded(self, replica: int, numerics: str) -> None:
        """See `Identity.loaded`."""

    def current(self) -> bytes | None:
        """See `Identity.current`."""
        return b""


class EngineIdentity:
    """The identity for a store that engines share.

    It is known before the weights are loaded: their files are read once on a machine, and the placement is predicted.
    A kernel that fails its check at load changes the placement, and later scores get keys of their own.

    Args:
        settings: those settings that decide how the model runs and that the placement does not show.
        replicas: how many models the engine loads.
        predict: see `Predict`.
        store: where digests of weights are remembered.
    """

    def __init__(self, settings: str, replicas: int, predict: Predict, store: FileStore) -> None:
        self._settings, self._predict, self._store = settings, predict, store
        self._predicted: list[str | None] = [None] * replicas
        self._loaded: list[str | None] = [None] * replicas
        self._checkpoint: Checkpoint | None = None
        self._files: dict[str, Path] = {}
        self._signatures: dict[str, str] = {}
        self._digest: bytes | None = None
        self._current: bytes | None = None
        self._changed = False
        self._lock = threading.RLock()  # a signal handler may rank on the thread that it interrupts

    def opened(self, checkpoint: Checkpoint) -> None:
        """See `Identity.opened`. The files are watched from now on."""
        self._checkpoint = checkpoint
        with contextlib.suppress(OSError):  # the next look at the files finds that one is gone
            self._files = files_of(checkpoint)
            self._signatures = signatures_of(self._files)

    def loaded(self, replica: int, numerics: str) -> None:
        """See `Identity.loaded`."""
        self._check_unchanged()
        with self._lock:
            self._loaded[replica] = numerics
            self._current = None

    def current(self) -> bytes | None:
        """See `Identity.current`. The first call reads the weights, unless their digest is known."""
        if self._current is None and not (self._changed or self._store.stopped):
            with self._lock:
                if self._current is None:
                    self._current = self._compute()
        return None if self._changed else self._current

    def _compute(self) -> bytes | None:
        checkpoint = self._checkpoint
        assert checkpoint is not None, "the checkpoint is opened before its first request"
        try:
            if self._digest is None:
                known, remember = self._store.digest, self._store.remember_digest
                digest = checkpoint_digest(checkpoint, self._files, known, remember)
                if not self._check_unchanged():
                    return None
                self._digest = digest
            placements = {self._placement(replica) for replica in range(len(self._loaded))}
        except (RerankError, OSError):  # the load fails for the same reason, and says so to the caller
            return None
        described = {
            "weights": self._digest.hex(),
            "versions": [__version__, *map(_version, _LIBRARIES)],
            "placements": sorted(placements),
            "settings": self._settings,
        }
        return hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=32).digest()

    def _placement(self, replica: int) -> str:
        if (found := self._loaded[replica] or self._predicted[replica]) is None:
            found = self._predicted[replica] = self._predict(replica)
        return found

    def _check_unchanged(self) -> bool:
        """Whether the files are those that were found at first; if they are not, the cache is off from now on."""
        try:
            if not self._changed and signatures_of(self._files) == self._signatures:
                return True
            reason = "they were written"
        except OSError as error:
            reason = one_line(error)
        if not self._changed:
            self._changed = True
            logger.warning(
                "The files of the model changed while it was loaded (%s), so the score cache is not used. Make a new "
                "reranker once they are complete.",
                reason,
            )
        return False


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:  # built and installed by hand
        return "unknown"
