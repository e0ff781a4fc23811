"""The text of `--help`: a usage line, then one entry per option, wrapped between words to the terminal's width."""

from __future__ import annotations

import inspect
import pathlib
import shutil
import textwrap
import typing
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_NARROWEST, _WIDEST = 20, 100
_INDENT = "  "
_BESIDE = 30
"""The column where help texts start, beside the names. The help of a longer name goes below it."""
_TWO_COLUMNS = 72
"""Narrower terminals get help texts below the names."""
_VALUES = {int: "NUMBER", float: "NUMBER", str: "TEXT", pathlib.Path: "PATH"}

Entry = tuple[str, str]


class PlainCommand(TyperCommand):
    """A command with help in plain text, without boxes."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of one command."""
        hints = typing.get_type_hints(inspect.unwrap(self.callback), include_extras=True) if self.callback else {}
        panels: dict[str, list[Entry]] = {"Arguments": [], "Options": []}  # always first
        arguments = []
        for parameter in self.get_params(ctx):
            hint = hints.get(parameter.name or "", bool)
            if parameter.param_type_name == "argument":
                panel, name = "Arguments", str(parameter.metavar)
                arguments.append(_usage(parameter))
            else:
                panel = getattr(parameter, "rich_help_panel", None) or "Options"
                name = " ".join(filter(None, [parameter.opts[0], _value(parameter, hint)]))
            panels.setdefault(panel, []).append((name, _meaning(parameter, hint)))
        usage = f"Usage: {ctx.command_path} [OPTIONS] {' '.join(arguments)}".rstrip()
        formatter.write(_render(usage, inspect.getdoc(self.callback) or "", panels))


class PlainGroup(TyperGroup):
    """A group of commands with help in plain text, without boxes."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the program."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        panels = {
            "Options": [(parameter.opts[0], _meaning(parameter, bool)) for parameter in self.get_params(ctx)],
            "Commands": [(name, inspect.getdoc(one.callback) or "") for name, one in commands if one and one.callback],
        }
        formatter.write(_render(f"Usage: {ctx.command_path} [OPTIONS] COMMAND ...", self.help or "", panels))


def choices_of(kind: object) -> list[str]:
    """Return the words of the literals in a type."""
    return list(dict.fromkeys(part for part in _parts(kind) if isinstance(part, str)))


def _parts(kind: object) -> Iterator[Any]:
    """Yield a type and everything it is composed of, such as the list, the string and None of `list[str] | None`."""
    yield kind
    for part in typing.get_args(kind):
        yield from _parts(part)


def _render(usage: str, description: str, panels: dict[str, list[Entry]]) -> str:
    width = max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size().columns))
    blocks = [_wrap(usage, width, hanging=7 * " "), _wrap(description, width)]
    for panel, entries in filter(itemgetter(1), panels.items()):
        blocks.append("\n".join([typer.style(f"{panel}:", bold=True), *_entries(entries, width)]))
    return "\n\n".join(blocks) + "\n"


def _entries(entries: Iterable[Entry], width: int) -> Iterator[str]:
    for name, meaning in entries:
        if width < _TWO_COLUMNS:
            yield _wrap(name, width, _INDENT, 2 * _INDENT)
            yield _wrap(meaning, width, 3 * _INDENT)
        elif len(name) > _BESIDE - 2 * len(_INDENT):
            yield _INDENT + name
            yield _wrap(meaning, width, _BESIDE * " ")
        else:
            yield _wrap(meaning, width, f"{_INDENT}{name}".ljust(_BESIDE), _BESIDE * " ")


def _wrap(text: str, width: int, first: str = "", hanging: str | None = None) -> str:
    """Wrap between words only; a word longer than a line exceeds the width."""
    later = first if hanging is None else hanging
    wrapped = textwrap.fill(
        " ".join(text.split()),
        width,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapped or first.rstrip()


def _usage(argument: Any) -> str:
    name = f"{argument.metavar}{'...' if argument.nargs != 1 else ''}"
    return name if argument.required else f"[{name}]"


def _value(option: Any, hint: Any) -> str:
    """Return the placeholder of an option's value; it is empty for flags."""
    if option.is_flag:
        return ""
    if option.metavar:
        return str(option.metavar)
    kind = getattr(hint, "__origin__", hint)
    words = choices_of(kind)
    if words:
        return "WORD" if len(words) > 1 else words[0]
    return next((_VALUES[part] for part in _parts(kind) if part in _VALUES), "VALUE")


def _meaning(parameter: Any, hint: Any) -> str:
    words = choices_of(getattr(hint, "__origin__", hint)) if parameter.param_type_name == "option" else []
    notes = [f"one of {', '.join(words)}"] if len(words) > 1 else []
    bounded = parameter if hasattr(parameter, "min") else parameter.type  # older typer: in its type
    low, high = getattr(bounded, "min", None), getattr(bounded, "max", None)
    if low is not None or high is not None:
        notes.append(f"at least {low:g}" if high is None else f"{low:g} to {high:g}")
    if isinstance(parameter.show_default, str):
        notes.append(f"default: {parameter.show_default}")
    elif parameter.show_default and parameter.default is not None and not isinstance(parameter.default, bool):
        notes.append(f"default: {parameter.default}")
    return " ".join([parameter.help or "", *([f"[{'; '.join(notes)}]"] if notes else [])])
