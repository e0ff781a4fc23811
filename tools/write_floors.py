"""Print constraints that pin each direct dependency, of the base and of the extras, to its lowest allowed version.

torch keeps the pin of constraints.txt, because its older allowed wheels bring gigabytes of CUDA and would test little.
If several extras need a package, the lowest bound counts: `make test-lowest` installs that extra without the others.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PINNED_ELSEWHERE = {"torch", "qwen3-rerank-plugins"}


def main() -> None:
    """Print one pin per line."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for line in sorted({*floors(map(Requirement, listed)), pin_of("torch")}):
        print(line)


def floors(requirements: Iterator[Requirement]) -> Iterator[str]:
    """Yield the lowest allowed version of each requirement; every requirement must have a lower bound."""
    found: dict[str, Version] = {}
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name not in PINNED_ELSEWHERE:
            (lowest,) = [Version(one.version) for one in requirement.specifier if one.operator == ">="]
            found[name] = min(lowest, found.get(name, lowest))
    yield from (f"{name}=={lowest}" for name, lowest in found.items())


def pin_of(name: str) -> str:
    """Return a package's line in constraints.txt."""
    (line,) = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line.startswith(f"{name}==")
    ]
    return line


if __name__ == "__main__":
    main()
