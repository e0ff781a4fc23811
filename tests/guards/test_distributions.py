"""What is uploaded: the source distribution and the wheel, built, listed, checked, and used.

`make wheel` runs this on what it has built into dist/; without that the tests build their own.
"""

from __future__ import annotations

import email.message
import email.parser
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import qwen3_rerank_plugins
from tests.optional import need

need("twine")
need("build")
need("hatch_fancy_pypi_readme")

from markdown_it import MarkdownIt  # noqa: E402
from trove_classifiers import classifiers  # noqa: E402

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGE = "qwen3_rerank_plugins"
VERSION = qwen3_rerank_plugins.__version__
STEM = f"{PACKAGE}-{VERSION}"
BUILT = "QWEN3_RERANK_TEST_DIST"
"""The variable that names a folder of distributions built before."""

DATA = {
    "py.typed",
    "data/corpus.jsonl",
    "verify/demo.json",
    "verify/published.json",
    "demo_checkpoint/1_LogitScore/config.json",
    "demo_checkpoint/README.md",  # with the sources of its texts, and their licences
    "demo_checkpoint/config.json",
    "demo_checkpoint/config_sentence_transformers.json",
    "demo_checkpoint/generation_config.json",
    "demo_checkpoint/model.safetensors",
    "demo_checkpoint/modules.json",
    "demo_checkpoint/sentence_bert_config.json",
    "demo_checkpoint/tokenizer.json",
    "demo_checkpoint/tokenizer_config.json",
    "demo_checkpoint/training_figures.json",
    *(
        f"serve/playground/{name}"
        for name in (
            "docs.html",
            "docs.js",
            "documents.js",
            "icon.svg",
            "index.html",
            "playground.js",
            "ranking.js",
            "results.js",
            "style.css",
        )
    ),
}
"""All that a wheel has of the package besides its modules."""
PAPERS = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
"""All that it has of its own description."""
LARGEST = {".whl": 8 * 2**20, ".tar.gz": 12 * 2**20}
"""Bytes. The demo checkpoint takes 7 MiB and the test data 3 MiB, so another file of weights would show."""


@dataclass(frozen=True)
class Distributions:
    wheel: Path
    source: Path

    def names(self) -> set[str]:
        """Files in the wheel."""
        return set(zipfile.ZipFile(self.wheel).namelist())

    def metadata(self) -> email.message.Message:
        text = zipfile.ZipFile(self.wheel).read(f"{STEM}.dist-info/METADATA").decode()
        return email.parser.Parser().parsestr(text)


def build(source: Path, out: Path, *options: str) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *options, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """One wheel, built from the source distribution, and that."""
    folder = Path(os.environ.get(BUILT, "")) if BUILT in os.environ else tmp_path_factory.mktemp("dist")
    if BUILT not in os.environ:
        build(ROOT, folder)
    assert {file.name for file in folder.iterdir()} == {f"{STEM}-py3-none-any.whl", f"{STEM}.tar.gz"}
    return Distributions(folder / f"{STEM}-py3-none-any.whl", folder / f"{STEM}.tar.gz")


@pytest.fixture(scope="module")
def installed(dist: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel alone; what it depends on is the development environment's."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(dist.wheel).extractall(folder)
    return folder


def test_the_wheel_has_the_modules_the_data_listed_here_and_nothing_else(dist: Distributions) -> None:
    modules = {path.relative_to(ROOT / PACKAGE).as_posix() for path in (ROOT / PACKAGE).rglob("*.py")}
    package = {f"{PACKAGE}/{name}" for name in modules | DATA}
    expected = package | {f"{STEM}.dist-info/{name}" for name in PAPERS}
    assert (dist.names() - expected, expected - dist.names()) == (set(), set()), "strangers, missing"


def test_the_source_distribution_is_the_repository(dist: Distributions) -> None:
    """Its tests, documentation, tools and pins included: whoever has it can do everything that a clone can."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no clone of the repository, and git cannot list its files")
    with tarfile.open(dist.source) as archive:
        names = {name.removeprefix(f"{STEM}/") for name in archive.getnames()}
    expected = {*done.stdout.splitlines(), "PKG-INFO"}
    assert (names - expected, expected - names) == (set(), set()), "strangers, missing"


def test_the_source_distribution_builds_the_very_wheel_that_the_tree_builds(
    dist: Distributions, tmp_path: Path
) -> None:
    with tarfile.open(dist.source) as archive:
        archive.extractall(tmp_path, filter="data")
    build(tmp_path / STEM, tmp_path / "from source", "--wheel")
    build(ROOT, tmp_path / "from tree", "--wheel")
    name = dist.wheel.name
    assert (tmp_path / "from source" / name).read_bytes() == dist.wheel.read_bytes()
    assert (tmp_path / "from tree" / name).read_bytes() == dist.wheel.read_bytes()


def test_neither_is_larger_than_it_has_to_be(dist: Distributions) -> None:
    for file, ending in ((dist.wheel, ".whl"), (dist.source, ".tar.gz")):
        assert 2**20 < file.stat().st_size < LARGEST[ending]


def test_twine_finds_nothing_to_complain_about(dist: Distributions) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", str(dist.wheel), str(dist.source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


def test_both_are_described_by_the_same_metadata(dist: Distributions) -> None:
    with tarfile.open(dist.source) as archive:
        member = archive.extractfile(f"{STEM}/PKG-INFO")
        assert member is not None
        assert member.read() == zipfile.ZipFile(dist.wheel).read(f"{STEM}.dist-info/METADATA")


def test_the_metadata_say_what_an_index_shows(dist: Distributions) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = dist.metadata()
    assert (metadata["Name"], metadata["Version"]) == ("qwen3-rerank-plugins", VERSION)
    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    assert metadata["Requires-Python"] == project["requires-python"]
    assert metadata["Summary"] == project["description"]
    assert {"langchain", "llama-index", "qwen3", "reranker"} <= set(metadata["Keywords"].split(","))
    assert set(metadata.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    entry = zipfile.ZipFile(dist.wheel).read(f"{STEM}.dist-info/entry_points.txt").decode()
    assert "qwen3-rerank = qwen3_rerank_plugins.cli:main" in entry


def test_every_classifier_is_one_that_the_index_knows(dist: Distributions) -> None:
    ours = dist.metadata().get_all("Classifier", [])
    assert set(ours) - set(classifiers) == set()
    assert "Typing :: Typed" in ours
    oldest = min(re.findall(r":: 3\.(\d+)", "\n".join(ours)), key=int)
    assert dist.metadata()["Requires-Python"] == f">=3.{oldest}"
    assert not [one for one in ours if one.startswith("License ::")], "the license has a field of its own"


def test_no_link_of_the_page_on_the_index_is_dead(dist: Distributions) -> None:
    """There it has no files beside it."""
    page = dist.metadata().get_payload()
    assert isinstance(page, str)
    inline = [child for token in MarkdownIt().parse(page) for child in token.children or ()]
    targets = [str(child.attrs.get("href", child.attrs.get("src"))) for child in inline if child.attrs]
    targets += re.findall(r"""(?:href|src)=["']([^"']+)""", page)
    assert targets
    assert [target for target in targets if not target.startswith("https://")] == []
    named = set(re.findall(r"`((?:docs/|[A-Z]+\.md|qwen3_rerank_plugins/)[\w/.-]*)`", page))
    with tarfile.open(dist.source) as archive:
        assert {f"{STEM}/{name}" for name in named} <= set(archive.getnames())
    assert "docs/performance.md" in named


PROGRAMS = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_every_example_runs_from_the_wheel(program: Path, installed: Path, tmp_path: Path) -> None:
    """In a folder outside the repository, and with the wheel's package only."""
    extras = re.search(r"pip install 'qwen3-rerank-plugins\[([\w,-]+)\]'", program.read_text(encoding="utf-8"))
    assert extras, "the first lines of an example say how to install what it needs"
    start = (
        "import runpy, sys\n"
        f"sys.path[:] = [path for path in sys.path if path != {str(ROOT)!r}]\n"  # there by the editable installation
        f"import {PACKAGE}\n"
        f"assert {PACKAGE}.__file__ == {str(installed / PACKAGE / '__init__.py')!r}\n"
        f"runpy.run_path({str(program)!r}, run_name='__main__')\n"
        f"assert not [path for path in sys.path if path == {str(ROOT)!r}]"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", start],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
