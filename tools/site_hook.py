"""A hook of mkdocs that adds files outside docs/ to the site if a page links to them, so links work on GitHub, too.

In the site, files of docs/ are at the top, and all others at their path in the repository. A Markdown file becomes a
page; any other file is copied.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = "docs/"
TOP = ("CONTRIBUTING.md", "RELEASING.md", "CHANGELOG.md")
"""Pages that are in the site whether another page links to them or not."""

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add every file that a page links to, and those that added pages link to."""
    waiting = [*TOP, *(DOCS + file.src_uri for file in files.documentation_pages())]
    seen = set(waiting)
    for path in waiting:  # grows in the loop
        if not path.startswith(DOCS):
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
        if path.endswith(".md"):
            found = [target for target in _targets(path) if target not in seen and not target.startswith(DOCS)]
            seen.update(found)
            waiting.extend(found)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace a page's links by the paths of the files in the site."""
    here = page.file.src_uri if page.file.generated_by else DOCS + page.file.src_uri

    def replace(found: re.Match[str]) -> str:
        target = _resolve(here, found[1])
        if not (ROOT / target).exists():
            return found[1]  # the strict build reports it
        return posixpath.relpath(_in_site(target), posixpath.dirname(_in_site(here)) or ".")

    return _LINK.sub(replace, markdown)


def _targets(path: str) -> Iterator[str]:
    for found in _LINK.finditer((ROOT / path).read_text(encoding="utf-8")):
        target = _resolve(path, found[1])
        if (ROOT / target).is_file():
            yield target


def _resolve(page: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def _in_site(path: str) -> str:
    return path.removeprefix(DOCS)
