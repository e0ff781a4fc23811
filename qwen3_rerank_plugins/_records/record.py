"""The record of a measurement as JSON, and the tables printed from it. `bench`, `evaluation` and the checkout's studies
share it.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins._records.processor import Processor, find_processor
from qwen3_rerank_plugins.errors import MissingExtraError

if TYPE_CHECKING:  # the command line prints tables, and its --help must not wait for torch
    import torch
    from rich.table import Table

Record = Mapping[str, Any]

_PACKAGES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "tokenizers",
    "vllm",
    "triton",
    "flash-attn",
    "fa3-fwd",
    "flash-attn-4",
    "bitsandbytes",
    "torchao",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Circumstances:
    """The conditions that the figures of a measurement depend on.

    Attributes:
        version: version of this package.
        commit: commit of the working tree that the package runs from, with "+" if it had changes; None outside of git.
        measured: date and time in UTC.
        device: name of the device.
        threads: torch's threads on the CPU.
        dtype: dtype of the weights.
        subject: the model.
        packages: versions of the installed packages that matter.
        processor: the processor of this machine.
        gemm_rates: FLOP/s of one core in matrix products, by library and number format; empty if not measured.
    """

    version: str
    commit: str | None
    measured: str
    device: str
    threads: int
    dtype: str
    subject: str
    packages: dict[str, str]
    processor: Processor
    gemm_rates: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """A table of text cells.

    Attributes:
        title: what the table shows.
        header: column names; the first column is aligned left, the others right.
        rows: rows as wide as the header.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def note_circumstances(
    subject: str,
    device: torch.device,
    dtype: torch.dtype,
    packages: Sequence[str] = _PACKAGES,
    gemm_rates: Mapping[str, float] | None = None,
) -> Circumstances:
    """Collect the circumstances; call this before measuring."""
    import torch

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
        processor=find_processor(),
        gemm_rates=dict(gemm_rates or {}),
    )


def make_record(study: str, circumstances: Circumstances | str, results: Any) -> dict[str, Any]:
    """Return the study's name, the circumstances and the results in plain JSON types; floats have four digits.

    The circumstances are a sentence if the results were computed, not measured.
    """
    record: dict[str, Any] = _plain({"study": study, "circumstances": circumstances, "results": results})
    return record


def write_record(path: Path, record: Record) -> None:
    """Write a record as a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def as_table(grid: Grid) -> Table:
    """Return a table for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(grid.title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(grid.header):
        table.add_column(Text(name), justify="right" if position else "left")
    for row in grid.rows:
        table.add_row(*map(Text, row))
    return table


def as_markdown(grid: Grid) -> str:
    """Return a table in Markdown."""
    header, *rows = ["| " + " | ".join(row) + " |" for row in (grid.header, *grid.rows)]
    ruler = "|".join(["---", *["---:"] * (len(grid.header) - 1)])
    return "\n".join([header, f"|{ruler}|", *rows])


def describe(record: Record) -> str:
    """Return the circumstances of a record in one line."""
    around = record["circumstances"]
    if isinstance(around, str):
        return around
    packages = ", ".join(f"{name} {version}" for name, version in around["packages"].items())
    commit = f"commit {around['commit']}" if around["commit"] else "no commit"
    processor = f" ({_processor(around['processor'])})" if "processor" in around else ""
    return (
        f"{around['subject']}; {around['dtype']} on {around['device']}{processor}, {around['threads']} threads; "
        f"{around['measured']}, version {around['version']}, {commit}; {packages}"
    )


def _processor(processor: Record) -> str:
    return ", ".join([processor["name"], *(flag.replace("_", "-").upper() for flag in processor["flags"])])


def show_spread(spread: Record, form: str) -> str:
    """Return a median with its range, such as "1.52 (1.49-1.60)".

    Args:
        spread: the JSON of a `bench.stopwatch.Spread`.
        form: format of each of the three numbers, such as "{:.2f}".
    """
    low, middle, high = (form.format(spread[name]) for name in ("lowest", "median", "highest"))
    return middle if low == high else f"{middle} ({low}-{high})"


def show_size(count: int | None) -> str:
    """Return a number of bytes in MiB or GiB; None gives an empty cell."""
    if count is None:
        return ""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def require_matplotlib(extra: str) -> None:
    """Raise MissingExtraError with the extra that installs matplotlib if it is missing."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise MissingExtraError("matplotlib", extra) from error


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
    """The commit of the working tree that holds the package, whatever the current folder is."""
    folder = Path(__file__).parents[1]

    def git(*arguments: str, cwd: Path) -> str:
        return subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD", cwd=folder)
        changes = git("status", "--porcelain", "--untracked-files=no", ".", cwd=folder.parent)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes else "")
