"""The application: its commands, and the only place that turns an error into one line on stderr and an exit code.

Exit codes: 0; 1 if scoring or a check failed; 2 for bad input; 130 if interrupted.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any, NoReturn

import typer

from qwen3_rerank_plugins import __version__
from qwen3_rerank_plugins.cli.commands.batch import batch
from qwen3_rerank_plugins.cli.commands.bench import bench
from qwen3_rerank_plugins.cli.commands.cache import cache
from qwen3_rerank_plugins.cli.commands.calibrate import calibrate
from qwen3_rerank_plugins.cli.commands.demo import demo
from qwen3_rerank_plugins.cli.commands.doctor import doctor
from qwen3_rerank_plugins.cli.commands.eval import eval
from qwen3_rerank_plugins.cli.commands.rank import rank
from qwen3_rerank_plugins.cli.commands.serve import serve
from qwen3_rerank_plugins.cli.commands.verify import verify
from qwen3_rerank_plugins.cli.help import PlainCommand, PlainGroup
from qwen3_rerank_plugins.cli.output import print_error
from qwen3_rerank_plugins.errors import BatchError, RerankError, ScoringError

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

_UsageError: Any = typer.BadParameter.__mro__[1]
"""The base class of all usage errors. Typer exports only a subclass, and newer versions of typer bundle click."""


class OneLineErrors(PlainGroup):
    """A group of commands that reports every expected error as one line on stderr."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run a command, print its error if it fails, and exit; typer would print a box of many lines."""
        # without a handler Python prints log warnings to stderr; commands print the important ones themselves
        logging.getLogger("qwen3_rerank_plugins").addHandler(logging.NullHandler())
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except RerankError as error:
            print_error(str(error))
            code = FAILED if isinstance(error, (ScoringError, BatchError)) else BAD_INPUT
        except _UsageError as error:
            command = error.ctx.command_path if error.ctx else "qwen3-rerank"
            message = error.format_message().strip()
            end = "" if message.endswith((".", "?", "!")) else "."
            print_error(f"{message}{end} See {command} --help.")
            code = BAD_INPUT
        except typer.Abort:  # some versions of typer raise this on Ctrl-C
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    name="qwen3-rerank",
    cls=OneLineErrors,
    help="Rank documents with the Qwen3-Reranker models, on this machine.",
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables, which may hold a token
)
for command in (demo, rank, serve, batch, doctor, verify, bench, eval, calibrate, cache):
    app.command(cls=PlainCommand)(command)


@app.callback(invoke_without_command=True)
def describe(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Show the version, or the help if there is no command."""
    if version:
        typer.echo(f"qwen3-rerank {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
    else:
        return
    raise typer.Exit
