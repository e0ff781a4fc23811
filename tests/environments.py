"""An environment as a user has it: made of links to what this one has installed, and of nothing that was not asked for.

pip would install the same packages, as `constraints.txt` pins them here and there, but it would take minutes.
"""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OWN = "qwen3-rerank-plugins"


def closure(requirements: Iterable[Requirement]) -> dict[str, Distribution]:
    """Every distribution that pip would install for some requirements, by its canonical name.

    Raises:
        PackageNotFoundError: one of them is not installed here.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        found.setdefault(name, distribution(name))
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for needed in map(Requirement, found[name].requires or ()):
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
    return found


def make_environment(folder: Path, requirements: Iterable[Requirement]) -> Path:
    """A virtual environment in which some requirements are installed, with this working tree as the package itself.

    Returns:
        Its interpreter.
    """
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name, found in closure(requirements).items():
        for file in found.files or ():
            if name == OWN and file.parts[0].endswith(".pth"):
                continue
            source = Path(found.locate_file(file))
            if ".." in file.parts or "__pycache__" in file.parts or not source.is_file():
                continue
            link = site / file
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(source)
            compiled = source.parent / "__pycache__"
            if source.suffix == ".py" and compiled.is_dir() and not (link.parent / "__pycache__").exists():
                (link.parent / "__pycache__").symlink_to(compiled)  # compiling torch anew would take half a minute
        if name == OWN:
            (site / "qwen3_rerank_plugins").symlink_to(ROOT / "qwen3_rerank_plugins")
    return folder / "bin" / "python"


def run_in(python: Path, program: str, folder: Path, *, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program with the interpreter of an environment, in a folder where nothing of the repository is found."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run(
        [str(python), "-W", "ignore", "-c", program],
        cwd=folder,
        env=inherited,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
