"""The model of a folder of answers: the first actor that has loaded it says which it is, all others compare."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.ray.fingerprint import Fingerprint, differences
from qwen3_rerank_plugins.ray.output_folder import writing

NAME = "_model.json"


def claim_model(folder: Path, fingerprint: Fingerprint) -> None:
    """Make the folder's answers this model's, or see that they are.

    Raises:
        SettingsError: they are of another model, or of other files of it.
        BatchError: the disk does not take the file.
    """
    new = folder / f".{NAME}.{uuid.uuid4().hex}"
    try:
        with writing(folder / NAME):
            new.write_text(fingerprint.to_json() + "\n", encoding="utf-8")
            with contextlib.suppress(FileExistsError):
                _give_name(new, folder / NAME)
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
    check_model(folder, read_model(folder), fingerprint)


def read_model(folder: Path) -> Fingerprint:
    """The model that the answers in a folder are of.

    Raises:
        SettingsError: the folder does not say which it is.
    """
    try:
        return Fingerprint.from_json((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"{folder / NAME} is missing or damaged, and only it says which model the answers are of. Use another "
            "folder, or remove this one to start anew."
        ) from error


def check_model(folder: Path, before: Fingerprint, now: Fingerprint) -> None:
    """Compare a model with that of a folder.

    Raises:
        SettingsError: it is another one.
    """
    found = list(differences(before, now))
    if found:
        raise SettingsError(
            f"The model {now.model!r} on {now.host} is not the one that the answers in {folder} are of, which was read "
            f"on {before.host}: {'; '.join(found)}. Use that model again (a hub model's commit can be given as its "
            "revision), or another output folder."
        )


def _give_name(new: Path, file: Path) -> None:
    """Unlike a rename, a link takes no name that is taken."""
    try:
        os.link(new, file)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        with file.open("x", encoding="utf-8") as out:
            out.write(new.read_text(encoding="utf-8"))
