"""Imports go one way, and light ones stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.optional import need

PACKAGE = Path(__file__).parents[2] / "qwen3_rerank_plugins"
NAME = PACKAGE.name

# From the ground up: a module may import what stands above it in this list, never what stands below.
LINE = [
    "printable",
    "errors",
    "plain",
    "plurals",
    "engine.names",
    "engine.lifetime",
    "engine.threads",
    "engine.settings",
    "engine.request",
    "instructions",
    "sanity",
    "engine.prompt",
    "engine.hub",
    "engine.files",
    "engine.adapter",
    "engine.formats",
    "engine.inventory",
    "engine.sizes",
    "engine.stored",
    "engine.rope",
    "engine.checkpoint",
    "engine.damage",
    "engine.blueprint",
    "engine.tokens",
    "engine.windows",
    "engine.packing",
    "engine.dispatch",
    "engine.recovery",
    "engine.lanes",
    "engine.waiting",
    "engine.scorer",
    "engine.call",
    "engine.reading",
    "engine.results",
    "engine.receipts",
    "engine.pairs",
    "engine.control_groups",
    "engine.layout",
    "engine.attention",
    "engine.batch",
    "engine.rotation",
    "engine.tokenwise",
    "engine.model",
    "engine.float32",
    "engine.quantization",
    "engine.unpacking",
    "engine.merging",
    "engine.shape",
    "engine.cpu_threads",
    "engine.placement",
    "engine.device_map",
    "engine.quiet",
    "engine.weights",
    "engine.head",
    "engine.heap",
    "engine.budget",
    "engine.passes",
    "engine.worker",
    "engine.replicas",
    "engine.local",
    "remote.address",
    "remote.settings",
    "remote.spelling",
    "remote.wording",
    "remote.dialects",
    "remote.answers",
    "remote.redaction",
    "remote.surroundings",
    "remote.turns",
    "remote.body",
    "remote.client",
    "remote.detection",
    "remote.server",
    "remote.probe",
    "remote.loop",
    "remote.scorer",
    "registry",
    "reranker",
    "fields",
    "metadata",
    "predictions",
    "embedding.settings",
    "embedding.request",
    "embedding.checkpoint",
    "embedding.model",
    "embedding.embedder",
    "embedding.fields",
    "sets.lines",
    "sets.kinds",
    "sets.records",
    "sets.tasks",
    "sets.limits",
    "sets.results",
    "sets.bundled",
    "sets.ranker",
]
GOLDEN = [
    "golden.strict",
    "golden.questions",
    "golden.comparison",
    "golden.making",
    "golden.recording",
    "golden.cases",
    "golden.verification",
    "golden",
]
"""A leaf with a line of its own, from the ground up; its door stands on top."""
PACKAGES = {"engine", "embedding", "remote", "sets"}
LEAVES = ["langchain", "llama_index", "ray", "batch", "bench", "golden", "evaluation", "cli"]
STANDS_ON = {  # the leaves that may import others
    "batch": {"ray"},  # the same answers, for files
    "cli": {"batch", "bench", "golden", "evaluation"},  # it is their command line
    "evaluation": {"bench"},  # a record and its tables look alike, whatever was measured
}
TORCH_FREE = {
    *LINE[: LINE.index("engine.layout")],
    "engine.heap",
    "engine.worker",
    "engine.replicas",
    "engine.local",
    "remote.settings",
    "remote.spelling",
    "remote.wording",
    "remote.dialects",
    "remote.answers",
    "remote.client",
    "remote.address",
    "remote.detection",
    "remote.server",
    "remote.probe",
    "remote.loop",
    "remote.scorer",
    "registry",
    "reranker",
    "fields",
    "metadata",
    "predictions",
    "plain",
    *GOLDEN,
    *(name for name in LINE if name.startswith("embedding.") and name != "embedding.model"),
    *(name for name in LINE if name.startswith("remote.")),
    "sets.lines",
    "sets.kinds",
    "sets.records",
    "sets.tasks",
    "sets.limits",
    "sets.results",
    "sets.bundled",
    "sets.ranker",
}
HEAVY = {"torch", "transformers", "sentence_transformers", "langchain_core", "llama_index"}


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imports(path: Path, *, everywhere: bool = True) -> set[str]:
    """Names of the modules that a file imports; only those at its top where `everywhere` is false."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path) -> set[str]:
    known = modules()
    return {name.removeprefix(f"{NAME}.") for name in imports(path) if name.removeprefix(f"{NAME}.") in known} - {NAME}


def climbing_edges(name: str, path: Path) -> list[str]:
    """Imports that the house rules forbid."""
    leaf = name.split(".", maxsplit=1)[0]
    if leaf in LEAVES:
        return [
            f"{name} -> {other}"
            for other in ours(path)
            if (other.split(".")[0] in LEAVES and other.split(".")[0] not in {leaf, *STANDS_ON.get(leaf, ())})
            or (name in GOLDEN and other in GOLDEN[GOLDEN.index(name) :])
        ]
    allowed = set(LINE[: LINE.index(name)]) | PACKAGES
    return [f"{name} -> {other}" for other in ours(path) if other not in allowed]


def test_every_module_has_its_place_in_the_line() -> None:
    placed = {*LINE, *PACKAGES, "", "__init__"}
    assert [name for name in modules() if name not in placed and name.split(".")[0] not in LEAVES] == []
    assert [name for name in LINE if name not in modules()] == []
    assert {name for name in modules() if name.split(".")[0] == "golden"} == set(GOLDEN)


def test_no_import_climbs() -> None:
    lines = [name for name in modules() if name in LINE or name.split(".")[0] in LEAVES]
    assert [edge for name in lines for edge in climbing_edges(name, modules()[name])] == []


def test_the_guard_sees_an_import_that_climbs(tmp_path: Path) -> None:
    climber = tmp_path / "climber.py"
    climber.write_text(f"from {NAME}.engine.worker import Worker\n", encoding="utf-8")
    assert climbing_edges("engine.tokens", climber) == ["engine.tokens -> engine.worker"]
    climber.write_text(f"from {NAME} import langchain\n", encoding="utf-8")
    assert climbing_edges("llama_index", climber) == ["llama_index -> langchain"]
    climber.write_text(f"from {NAME}.golden.cases import Case\n", encoding="utf-8")
    assert climbing_edges("golden.recording", climber) == ["golden.recording -> golden.cases"]
    assert climbing_edges("bench", climber) == ["bench -> golden.cases"]
    assert climbing_edges("golden.verification", climber) == climbing_edges("cli", climber) == []


@pytest.mark.parametrize("name", sorted(TORCH_FREE))
def test_above_the_torch_line_nothing_imports_torch(name: str) -> None:
    heavy = {found.split(".")[0] for found in imports(modules()[name], everywhere=False)}
    assert not heavy & HEAVY


@pytest.mark.parametrize("leaf", ["langchain", "llama_index"])
def test_adapters_never_import_torch_or_the_inside_of_the_engine(leaf: str) -> None:
    for name, path in modules().items():
        if name.split(".")[0] == leaf:
            assert not {found.split(".")[0] for found in imports(path)} & {
                "torch",
                "transformers",
                "sentence_transformers",
            }
            facades = {
                "reranker",
                "registry",
                "fields",
                "metadata",
                "plain",
                "predictions",
                "errors",
                "engine.request",
                "engine.results",
                "engine",
            }
            first_stage = {"embedding.fields", "embedding.request", "embedding.settings"}
            assert ours(path) <= facades | first_stage | {leaf} | {
                other for other in modules() if other.startswith(leaf)
            }


@pytest.mark.parametrize("leaf", ["langchain", "llama_index"])
def test_only_one_module_of_an_adapter_knows_the_first_stage_and_nobody_else_does(leaf: str) -> None:
    """What stands on the reranker alone must do without the extra `embeddings`."""
    knowing = {name for name, path in modules().items() for other in ours(path) if other.startswith("embedding.")}
    adapters = {"langchain.embeddings", "llama_index.embedding"}
    assert {name for name in knowing if not name.startswith("embedding")} == adapters
    assert not {other for other in imports(modules()[leaf], everywhere=False) if "embedding" in other}


def loaded_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        f"import {NAME}",
        f"from {NAME} import Qwen3Reranker; Qwen3Reranker('demo')",
        f"from {NAME}.engine import tokens, packing, results",
        f"from {NAME} import golden",
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
    assert not loaded_after(statement) & {*HEAVY, "pydantic"}


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
    assert [name for name in modules() if name.split(".")[-1] in drawers] == []
