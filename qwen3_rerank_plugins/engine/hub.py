"""A hub id -> the folder of its snapshot, or a clear word why there is none.

Comes in: `EngineSettings`. Goes out: a folder of the hub's cache. Only safetensors, JSON and text files are ever
fetched.
Must not know: what is in the folder.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError
from qwen3_rerank_plugins.printable import shown

_FETCHED = ["*.safetensors", "*.json", "*.txt", "*.jinja"]


def fetch_snapshot(settings: EngineSettings, ids: str) -> Path:
    """The snapshot in the cache, brought up to date where the settings and the network allow it.

    Args:
        settings: which one, and how.
        ids: the family's own, for messages.

    Raises:
        CheckpointNotFoundError: not in the cache, not on the hub, or the hub is out of reach.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # the messages name what the command line and Python share: plain words and the hub's own variables
    asked = shown(settings.model) + (f" at revision {settings.revision!r}" if settings.revision else "")
    try:
        return _fetch(settings)
    except HFValidationError:
        raise CheckpointNotFoundError(
            f"{asked} is neither a folder on this machine nor a hub id of the form owner/name. Check the spelling, or "
            f"take {ids}."
        ) from None
    except LocalEntryNotFoundError as error:
        offline = settings.local_files_only or os.environ.get("HF_HUB_OFFLINE", "").upper() in {
            "1",
            "ON",
            "YES",
            "TRUE",
        }
        reason = (
            "is not in the cache, and fetching is switched off (by local files only, or by HF_HUB_OFFLINE). Allow the "
            "network once, or name a cache folder that has it, or pass a local folder."
            if offline
            else "is not in the cache and the hub cannot be reached. Check the network, or pass a local folder; "
            "once it is cached, HF_HUB_OFFLINE=1 loads it without the network."
        )
        raise CheckpointNotFoundError(f"{asked} {reason}") from error
    except GatedRepoError as error:
        raise CheckpointNotFoundError(
            f"{asked} is gated. Accept its terms on the hub, then log in with `hf auth login` or set HF_TOKEN."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise CheckpointNotFoundError(
            f"{asked} is not on the hub (or is private: log in with `hf auth login` or set HF_TOKEN). Check the "
            f"spelling, or take {ids}."
        ) from error
    except Exception as error:  # the hub's own, those of its HTTP client, which differs by version, and the disk's
        raise CheckpointNotFoundError(
            f"{asked} could not be fetched from the hub: {error}. Try again, or pass a local folder."
        ) from error


def _fetch(settings: EngineSettings) -> Path:
    from huggingface_hub import snapshot_download

    handled = sys.exception()  # the caller's own, if any
    try:
        return Path(
            snapshot_download(
                settings.model,
                revision=settings.revision,
                cache_dir=settings.cache_dir,
                local_files_only=settings.local_files_only,
                token=settings.token,
                allow_patterns=_FETCHED,
            )
        )
    except BaseException as error:
        _forget_local_variables(error, handled)
        raise


def _forget_local_variables(error: BaseException | None, handled: BaseException | None) -> None:
    """Of the calls that failed: the hub's client keeps the token in some, and reporters of errors may print them."""
    if error is None or error is handled:
        return
    traceback.clear_frames(error.__traceback__)  # calls that still run, ours among them, keep theirs
    for earlier in (error.__cause__, error.__context__):
        _forget_local_variables(earlier, handled)
