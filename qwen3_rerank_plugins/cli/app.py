"""The application: its commands, and the one place where an error becomes a line and an exit code.

Comes in: arguments. Goes out: 0; 1 when scoring or a check failed; 2 for bad input; 130 when interrupted.
Must not know: what the commands do.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any, NoReturn

import typer

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.cli import output as screen
from qwen3_rerank_plugins.cli.commands.batch import batch
from qwen3_rerank_plugins.cli.commands.bench import bench
from qwen3_rerank_plugins.cli.commands.calibrate import calibrate
from qwen3_rerank_plugins.cli.commands.demo import demo
from qwen3_rerank_plugins.cli.commands.doctor import doctor
from qwen3_rerank_plugins.cli.commands.eval import eval
from qwen3_rerank_plugins.cli.commands.rank import rank
from qwen3_rerank_plugins.cli.commands.verify import verify
from qwen3_rerank_plugins.cli.help import PlainCommand, PlainGroup
from qwen3_rerank_plugins.errors import BatchError, RerankError, ScoringError

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

_UsageError: Any = typer.BadParameter.__mro__[1]
"""Typer exports only this subclass, and newer versions carry a click of their own: there is no one import for it."""


class OneLineErrors(PlainGroup):
    """A group of commands whose every foreseen error is one line on stderr."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run, report, exit; typer's own reports are boxes of many lines."""
        # without a handler Python prints warnings to stderr, between our lines; commands note what matters themselves
        logging.getLogger("qwen3_rerank_plugins").addHandler(logging.NullHandler())
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except RerankError as error:
            screen.complain(str(error))
            code = FAILED if isinstance(error, (ScoringError, BatchError)) else BAD_INPUT
        except _UsageError as error:
            command = error.ctx.command_path if error.ctx else "qwen3-rerank"
            message = error.format_message().strip()
            end = "" if message.endswith((".", "?", "!")) else "."
            screen.complain(f"{message}{end} See {command} --help.")
            code = BAD_INPUT
        except typer.Abort:  # what some versions of typer make of Ctrl-C
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    name="qwen3-rerank",
    cls=OneLineErrors,
    help="Rank documents with the Qwen3-Reranker models, on this machine.",
    add_completion=False,
    pretty_exceptions_enable=False,  # its report shows local variables, and one of them may be a token
)
app.command(cls=PlainCommand)(demo)
app.command(cls=PlainCommand)(rank)
app.command(cls=PlainCommand)(batch)
app.command(cls=PlainCommand)(doctor)
app.command(cls=PlainCommand)(verify)
app.command(cls=PlainCommand)(bench)
app.command(cls=PlainCommand)(eval)
app.command(cls=PlainCommand)(calibrate)


@app.callback(invoke_without_command=True)
def describe(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Show the version, or the help where no command was given."""
    if version:
        typer.echo(f"qwen3-rerank {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
    else:
        return
    raise typer.Exit
