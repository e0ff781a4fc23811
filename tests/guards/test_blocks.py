"""No block of code escapes: Python and console blocks run, data is parsed, commands are looked up."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tests.optional import need
from tests.pages import EVERY_PAGE, ROOT, Block, blocks, label, read

OWN = "qwen3-rerank-plugins"
EXTRAS = set(tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["optional-dependencies"])
TARGETS = set(re.findall(r"^([\w-]+):", read(ROOT / "Makefile"), re.M))
FOREIGN = {"cd", "curl", "docker", "export", "git", "hf", "nvidia-smi", "pytest", "ray", "vllm"}
"""Programs of others: there is nothing here to look their arguments up in."""


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    for word in words[1:]:
        if word.startswith("-"):
            continue
        wanted = Requirement(word.removeprefix("./"))
        assert wanted.name != OWN or wanted.extras <= EXTRAS, f"{word} asks for an extra that there is not"


def check_make(words: list[str]) -> None:
    wanted = {word for word in words if "=" not in word}
    assert wanted <= TARGETS, f"the Makefile has no {wanted - TARGETS}"


def check_python(words: list[str]) -> None:
    """A module or a script of ours, and options that its source names."""
    module = words[0] == "-m"
    path = f"{words[1].replace('.', '/')}.py" if module else words[0]
    assert (ROOT / path).is_file(), f"there is no {path}"
    source, rest = read(ROOT / path), words[2 if module else 1 :]
    for option in (word for word in rest if word.startswith("--")):
        assert f'"{option}"' in source, f"{words} has no option {option}"


def check_own(words: list[str]) -> None:
    need("typer")
    import typer

    from qwen3_rerank_plugins.cli.app import app

    group: Any = typer.main.get_command(app)
    if words[0].startswith("-"):
        command = group
    else:
        assert words[0] in group.commands, f"there is no command {words[0]}"
        command = group.commands[words[0]]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert option in options, f"{words[0]} has no option {option}"


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "pip": check_pip,
    "make": check_make,
    "python": check_python,
    "qwen3-rerank": check_own,
}


def commands(code: str) -> Iterator[list[str]]:
    """Each command of a block, split at pipes and the like, without what is set before it."""
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;"):
                while words and re.match(r"\w+=", words[0]):
                    words.pop(0)
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def check_shell(code: str) -> None:
    for words in commands(code):
        if words[0] not in FOREIGN:
            assert words[0] in PROGRAMS, f"nobody checks what {words[0]!r} does: add it to PROGRAMS or FOREIGN"
            PROGRAMS[words[0]](words[1:])


def check_lines(code: str) -> None:
    for line in code.splitlines():
        json.loads(line)


def check_nothing(code: str) -> None:
    """`text` is no code; the others are run by the tests of their pages."""


CHECKS: dict[str, Callable[[str], object]] = {
    "bash": check_shell,
    "console": check_nothing,  # tests/cli/test_docs.py
    "json": json.loads,
    "jsonl": check_lines,
    "python": check_nothing,  # tests/guards/test_docs.py
    "text": check_nothing,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
}


def check(block: Block) -> None:
    assert block.language in CHECKS, f"a block must say one of {', '.join(CHECKS)}: {block}"
    CHECKS[block.language](block.code)


@pytest.mark.parametrize("page", EVERY_PAGE, ids=label)
def test_every_block_says_its_language_and_stands_up_to_it(page: Path) -> None:
    for block in blocks(read(page)):
        check(block)


@pytest.mark.parametrize("page", EVERY_PAGE, ids=label)
def test_python_and_console_blocks_stand_only_where_they_are_run(page: Path) -> None:
    languages = {block.language for block in blocks(read(page))}
    assert "console" not in languages or page == ROOT / "docs" / "cli.md"
    assert "python" not in languages or page == ROOT / "README.md" or page.is_relative_to(ROOT / "docs")


@pytest.mark.parametrize(
    "block",
    [
        "    indented = True\n",
        "```\nno language\n```\n",
        "```cobol\nDISPLAY 'HI'.\n```\n",
        "```bash\nqwen3-rerank rnk\n```\n",
        "```bash\nFOO=1 qwen3-rerank rank --top 3\n```\n",
        "```bash\ncat x | qwen3-rerank rank -\n```\n",
        "```bash\npip install '\n```\n",
        '```bash\npip install "qwen3-rerank-plugins[langchan]"\n```\n',
        "```bash\nmake coffee\n```\n",
        "```bash\npython -m qwen3_rerank_plugins.evaluation.crad\n```\n",
        "```bash\npython -m tests.load.soak --minuets 30\n```\n",
        "```json\n{'a': 1}\n```\n",
        '```jsonl\n{"a": 1}\n{"b": \n```\n',
        "```toml\na = \n```\n",
        "```yaml\na: [\n```\n",
        '=== "Tab"\n\n    ```bash\n    make coffee\n    ```\n',
        "- a list\n\n  ```bash\n  make coffee\n  ```\n",
    ],
)
def test_the_guard_sees(block: str) -> None:
    with pytest.raises((AssertionError, OSError, ValueError, yaml.YAMLError)):
        for found in blocks(block):
            check(found)
