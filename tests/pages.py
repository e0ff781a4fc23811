"""The pages of the documentation, and the blocks of code in them as a reader sees them."""

from __future__ import annotations

import dataclasses
import re
import shlex
import textwrap
from pathlib import Path

from markdown_it import MarkdownIt
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
EVERY_PAGE = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
INDENTED = "(indented)"
"""The language of a block that has no fence, and so says none."""

_TAB = re.compile(r'^=== ".*"\n((?:\n| {4}.*\n)+)', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: what its fence says; "" for a fence that says nothing.
        code: its lines.
    """

    language: str
    code: str


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def label(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str) -> list[Block]:
    """All blocks of a page, those in tabs as well, which are the site's own and no CommonMark."""
    flat = _TAB.sub(lambda tab: textwrap.dedent(tab[1]), text)
    tokens = MarkdownIt().parse(flat)
    return [
        Block(token.info if token.type == "fence" else INDENTED, token.content)
        for token in tokens
        if token.type in ("fence", "code_block")
    ]


def reading_order(text: str) -> list[str | frozenset[Requirement]]:
    """The Python blocks of a page and what it says to install, each where a reader comes to it.

    Install lines count in blocks for a shell and within sentences. A path to a clone stands for the package itself.
    """
    found: list[str | frozenset[Requirement]] = []
    for token in MarkdownIt().parse(_TAB.sub(lambda tab: textwrap.dedent(tab[1]), text)):
        if token.type == "fence" and token.info == "python":
            found.append(token.content)
            continue
        lines = token.content.splitlines() if token.type == "fence" and token.info == "bash" else []
        lines += [child.content for child in token.children or () if child.type == "code_inline"]
        for line in lines:
            if line.startswith("pip install "):
                words = shlex.split(line, comments=True)[2:]
                wanted = [word.replace("./", "") for word in words if not word.startswith("-")]
                found.append(frozenset(map(Requirement, wanted)))
    return found


def python_blocks(text: str) -> list[str]:
    return [block.code for block in blocks(text) if block.language == "python"]
