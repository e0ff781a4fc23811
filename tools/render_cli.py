"""Render the tables of docs/cli.md from the commands.

    python tools/render_cli.py            # write the tables into the page
    python tools/render_cli.py --check    # fail if a table is out of date

A table is between `<!-- NAME -->` and `<!-- end -->`. NAME is `commands`, `options: COMMAND` for the options of one
command, or `options: everywhere` for the options in the panels Model and Limits. The rest of the page is kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from typer.models import OptionInfo

from qwen3_rerank_plugins.cli.app import app
from qwen3_rerank_plugins.cli.help import choices_of

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
COMMANDS: dict[str, Callable[..., Any]] = {
    found.name or found.callback.__name__: found.callback for found in app.registered_commands if found.callback
}
EVERYWHERE = "everywhere"
SHARED = ("Model", "Limits")
"""Options in these panels are described once for all commands."""


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of one command, as cells of a table.

    Attributes:
        name: name on the command line.
        default: default value, or a description of it.
        meaning: help text, and the choices if there are any.
        shared: whether the option is described once for all commands.
    """

    name: str
    default: str
    meaning: str
    shared: bool


def options(command: str) -> Iterator[Option]:
    """Yield the options of a command, in the order of its signature."""
    function = COMMANDS[command]
    parameters = inspect.signature(function).parameters
    for name, hint in typing.get_type_hints(function, include_extras=True).items():
        info = next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, OptionInfo)), None)
        if info is not None:
            yield Option(
                name=f"`{_typed(info, name)}`",
                default=_default(info.show_default, parameters[name].default),
                meaning=_meaning(info.help or "", hint.__origin__),
                shared=info.rich_help_panel in SHARED,
            )


def render(page: str) -> str:
    """Return the page with its tables rendered from the commands."""
    return re.sub(
        r"(<!-- ([^\n]+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{_table(found[2])}\n{found[3]}",
        page,
        flags=re.DOTALL,
    )


def _table(name: str) -> str:
    _, _, command = name.partition(": ")
    if name == "commands":
        rows = [(f"[{name}](#{name})", _cell(inspect.getdoc(function) or "")) for name, function in COMMANDS.items()]
        return _markdown(("command", "what it does"), rows)
    if command == EVERYWHERE:
        return _markdown(("option", "commands", "default", "meaning"), _shared_rows())
    own = [(found.name, found.default, found.meaning) for found in options(command) if not found.shared]
    return _markdown(("option", "default", "meaning"), own)


def _shared_rows() -> Iterator[tuple[str, ...]]:
    """Yield one row per option; the default names commands whose default differs from the usual one."""
    found = {command: {one.name: one for one in options(command) if one.shared} for command in COMMANDS}
    for name in dict.fromkeys(name for shared in found.values() for name in shared):
        takers = {command: shared[name] for command, shared in found.items() if name in shared}
        usual = Counter(option.default for option in takers.values()).most_common(1)[0][0]
        others = [f"{command}: {option.default}" for command, option in takers.items() if option.default != usual]
        meaning = next(iter(takers.values())).meaning
        yield name, ", ".join(takers), "; ".join([usual, *others]), meaning


def _typed(info: OptionInfo, parameter: str) -> str:
    # typer stores the name of an `Annotated` option as its default
    given = [word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str)]
    return given[0] if given else "--" + parameter.replace("_", "-")


def _default(words: object, value: object) -> str:
    """Return the default as `--help` shows it."""
    if isinstance(words, str):
        return _cell(words)
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else f"`{value}`"


def _meaning(text: str, kind: object) -> str:
    words = choices_of(kind)
    listed = ", ".join(f"`{word}`" for word in words)
    return _cell(text) + (f" One of {listed}." if len(words) > 1 else "")


def _cell(text: str) -> str:
    """Return a text as a table cell, with quoted words and names of options as code."""
    text = re.sub(r'"([\w:.,-]+)"', r"`\1`", " ".join(text.split()))
    return re.sub(r"(?<![\w`])(--[a-z][\w-]*)", r"`\1`", text).replace("|", "\\|")


def _markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ("---",) * len(head), *rows))


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description="Render the tables of docs/cli.md.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    if not check:
        PAGE.write_text(render(page), encoding="utf-8")
    elif page != render(page):
        raise SystemExit("docs/cli.md is out of date: python tools/render_cli.py")


if __name__ == "__main__":
    main()
