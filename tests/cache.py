"""A hub cache, filled by hand in the layout that huggingface_hub documents."""

from __future__ import annotations

import shutil
from pathlib import Path


def cache_with(folder: Path, repository: str, cache: Path, *, revision: str = "main") -> Path:
    """Put a folder into a cache as if it had been downloaded at a commit of zeros."""
    commit = "0" * 40
    home = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, home / "snapshots" / commit)
    (home / "refs").mkdir(parents=True)
    (home / "refs" / revision).write_text(commit, encoding="utf-8")
    return cache
