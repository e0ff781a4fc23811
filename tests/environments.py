"""An environment as a user has it: made of links to what this one has installed, and of nothing that was not asked for.

pip would install the same packages, as `constraints.txt` pins them here and there, but it would take minutes.
"""

from __future__ import annotations

import os
import subprocess
import venv
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.metadata import Distribution, distribution, distributions
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


@cache
def owners() -> Counter[str]:
    """How many installed distributions have files in each folder of the site's."""
    return Counter(folder for found in distributions() for folder in {file.parts[0] for file in found.files or ()})


@cache
def links_of(name: str) -> dict[str, Path]:
    """What stands where in the site's folder for a distribution.

    A folder of its own is one link. In a folder that it shares with others, each of its files is a link, and so is each
    folder of compiled files, as compiling them anew would take long.
    """
    found, links = distribution(name), dict[str, Path]()
    for file in found.files or ():
        if file.parts[0] in {"..", "__pycache__"} or (name == OWN and file.parts[0].endswith(".pth")):
            continue
        if owners()[file.parts[0]] == 1:
            links[file.parts[0]] = Path(found.locate_file(file.parts[0]))
        elif "__pycache__" not in file.parts and (source := Path(found.locate_file(file))).is_file():
            links[str(file)] = source
            if source.suffix == ".py" and (source.parent / "__pycache__").is_dir():
                links[str(file.parent / "__pycache__")] = source.parent / "__pycache__"
    return links


def link(target: Path, source: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(source)


def make_environment(folder: Path, requirements: Iterable[Requirement]) -> Path:
    """A virtual environment in which some requirements are installed, with this working tree as the package itself.

    Returns:
        Its interpreter.
    """
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in closure(requirements):
        for target, source in links_of(name).items():
            link(site / target, source)
        if name == OWN:
            link(site / "qwen3_rerank_plugins", ROOT / "qwen3_rerank_plugins")
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
