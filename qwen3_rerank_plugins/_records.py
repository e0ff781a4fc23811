"""What was measured, where, with what: frozen data -> JSON that a later reader can trust.

Comes in: a study's own dataclass. Goes out: a record in plain types, and a file of it.
Must not know: how anything was measured.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from qwen3_rerank_plugins import __version__

_PACKAGES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "tokenizers",
    "vllm",
    "flash-attn",
    "bitsandbytes",
    "torchao",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Circumstances:
    """Everything around a measurement that its figures depend on.

    Attributes:
        version: of this package.
        commit: of the working tree the package runs from, with "+" where it had changes; None outside of git.
        measured: when, in UTC.
        device: its name.
        threads: of torch on the CPU.
        dtype: of the weights.
        subject: which model.
        packages: versions of those that matter, and are installed.
    """

    version: str
    commit: str | None
    measured: str
    device: str
    threads: int
    dtype: str
    subject: str
    packages: dict[str, str]


def note_circumstances(
    subject: str, device: torch.device, dtype: torch.dtype, packages: Sequence[str] = _PACKAGES
) -> Circumstances:
    """Look around, before anything is measured."""
    return Circumstances(
        version=__version__,
        commit=_commit(),
        measured=datetime.now(UTC).isoformat(timespec="minutes"),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {platform.machine()}",
        threads=torch.get_num_threads(),
        dtype=str(dtype).removeprefix("torch."),
        subject=subject,
        # torch with its build, "+cpu" or "+cu130", which the version of its wheel may leave out
        packages={"python": platform.python_version(), **_versions(packages), "torch": str(torch.__version__)},
    )


def make_record(study: str, circumstances: Circumstances, results: Any) -> dict[str, Any]:
    """The study's name, the circumstances and the results in plain JSON types; floats with four digits."""
    record: dict[str, Any] = _plain({"study": study, "circumstances": circumstances, "results": results})
    return record


def write_record(path: Path, record: dict[str, Any]) -> None:
    """One JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _plain(content: Any) -> Any:
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        return _plain({field.name: getattr(content, field.name) for field in dataclasses.fields(content)})
    if isinstance(content, dict):
        return {name: _plain(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    return float(f"{content:.4g}") if isinstance(content, float) else content


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The commit of the package's own working tree, not of whatever folder the user stands in."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "."],
            cwd=here.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes.strip() else "")
