"""The hook of the site: a link that works on GitHub works there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.optional import need

need("mkdocs")

import site_hook  # noqa: E402
from mkdocs.config.defaults import MkDocsConfig  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402

CONFIG = cast(
    "MkDocsConfig",
    SimpleNamespace(site_dir="site", use_directory_urls=True, plugins=SimpleNamespace(_current_plugin="hook")),
)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page that links to a record, and one of the repository that links to a page and to a further one."""
    for name, text in {
        "docs/page.md": "[record](../results/record.json) ![chart](../results/x.png) [top](../TOP.md#a) [no](../no)",
        "docs/api/inner.md": "[page](../page.md) [record](../../results/record.json) [web](https://x.y/z) [here](#a)",
        "TOP.md": "[page](docs/page.md#part) [more](notes/MORE.md)",
        "notes/MORE.md": "[back](../TOP.md)",
        "results/record.json": "{}",
        "results/x.png": "",
        "unlinked.md": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(site_hook, "ROOT", tmp_path)
    monkeypatch.setattr(site_hook, "TOP", ("TOP.md",))
    return tmp_path


def files(repository: Path) -> Files:
    docs = repository / "docs"
    own = [
        File(str(path.relative_to(docs)), str(docs), "site", use_directory_urls=True)
        for path in sorted(docs.rglob("*.md"))
    ]
    return site_hook.on_files(Files(own), config=CONFIG)


def rendered(repository: Path, name: str) -> str:
    found = files(repository)
    page: Any = SimpleNamespace(file=found.get_file_from_path(name))
    return site_hook.on_page_markdown(page.file.content_string, page=page, config=CONFIG, files=found)


def test_what_pages_link_to_comes_along_and_nothing_else(repository: Path) -> None:
    assert {file.src_uri for file in files(repository)} == {
        "page.md",
        "api/inner.md",
        "TOP.md",
        "notes/MORE.md",
        "results/record.json",
        "results/x.png",
    }


@pytest.mark.parametrize(
    ("page", "links"),
    [
        ("page.md", "[record](results/record.json) ![chart](results/x.png) [top](TOP.md#a) [no](../no)"),
        ("api/inner.md", "[page](../page.md) [record](../results/record.json) [web](https://x.y/z) [here](#a)"),
        ("TOP.md", "[page](page.md#part) [more](notes/MORE.md)"),
        ("notes/MORE.md", "[back](../TOP.md)"),
    ],
)
def test_links_lead_to_where_the_files_lie_in_the_site(page: str, links: str, repository: Path) -> None:
    assert rendered(repository, page) == links
