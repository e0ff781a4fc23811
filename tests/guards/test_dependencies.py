"""What the package imports, it declares: in the base, or in the extra of the folder that imports it."""

from __future__ import annotations

import ast
import os
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.optional import PARTIAL

ROOT = Path(__file__).parents[2]
OWN = "qwen3_rerank_plugins"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

EXTRAS = {
    "langchain": {"langchain"},
    "langchain/embeddings.py": {"langchain", "embeddings"},
    "llama_index": {"llama-index"},
    "llama_index/embedding.py": {"llama-index", "embeddings"},
    "embedding": {"embeddings"},
    "remote": {"remote"},
    "ray": {"ray"},
    "serve": {"serve"},
    "serve/embedding_service.py": {"serve", "embeddings"},
    "cli": {"cli"},
    "bench": {"bench"},
    "evaluation": {"eval"},
    "evaluation/mteb_adapter.py": {"eval", "mteb"},
}
"""The extras that a folder or a file may count on when it is imported; every other file has the base only."""
OPTIONAL = {f"engine/kernels/triton_{part}.py": {"triton"} for part in ("kernels", "programs")}
"""What a file imports that torch itself brings where it is useful; such a file is imported only where it is there."""


@cache
def installed() -> dict[str, list[str]]:
    """The distributions that each importable package belongs to."""
    return dict(packages_distributions())


def declared(extras: set[str]) -> set[str]:
    """Distributions of the base and of some extras, and what these extras include of others."""
    listed = list(PROJECT["dependencies"])
    for extra in extras:
        listed += PROJECT["optional-dependencies"][extra]
    found = set()
    for requirement in map(Requirement, listed):
        if requirement.name == PROJECT["name"]:
            found |= declared(set(requirement.extras))
        else:
            found.add(canonicalize_name(requirement.name))
    return found


def imports(tree: ast.AST, *, everywhere: bool) -> Iterator[str]:
    """Top-level names of imported packages: of the whole file, or only of what runs when the file is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        elif everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from imports(node, everywhere=everywhere)


def undeclared(file: Path, source: str) -> set[str]:
    """Packages that a file imports without a declaration."""
    distributions = installed()

    def strangers(packages: Iterator[str], allowed: set[str]) -> set[str]:
        foreign = {name for name in packages if name not in sys.stdlib_module_names and name != OWN}
        return {
            name
            for name in foreign
            if not {canonicalize_name(one) for one in distributions.get(name, [name])} & allowed
        }

    brought = OPTIONAL.get(file.as_posix(), set())
    folder = file.parts[0] if len(file.parts) > 1 else ""
    extras = EXTRAS.get(file.as_posix(), EXTRAS.get(folder, set()))
    tree = ast.parse(source)
    return strangers(imports(tree, everywhere=False), declared(extras) | brought) | strangers(
        imports(tree, everywhere=True), declared(set(PROJECT["optional-dependencies"])) | brought
    )


FILES = sorted((ROOT / OWN).rglob("*.py"))


@pytest.mark.skipif(PARTIAL in os.environ, reason="names of distributions need every package installed")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT / OWN).as_posix())
def test_every_imported_package_is_declared(file: Path) -> None:
    assert undeclared(file.relative_to(ROOT / OWN), file.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("engine/new.py", "import httpx"),
        ("engine/new.py", "import pandas"),
        ("engine/model/layer_kernels.py", "import triton"),
        ("engine/new.py", "def f():\n    import pandas"),
        ("langchain/new.py", "from llama_index.core import x"),
        ("remote/new.py", "try:\n    import pyarrow\nexcept ImportError:\n    pass"),
    ],
)
def test_the_guard_sees_an_import_without_a_declaration(file: str, source: str) -> None:
    assert undeclared(Path(file), source)


def test_the_guard_leaves_imports_for_types_and_imports_of_an_extra_within_functions() -> None:
    source = "if TYPE_CHECKING:\n    import pandas\ndef f():\n    import httpx"
    assert undeclared(Path("engine/new.py"), source) == set()
