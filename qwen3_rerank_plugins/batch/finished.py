"""What is finished, written down as it is: the digest of every file of answers, by the actor that wrote it.

Each actor appends to a file of its own, before a file of answers gets its name. A file of answers whose digest is not
written down was not finished by this job, or was changed since.
"""

from __future__ import annotations

import collections
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

FOLDER = "_finished"
Finished = Mapping[str, set[str]]
"""SHA-256 of each content that a file of answers may have, by its name; several where actors died after writing it."""


class FinishedLog:
    """What one actor has finished.

    Args:
        folder: of the answers.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FOLDER / f"{uuid.uuid4().hex}.jsonl"

    def add(self, name: str, sha256: str) -> None:
        """Note a file of answers.

        Raises:
            OSError: the disk does not take it.
        """
        self._file.parent.mkdir(exist_ok=True)
        with self._file.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"file": name, "sha256": sha256}) + "\n")
            out.flush()
            os.fsync(out.fileno())


def read_finished(folder: Path) -> Finished:
    """Everything that the actors of all runs have noted; lines that a full disk cut short are left out."""
    found: dict[str, set[str]] = collections.defaultdict(set)
    for file in (folder / FOLDER).glob("*.jsonl"):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                noted = json.loads(line)
                found[noted["file"]].add(noted["sha256"])
            except (ValueError, KeyError, TypeError):
                continue
    return found
