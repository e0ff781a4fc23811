"""Imports follow the table in CONTRIBUTING.md, and light modules stay light."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.optional import need

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "qwen3_rerank_plugins"
NAME = PACKAGE.name
ALWAYS = {"", "errors", "_printable", "_plurals", "_plain_values"}
"""Units that everything may import; the empty one is the package itself, for `__version__`."""
HEAVY = {"torch", "transformers", "sentence_transformers", "langchain_core", "llama_index"}
TORCH = {"engine/kernels", "engine/model", "engine/loading", "bench", "device_check", "_records"}
"""Units whose modules may import torch when they are imported."""
TORCH_MODULES = {"embedding.model", "cli.memory_forecast"}


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Every module of the package by its dotted name, such as "engine.text.tokenizer"."""
    return {
        ".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
        for path in sorted(package.rglob("*.py"))
    }


MODULES = modules()


def unit_of(module: str) -> str:
    """The row of the table that a module belongs to: a part of the engine, or a folder or file of the package."""
    first, _, rest = module.partition(".")
    return f"engine/{rest.split('.')[0]}" if first == "engine" and rest else first


UNITS = {unit_of(name) for name in MODULES} - {"engine"}
ENGINE_FILES = {f"engine/{path.stem}" for path in (PACKAGE / "engine").glob("*.py")} - {"engine/__init__"}


def expand(cell: str) -> set[str]:
    """The units that the right-hand cell of a row allows."""
    allowed: set[str] = set()
    for clause in cell.split(";"):
        group, _, excepted = clause.partition(" but ")
        names = set(re.findall(r"`([^`]+)`", group))
        if "anything in `engine`" in group:
            names = {unit for unit in UNITS if unit.startswith("engine/")}
        elif "anything" in group:
            names = set(UNITS)
        elif "engine/*.py" in names:
            names = (names - {"engine/*.py"}) | ENGINE_FILES
        allowed |= names - set(re.findall(r"`([^`]+)`", excepted))
    return allowed


def read_table() -> dict[str, set[str]]:
    """What each unit may import, from the section "Imports" of CONTRIBUTING.md."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## Imports\n")[1].split("\n## ")[0]
    rows = [row.strip("| ").split(" | ") for row in section.splitlines() if row.startswith("| `")]
    return {unit: expand(right) for left, right in rows for unit in re.findall(r"`([^`]+)`", left)}


TABLE = read_table()


def imports(path: Path, *, everywhere: bool = True) -> set[str]:
    """Names of the modules that a file imports; only those at its top where `everywhere` is false."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree) if everywhere else iter(tree.body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imports_of_ours(path: Path) -> set[str]:
    """Modules of the package that a file imports; a package whose module is imported from does not count."""
    found = {name.removeprefix(NAME).lstrip(".") for name in imports(path) if name.partition(".")[0] == NAME}
    known = found & MODULES.keys()
    return {name for name in known if not any(other.startswith(f"{name}.") for other in known)} - {""}


def forbidden_imports(module: str, path: Path) -> list[str]:
    unit = unit_of(module)
    allowed = TABLE.get(unit, set()) | ALWAYS | {unit}
    return [f"{module} -> {other}" for other in sorted(imports_of_ours(path)) if unit_of(other) not in allowed]


def test_every_folder_and_file_has_a_row_in_the_table() -> None:
    assert TABLE.keys() == UNITS - ALWAYS
    named = {unit for allowed in TABLE.values() for unit in allowed}
    assert named <= UNITS


def test_no_module_imports_what_its_row_does_not_name() -> None:
    edges = [edge for name, path in MODULES.items() if name for edge in forbidden_imports(name, path)]
    assert edges == []


def test_imports_inside_a_folder_have_no_cycle() -> None:
    for unit in UNITS:
        inside = {name: imports_of_ours(path) for name, path in MODULES.items() if unit_of(name) == unit}
        graph = {
            name: {other for other in found if other in inside and other != name} for name, found in inside.items()
        }
        assert set(graphlib.TopologicalSorter(graph).static_order()) == set(graph)  # a cycle raises CycleError


def test_rows_have_no_cycle() -> None:
    """The table allows no two units to import each other, directly or through others."""
    graph = {unit: allowed & UNITS - {unit} for unit, allowed in TABLE.items() if unit != "cli"}
    assert set(graphlib.TopologicalSorter(graph).static_order()) <= UNITS  # a cycle raises CycleError


def test_the_guard_sees_an_import_that_is_not_in_the_table(tmp_path: Path) -> None:
    climber = tmp_path / "climber.py"
    climber.write_text(f"from {NAME}.engine.scheduling.scheduler import Scheduler\n", encoding="utf-8")
    assert forbidden_imports("engine.text.tokenizer", climber) == [
        "engine.text.tokenizer -> engine.scheduling.scheduler"
    ]
    assert forbidden_imports("engine.model.batch", climber) == []
    climber.write_text(f"def late():\n    from {NAME} import langchain\n", encoding="utf-8")
    assert forbidden_imports("llama_index.postprocessor", climber) == ["llama_index.postprocessor -> langchain"]
    climber.write_text(f"from {NAME}.engine.local import LocalScorer\n", encoding="utf-8")
    assert forbidden_imports("reranker", climber) == ["reranker -> engine.local"]


@pytest.mark.parametrize(
    "module", [name for name in MODULES if unit_of(name) not in TORCH and name not in TORCH_MODULES]
)
def test_a_module_outside_the_torch_units_imports_no_torch_at_its_top(module: str) -> None:
    heavy = {found.split(".")[0] for found in imports(MODULES[module], everywhere=False)} & HEAVY
    hosts = {"langchain": {"langchain_core"}, "llama_index": {"llama_index"}}
    assert heavy <= hosts.get(unit_of(module), set())


@pytest.mark.parametrize("adapter", ["langchain", "llama_index"])
def test_an_adapter_imports_no_torch_and_only_one_of_its_modules_the_first_stage(adapter: str) -> None:
    """What needs the reranker alone must work without the extra `embeddings`."""
    paths = {name: path for name, path in MODULES.items() if unit_of(name) == adapter}
    for path in paths.values():
        assert not {found.split(".")[0] for found in imports(path)} & (HEAVY - {"langchain_core", "llama_index"})
    knowing = {name for name, path in paths.items() for other in imports_of_ours(path) if unit_of(other) == "embedding"}
    assert knowing == {"langchain.embeddings"} if adapter == "langchain" else {"llama_index.embedding"}
    assert not {other for other in imports(MODULES[adapter], everywhere=False) if "embedding" in other}


def loaded_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        f"import {NAME}",
        f"from {NAME} import Qwen3Reranker; Qwen3Reranker('demo')",
        f"from {NAME}.engine.text import tokenizer; from {NAME}.engine.scheduling import packing",
        f"from {NAME} import verify",
        f"from {NAME}.embedding import embedder, checkpoint",
    ],
)
def test_importing_and_constructing_loads_neither_torch_nor_a_host(statement: str) -> None:
    if "embedding" in statement:
        need("sentence_transformers")
    assert not loaded_after(statement) & {*HEAVY, "typer", "rich"}


def test_a_reranker_on_a_server_loads_neither_torch_nor_a_host() -> None:
    """The command line of httpx, which comes with it, loads rich where that is installed."""
    need("httpx")
    statement = f"from {NAME} import Qwen3Reranker; Qwen3Reranker('m', remote='http://localhost:1', template='client')"
    assert not loaded_after(statement) & HEAVY


def test_importing_the_package_loads_none_of_its_dependencies() -> None:
    assert not loaded_after(f"import {NAME}") & {"tokenizers", "huggingface_hub", "numpy", "pydantic", "httpx"}


@pytest.mark.parametrize(
    ("statement", "most"),
    [(f"import {NAME}", 0.2), (f"import sys; from {NAME}.cli import main; sys.argv[1:] = ['--help']; main()", 0.5)],
    ids=["import", "help"],
)
def test_importing_is_a_matter_of_tenths_of_a_second_and_so_is_the_help(statement: str, most: float) -> None:
    """Seconds of processor time, which others on the machine hardly change, the interpreter's start included."""
    if "cli" in statement:
        need("typer")
        need("rich")
    program = f"import sys, time\ntry: {statement}\nfinally: sys.stderr.write(str(time.process_time()))"
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    assert min(float(done.stderr) for done in runs) < most


def test_no_file_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "common", "helpers", "base", "misc"}
    assert [name for name in MODULES if name.split(".")[-1] in drawers] == []


def test_no_folder_holds_more_than_about_a_dozen_modules() -> None:
    crowded = {
        str(folder.relative_to(ROOT)): count
        for folder in {path.parent for path in MODULES.values()}
        if (count := len([path for path in folder.glob("*.py") if path.name != "__init__.py"])) > 16
    }
    assert crowded == {}
