"""Return the folder of a hub id's snapshot, or explain why there is none.

The hub has a few seconds to say which files there are. After that, a cached snapshot is used with a warning.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from qwen3_rerank_plugins._printable import logger, shown
from qwen3_rerank_plugins.engine.checkpoints.download import Download, HubSilentError, snapshot
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, ThreadStartError


def fetch_snapshot(settings: EngineSettings, ids: str) -> Path:
    """Return the snapshot in the cache, updated first if the settings and the network allow it.

    Args:
        settings: which snapshot, and how to fetch it.
        ids: published ids of the model family, for messages.

    Raises:
        CheckpointNotFoundError: it is neither in the cache nor on the hub, or the hub cannot be reached.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # the messages fit Python and the command line, so they name options in words, and the hub's environment variables
    asked = shown(settings.model) + (f" at revision {settings.revision!r}" if settings.revision else "")
    try:
        return _fetch(settings)
    except HFValidationError:
        raise CheckpointNotFoundError(
            f"{asked} is neither a folder on this machine nor a hub id of the form owner/name. Check the spelling, or "
            f"use {ids}."
        ) from None
    except HubSilentError as error:
        raise CheckpointNotFoundError(
            f"{asked} is not in the cache and the hub does not answer: {error} (HF_HUB_ETAG_TIMEOUT sets how many "
            "seconds it has). Check the network, or pass a local folder."
        ) from None
    except LocalEntryNotFoundError as error:
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
        if settings.local_files_only or offline:
            raise CheckpointNotFoundError(
                f"{asked} is not in the cache, and fetching is switched off (by local files only, or by "
                "HF_HUB_OFFLINE). Pass a cache folder that has it, or a local folder, or allow the network once."
            ) from error
        raise CheckpointNotFoundError(
            f"{asked} is not in the cache and the hub cannot be reached. Check the network, or pass a local folder; "
            "once it is cached, HF_HUB_OFFLINE=1 loads it without the network."
        ) from error
    except GatedRepoError as error:
        raise CheckpointNotFoundError(
            f"{asked} is gated. Accept its terms on the hub, then log in with `hf auth login` or set HF_TOKEN."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise CheckpointNotFoundError(
            f"{asked} is not on the hub (or is private: log in with `hf auth login` or set HF_TOKEN). Check the "
            f"spelling, or use {ids}."
        ) from error
    except ThreadStartError:
        raise
    except Exception as error:  # of the hub's client, of its HTTP client (which differs by version), or of the disk
        raise CheckpointNotFoundError(
            f"{asked} could not be fetched from the hub: {error}. Try again, or pass a local folder."
        ) from error


def _fetch(settings: EngineSettings) -> Path:
    from huggingface_hub import constants

    if settings.local_files_only or constants.HF_HUB_OFFLINE:
        return snapshot(settings, local_files_only=True)
    cached = _cached(settings)
    if cached and settings.revision == cached.name and _is_whole(cached):
        return cached  # a commit never changes, so there is nothing to ask
    download = Download(settings, float(constants.HF_HUB_ETAG_TIMEOUT))
    try:
        folder = download.wait()
        reason = "" if download.answered else "there was no usable answer"  # the client used the cache silently
    except Exception as error:
        if cached is None or not _is_unreachable(error):
            raise
        folder, reason = cached, f"{type(error).__name__}: {error}".splitlines()[0]
    if reason:
        logger.warning(
            "the hub did not say whether %s has changed (%s), so commit %s from the cache is used. With "
            "HF_HUB_OFFLINE=1 the hub is not asked; HF_HUB_ETAG_TIMEOUT sets how many seconds it has to answer.",
            settings.model,
            reason.rstrip("."),
            folder.name,
        )
    return folder


def _cached(settings: EngineSettings) -> Path | None:
    """Return the snapshot in the cache, which may be incomplete, or None."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return snapshot(settings, local_files_only=True)
    except LocalEntryNotFoundError:
        return None


def _is_whole(folder: Path) -> bool:
    """Return whether a snapshot has every file of a model or adapter. An interrupted download leaves some out."""
    names = {file.name for file in folder.iterdir()}
    for index in folder.glob("*.safetensors.index.json"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False
        if not shards <= names:
            return False
    configured = {"config.json", "tokenizer.json"} <= names or "adapter_config.json" in names
    return configured and any(name.endswith(".safetensors") for name in names)


def _is_unreachable(error: Exception) -> bool:
    """Return whether the hub was not reached or is out of order. Its refusals do not count."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", 0)
    if isinstance(error, HfHubHTTPError):
        return status >= 500 or status in (408, 429)
    return isinstance(error, LocalEntryNotFoundError) or not type(error).__module__.startswith("huggingface_hub")
