"""Documentation that cannot drift: every example runs, every name is documented, and tables are computed again."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from textwrap import indent

import pytest
from packaging.requirements import Requirement

import qwen3_rerank_plugins
from qwen3_rerank_plugins import errors
from qwen3_rerank_plugins.engine.loading.shape import Shape
from tests.environments import closure, make_environment, run_in
from tests.optional import need, need_installed
from tests.pages import EVERY_PAGE, PAGES, ROOT, label, read, reading_order

pytestmark = pytest.mark.slow

NAME = "qwen3_rerank_plugins"
MakeEnvironment = Callable[[frozenset[Requirement]], Path]


RUN = """
import json, sys
namespace = {"__name__": "__main__"}
for number, block in enumerate(json.loads(sys.stdin.read())):
    exec(compile(block, f"block {number + 1}", "exec"), namespace)
"""


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> MakeEnvironment:
    """Makes an environment with just what some install lines ask for, once a session."""

    @cache
    def make(requirements: frozenset[Requirement]) -> Path:
        return make_environment(tmp_path_factory.mktemp("environment") / "venv", requirements)

    return make


def run_page(text: str, environment: MakeEnvironment, folder: Path) -> int:
    """Run the Python blocks of a page in order, as one program, in the environment that the lines above them install.

    Where a page installs more later on, what stands above runs once more with the blocks that follow. If that adds
    nothing to what is there, it runs only once.

    Returns:
        How many blocks there were.
    """
    steps, seen = reading_order(text), list[str]()
    programs: dict[frozenset[str], tuple[frozenset[Requirement], list[str]]] = {}
    installed: frozenset[Requirement] = frozenset()
    for number, step in enumerate(steps):
        if isinstance(step, frozenset):
            installed |= step
            continue
        assert installed, f"no line above this block installs the package: {step}"
        seen.append(step)
        if number + 1 == len(steps) or isinstance(steps[number + 1], frozenset):
            programs[frozenset(closure(installed))] = installed, list(seen)
    for requirements, blocks in programs.values():
        done = run_in(environment(requirements), RUN, folder, stdin=json.dumps(blocks))
        assert done.returncode == 0, f"with {', '.join(map(str, requirements))}:\n{done.stderr}"
    return len(seen)


@pytest.fixture
def rerank_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For the one page that needs it: the demo behind a small server that only joins what it is sent."""
    if request.getfixturevalue("page").stem != "remote":
        yield
        return
    need("uvicorn")
    from tests.remote.app import RerankApp, serving
    from tests.remote.demo_server import DemoServer

    with serving(RerankApp("vllm", DemoServer(template=False))) as url:
        monkeypatch.setenv("RERANK_SERVER", url)
        yield


@pytest.mark.usefixtures("rerank_server")
@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in read(page)], ids=label)
def test_the_python_blocks_of_a_page_run_where_the_lines_above_them_are_installed(
    page: Path, environment: MakeEnvironment, tmp_path: Path
) -> None:
    for step in reading_order(read(page)):
        for requirement in step if isinstance(step, frozenset) else ():
            need_installed(requirement)
    assert run_page(read(page), environment, tmp_path)


INSTALL = "```bash\npip install qwen3-rerank-plugins\n```\n"
FAILS = "```python\nassert 1 == 2\n```\n"


@pytest.mark.parametrize(
    "page",
    [
        INSTALL + FAILS,
        INSTALL + indent(FAILS, "  "),
        f'{INSTALL}=== "In a tab"\n\n{indent(FAILS, "    ")}',
        "```python\nnothing_is_installed = True\n```\n",
        f"{INSTALL}```python\nimport langchain_core\n```\n",
        f'{INSTALL}```python\nimport langchain_core\n```\n`pip install "qwen3-rerank-plugins[langchain]"`\n',
    ],
)
def test_the_guard_sees_a_block_that_fails(page: str, environment: MakeEnvironment, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run_page(page, environment, tmp_path)


def test_how_it_works_names_every_folder_of_the_engine() -> None:
    page = read(ROOT / "docs" / "how-it-works.md")
    folders = [path.parent.name for path in (ROOT / "qwen3_rerank_plugins" / "engine").glob("*/__init__.py")]
    assert folders
    assert [folder for folder in folders if f"`engine/{folder}/`" not in page] == []


@pytest.mark.parametrize("page", ["docs/how-it-works.md", "CONTRIBUTING.md"])
def test_every_file_that_a_page_on_the_code_names_exists(page: str) -> None:
    """In the package or in the repository."""
    named = set(re.findall(r"`([\w/]+/\w+\.py)`", read(ROOT / page)))
    assert named
    assert {name for name in named if not any((root / name).is_file() for root in (ROOT / NAME, ROOT))} == set()


@pytest.mark.parametrize("name", [name for name in qwen3_rerank_plugins.__all__ if not name.startswith("_")])
def test_every_public_name_exists_has_a_docstring_and_is_documented(name: str) -> None:
    assert getattr(qwen3_rerank_plugins, name).__doc__
    assert any(name in read(page) for page in PAGES)


def test_every_error_is_in_the_drawn_tree_and_in_the_table() -> None:
    table = read(ROOT / "docs" / "errors.md")
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, Exception):
            assert name in (errors.__doc__ or ""), f"{name} is missing from the tree"
            assert f"| `{name}` |" in table, f"{name} is missing from docs/errors.md"
            assert issubclass(error, errors.RerankError)


def test_the_drawn_tree_is_the_real_tree() -> None:
    """Indentation in the drawing says whose child an error is, parentheses what else it is."""
    path: list[str] = []
    seen = set()
    for line in re.findall(r"^    (.*)", errors.__doc__ or "", re.M):
        drawn = re.match(r"^([│ ]*)(?:[├└]── )?(\w+Error)(?: \((\w+)\))?", line)
        if not drawn:
            continue
        depth = len(drawn[1]) // 4 + ("──" in line)
        path = [*path[:depth], drawn[2]]
        error = getattr(errors, drawn[2])
        seen.add(error)
        assert (depth == 0) is (error is errors.RerankError)
        assert depth == 0 or issubclass(error, getattr(errors, path[depth - 1]))
        if drawn[3]:
            assert drawn[3] in {base.__name__ for base in error.__mro__}
    assert seen == {
        error for error in vars(errors).values() if isinstance(error, type) and error.__module__ == errors.__name__
    }


def test_the_readmes_table_of_sizes_is_what_the_shapes_give(data: Path) -> None:
    for size in ("0.6B", "4B", "8B"):
        config = json.loads(read(data / "configs" / f"qwen3-reranker-{size.lower()}.config.json"))
        parameters = Shape.from_config(config).parameters
        row = f"| `Qwen/Qwen3-Reranker-{size}` | {parameters / 1e9:.2f} billion | {parameters * 2 / 2**30:.1f} GiB |"
        assert row in read(ROOT / "README.md")


def test_the_page_on_serving_names_the_smallest_cards_of_the_record() -> None:
    results = json.loads(read(ROOT / "benchmarks" / "results" / "gpu-sizing.json"))["results"]
    smallest = dict[tuple[str, str | None], int]()
    for one in results["fits"]:
        if one["tokens"]:
            smallest.setdefault((one["checkpoint"].removeprefix("Qwen/Qwen3-Reranker-"), one["mode"]), one["gigabytes"])
    page = " ".join(read(ROOT / "docs" / "serving.md").split())
    small, middle, large = (smallest[size, None] for size in ("0.6B", "4B", "8B"))
    assert f"the 0.6B runs on a GPU with {small} GB, the 4B needs {middle} GB, and the 8B needs {large} GB" in page
    int8, int4 = (smallest["8B", mode] for mode in ("int8", "int4"))
    assert f"With int8, the 8B fits on {int8} GB; with int4, it fits on {int4} GB" in page


@pytest.mark.parametrize("page", EVERY_PAGE, ids=label)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", read(page)):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_test_that_the_page_on_security_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", read(ROOT / "docs" / "security.md")))
    written = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", read(path))
    }
    assert named
    assert named - written == set()


def test_every_public_function_and_class_has_a_docstring() -> None:
    bare = []
    for path in (ROOT / "qwen3_rerank_plugins").rglob("*.py"):
        for node in ast.walk(ast.parse(read(path))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith(
                "_"
            ):
                documented = ast.get_docstring(node) or any("override" in ast.unparse(d) for d in node.decorator_list)
                if not documented and node.col_offset == 0:
                    bare.append(f"{path.name}:{node.name}")
    assert bare == []


@pytest.mark.parametrize("page", ["performance", "reliability"])
def test_a_page_of_figures_is_what_the_records_give(page: str) -> None:
    """The script for performance renders evaluation, two-stages and which-gpu, too."""
    need("pytrec_eval")
    done = subprocess.run(
        [sys.executable, f"tools/render_{page}.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_record_is_shown_and_can_be_reproduced() -> None:
    shown_in = {
        "evaluation": ("evaluation.md", "qwen3-rerank eval "),
        "calibration": ("evaluation.md", "qwen3-rerank calibrate "),
        "search": ("two-stages.md", "python examples/"),
        "load": ("reliability.md", "python -m tests.load.soak "),
        "soak": ("reliability.md", "python -m tests.load.soak "),
        "threads": ("performance.md", "python -m benchmarks.cpu_threads "),
        "speed": ("performance.md", "qwen3-rerank bench speed "),
        "memory": ("performance.md", "qwen3-rerank bench memory "),
        "device-check": ("performance.md", "qwen3-rerank doctor --check "),
        "gpu": ("performance.md", "python -m benchmarks.gpu "),
        "remote": ("remote.md", "python tools/remote_check.py "),
        "gpu-check": ("performance.md", "python tools/gpu_check.py "),
        "gpu-probe": ("performance.md", "python -m benchmarks profile "),
        "gpu-sizing": ("which-gpu.md", "python -m benchmarks.gpu_sizing "),
    }
    for record in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        study = json.loads(read(record))["study"]
        name, command = shown_in.get(study, ("performance.md", f"python -m benchmarks {study} "))
        page = read(ROOT / "docs" / name)
        assert f"({'../benchmarks/results/' + record.name})" in page
        assert f"| `{record.stem}` | `{command}" in page


@pytest.mark.parametrize("workload", ["passages", "chunks", "long", "mixed", "small"])
def test_the_readmes_table_of_speed_is_what_the_record_gives(workload: str) -> None:
    results = json.loads(read(ROOT / "benchmarks" / "results" / "cpu-speed.json"))["results"]
    (found,) = [one for one in results["workloads"] if one["name"] == workload]
    (peer,) = [row for row in found["rows"] if row["peer"] == "st"]
    assert peer["largest_difference"] <= 1e-4
    assert re.search(
        rf"^\| {workload} \| .* \| {peer['ratio']['median']:.2f} times as long \|$", read(ROOT / "README.md"), re.M
    )


def test_the_readme_says_of_full_depth_what_its_record_says() -> None:
    record = json.loads(read(ROOT / "benchmarks" / "results" / "cpu-depth.json"))
    (passages,) = record["results"]["workloads"]
    (peer,) = [row for row in passages["rows"] if row["peer"] == "st"]
    assert "28 of 28 layers" in record["circumstances"]["subject"]
    assert f"all 28, `passages` takes {peer['ratio']['median']:.2f} times as long" in read(ROOT / "README.md")


def test_the_readme_says_of_the_gpu_what_its_record_says() -> None:
    record = json.loads(read(ROOT / "benchmarks" / "results" / "gpu-speed-8b.json"))
    peers = [row for one in record["results"]["workloads"] for row in one["rows"] if row["peer"] == "st"]
    ratios = sorted(row["ratio"]["median"] for row in peers)
    readme = " ".join(read(ROOT / "README.md").split())
    assert f"there, sentence-transformers takes {ratios[0]:.2f} to {ratios[-1]:.2f} times as long" in readme
    assert f"[on an {record['circumstances']['device']}]" in readme


def test_the_cards_table_on_the_page_is_the_one_that_its_command_compares_with() -> None:
    need("pytrec_eval")
    from benchmarks.model_card import COLUMNS, PUBLISHED

    page = read(ROOT / "docs" / "evaluation.md")
    assert f"| model | {' | '.join(COLUMNS)} |" in page
    for model, figures in PUBLISHED.items():
        cells = " | ".join(f"{figure:.2f}" for figure in figures.values())
        assert re.search(rf"^\| {model.removeprefix('Qwen/')}[^|]* \| {re.escape(cells)} \|$", page, re.M), model


def test_the_front_page_says_of_speed_what_the_record_says() -> None:
    results = json.loads(read(ROOT / "benchmarks" / "results" / "cpu-speed.json"))["results"]
    peers = [row for workload in results["workloads"] for row in workload["rows"] if row["peer"] == "st"]
    ratios = sorted(row["ratio"]["median"] for row in peers)
    assert f" {ratios[0]:.2f} to {ratios[-1]:.2f} times as long " in read(ROOT / "docs" / "index.md")


def test_the_pictures_are_what_the_engine_gives() -> None:
    need("typer")
    done = subprocess.run(
        [sys.executable, "tools/draw_pictures.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
