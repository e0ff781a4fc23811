"""What `--help` prints: a usage line, then one entry an option, wrapped between words at any width of the terminal."""

from __future__ import annotations

import inspect
import pathlib
import shutil
import textwrap
import typing
from collections.abc import Iterable, Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_NARROWEST, _WIDEST = 20, 100
_INDENT = "  "
_BESIDE = 30
"""Columns of the names, where there is room for help beside them; a longer name has its help below."""
_ROOMY = 72
_VALUES = {int: "NUMBER", float: "NUMBER", str: "TEXT", pathlib.Path: "PATH"}

Entry = tuple[str, str]


class PlainCommand(TyperCommand):
    """A command whose help is text."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of one command."""
        hints = typing.get_type_hints(inspect.unwrap(self.callback), include_extras=True) if self.callback else {}
        panels: dict[str, list[Entry]] = {}
        pieces = []
        for parameter in self.get_params(ctx):
            hint = hints.get(parameter.name or "", bool)
            if parameter.param_type_name == "argument":
                panel, name = "Arguments", str(parameter.metavar)
                pieces.append(_usage(parameter))
            else:
                panel = getattr(parameter, "rich_help_panel", None) or "Options"
                name = " ".join(filter(None, [parameter.opts[0], _value(parameter, hint)]))
            panels.setdefault(panel, []).append((name, _meaning(parameter, hint)))
        usage = f"Usage: {ctx.command_path} [OPTIONS] {' '.join(pieces)}".rstrip()
        formatter.write(_render(usage, inspect.getdoc(self.callback) or "", panels))


class PlainGroup(TyperGroup):
    """A group of commands whose help is text."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the program."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        panels = {
            "Options": [(parameter.opts[0], _meaning(parameter, bool)) for parameter in self.get_params(ctx)],
            "Commands": [(name, inspect.getdoc(one.callback) or "") for name, one in commands if one and one.callback],
        }
        formatter.write(_render(f"Usage: {ctx.command_path} [OPTIONS] COMMAND ...", self.help or "", panels))


def choices_of(kind: object) -> list[str]:
    """The words that a type takes, if it takes only certain ones."""
    words = [word for one in (kind, *typing.get_args(kind)) for word in typing.get_args(one) if isinstance(word, str)]
    return list(dict.fromkeys(words))


def _render(usage: str, what: str, panels: dict[str, list[Entry]]) -> str:
    width = max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size().columns))
    blocks = [_wrap(usage, width, hanging=7 * " "), _wrap(what, width)]
    for panel, entries in panels.items():
        blocks.append("\n".join([typer.style(f"{panel}:", bold=True), *_entries(entries, width)]))
    return "\n\n".join(blocks) + "\n"


def _entries(entries: Iterable[Entry], width: int) -> Iterator[str]:
    for name, meaning in entries:
        if width < _ROOMY:
            yield _wrap(name, width, _INDENT, 2 * _INDENT)
            yield _wrap(meaning, width, 3 * _INDENT)
        elif len(name) > _BESIDE - 2 * len(_INDENT):
            yield _INDENT + name
            yield _wrap(meaning, width, _BESIDE * " ")
        else:
            yield _wrap(meaning, width, f"{_INDENT}{name}".ljust(_BESIDE), _BESIDE * " ")


def _wrap(text: str, width: int, first: str = "", hanging: str | None = None) -> str:
    """Between words only: a word that is longer than a line stands out."""
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
    """What is typed after an option; nothing after a flag."""
    if option.is_flag:
        return ""
    if option.metavar:
        return str(option.metavar)
    kind = getattr(hint, "__origin__", hint)
    words = choices_of(kind)
    if words:
        return "WORD" if len(words) > 1 else words[0]
    kinds = [one for one in (kind, *typing.get_args(kind)) if one in _VALUES]
    return _VALUES[kinds[0]] if kinds else "VALUE"


def _meaning(parameter: Any, hint: Any) -> str:
    words = choices_of(getattr(hint, "__origin__", hint)) if parameter.param_type_name == "option" else []
    notes = [f"one of {', '.join(words)}"] if len(words) > 1 else []
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if low is not None or high is not None:
        notes.append(f"at least {low:g}" if high is None else f"{low:g} to {high:g}")
    if isinstance(parameter.show_default, str):
        notes.append(f"default: {parameter.show_default}")
    elif parameter.show_default and parameter.default is not None and not isinstance(parameter.default, bool):
        notes.append(f"default: {parameter.default}")
    return " ".join([parameter.help or "", *([f"[{'; '.join(notes)}]"] if notes else [])])
