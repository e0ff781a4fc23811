"""The site, built as CI builds it: strict, whole, light, findable, and nothing in it is loaded from elsewhere."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from qwen3_rerank_plugins import errors
from tests.optional import need
from tests.pages import DOCS, ROOT, read

pytestmark = pytest.mark.slow

OUTSIDE = re.compile(r"(?:https?:)?//")
PUBLIC = {
    "qwen3_rerank_plugins": ["Qwen3Reranker", "RankedDocument", "close_all"],
    "qwen3_rerank_plugins.instructions": ["PRESETS", "preset"],
    "qwen3_rerank_plugins.engine.scorer": ["Scorer", "Scores"],
    "qwen3_rerank_plugins.errors": [found for found in vars(errors) if found.endswith("Error")],
}
"""Names that users import; of other modules those of `__all__`, which leaves out names that need one more extra."""
MORE = {
    "qwen3_rerank_plugins.langchain": ["Qwen3Embeddings"],
    "qwen3_rerank_plugins.llama_index": ["Qwen3Embedding"],
}
OF_LEAVES = [f"qwen3_rerank_plugins.{leaf}" for leaf in ("ray", "evaluation", "verify", "serve")]
ELSEWHERE = {"RerankError", "__version__"}
"""Of the package's own names: shown among the errors, or nothing to show."""


def build(folder: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


class Loaded(HTMLParser):
    """What a browser loads of a page without being asked, and the places that links can lead to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.feed(read(page))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors.add(given.get("id", ""))
        if tag == "link" and given.get("rel") in ("next", "prev", "canonical"):
            return
        if tag != "a":
            self.addresses += [given[name] for name in ("src", "href", "srcset", "data", "poster") if name in given]
        self.addresses += re.findall(r"url\(([^)]+)\)", given.get("style", ""))


def pages(site: Path) -> Iterator[tuple[Path, Loaded]]:
    for page in sorted(site.rglob("*.html")):
        yield page, Loaded(page)


def nav() -> list[str]:
    def walk(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for one in entry.values() if isinstance(entry, dict) else entry:
                yield from walk(one)

    return list(walk(yaml.safe_load(read(ROOT / "mkdocs.yml"))["nav"]))


def names(module: str) -> list[str]:
    """The public names of a module."""
    exported = [name for name in getattr(importlib.import_module(module), "__all__", ()) if name not in ELSEWHERE]
    return [*dict.fromkeys([*exported, *PUBLIC.get(module, ()), *MORE.get(module, ())])]


def test_every_page_is_in_the_navigation_once() -> None:
    own = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    of_the_repository = {"CONTRIBUTING.md", "RELEASING.md", "CHANGELOG.md"}
    assert sorted(nav()) == sorted(own | of_the_repository)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    seen = 0
    for page, loaded in pages(site):
        seen += len(loaded.addresses)
        assert [address for address in loaded.addresses if OUTSIDE.match(address)] == [], page
        assert "mermaid" not in read(page), "the theme would load a script from a server for it"
    assert seen
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?//", read(sheet)) == [], sheet


@pytest.mark.parametrize("tag", ['<script src="https://x.y/z.js">', '<link rel="stylesheet" href="//x.y/z.css">'])
def test_the_guard_sees_what_is_loaded_from_elsewhere(tag: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(tag, encoding="utf-8")
    assert any(map(OUTSIDE.match, Loaded(tmp_path / "page.html").addresses))


@pytest.mark.parametrize("module", [*PUBLIC, *MORE, *OF_LEAVES])
def test_every_public_name_is_in_the_reference(module: str, site: Path) -> None:
    need("langchain_core")
    need("llama_index.core")
    need("pytrec_eval")
    need("ray")
    anchors = set().union(*(loaded.anchors for page, loaded in pages(site) if page.is_relative_to(site / "api")))
    assert names(module)
    for name in names(module):
        home = getattr(getattr(importlib.import_module(module), name), "__module__", module)
        assert {f"{module}.{name}", f"{home}.{name}"} & anchors, name


def test_every_module_that_names_what_it_exports_is_in_the_reference() -> None:
    shown = "\n".join(read(page) for page in (DOCS / "api").glob("*.md"))
    for file in sorted((ROOT / "qwen3_rerank_plugins").rglob("*.py")):
        if re.search(r"^__all__ = ", read(file), re.M):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            assert f"::: {module}" in shown, f"{module} has no place in docs/api"


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("overlapping windows", "quickstart/"),
        ("CUDA out of memory", "troubleshooting/"),
        ("ContextualCompressionRetriever", "langchain/"),
        ("SimilarityPostprocessor", "llama-index/"),
        ("min_score", "evaluation/"),
        ("RankedDocument", "api/reranker/"),
    ],
)
def test_what_people_look_for_is_in_the_index_of_the_search(words: str, page: str, site: Path) -> None:
    index = json.loads(read(site / "search" / "search_index.json"))
    assert any(
        entry["location"].startswith(page) and words.lower() in f"{entry['title']} {entry['text']}".lower()
        for entry in index["docs"]
    )


def test_a_page_with_all_that_it_loads_is_light(site: Path) -> None:
    for page, loaded in pages(site):
        if page.name == "404.html":  # its addresses start at the root of the site
            continue
        files = {(page.parent / address).resolve() for address in loaded.addresses if "." in address}
        weight = page.stat().st_size + sum(file.stat().st_size for file in files if file.is_file())
        assert weight < 2**20, f"{page.relative_to(site)} weighs {weight / 1024:,.0f} KiB"


@pytest.mark.parametrize(
    ("page", "builds"),
    [
        ("[there](quickstart.md#there) ![](picture.svg)\n\n::: qwen3_rerank_plugins.close_all", True),
        ("[gone](gone.md)", False),
        ("[gone](quickstart.md#gone)", False),
        ("![gone](gone.svg)", False),
        ("::: qwen3_rerank_plugins.gone", False),
    ],
)
def test_the_build_refuses_a_broken_page_and_no_other(page: str, builds: bool, tmp_path: Path) -> None:
    need("mkdocs")
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text(f"# Page\n{page}\n", encoding="utf-8")
    (docs / "quickstart.md").write_text("# Quickstart\n## There\n", encoding="utf-8")
    (docs / "picture.svg").write_text("<svg/>", encoding="utf-8")
    config = yaml.safe_load(read(ROOT / "mkdocs.yml"))
    for own in ("nav", "hooks", "extra_css"):
        del config[own]
    reference = next(one["mkdocstrings"] for one in config["plugins"] if "mkdocstrings" in one)
    reference["custom_templates"] = str(ROOT / reference["custom_templates"])
    reference["handlers"]["python"]["paths"] = [str(ROOT)]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert (done.returncode == 0) is builds, done.stderr
