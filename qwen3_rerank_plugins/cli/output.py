"""Where a command writes: results on stdout; notes, bars and complaints on stderr, bars only for a person."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from qwen3_rerank_plugins.cli.heartbeat import Progress, heartbeat

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn
import json

from qwen3_rerank_plugins._records import Record, as_table, describe
from qwen3_rerank_plugins.evaluation.report import grids_of


class Screen:
    """The two streams of a command, and whether a person looks at them.

    Args:
        results_for_programs: stdout carries JSON, which no bar may cross when both go to one terminal.

    Attributes:
        watched: whether bars and spinners are shown.
    """

    def __init__(self, *, results_for_programs: bool = False) -> None:
        self.watched = sys.stderr.isatty() and not (results_for_programs and sys.stdout.isatty())
        self._out = Console(highlight=False)
        # on one terminal, one console must draw both, or tables and bar would overwrite each other
        self._live = self._out if sys.stdout.isatty() else Console(stderr=True)

    def show(self, result: RenderableType) -> None:
        """Print a result for a person."""
        self._out.print(result)

    @contextlib.contextmanager
    def waiting(self, for_what: str) -> Iterator[None]:
        """A spinner while something takes its time; where nobody watches, a line every ten seconds."""
        if not self.watched:
            with self._heartbeat(Progress(for_what, None)):
                yield
            return
        with self._live.status(Text(f"{for_what} ...")):
            yield

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None) -> Iterator[Callable[[float], None]]:
        """A bar up to `total`, or a pulsing one where that is not known; what it yields moves it on.

        Where nobody watches, a line every ten seconds says how far it is.
        """
        if not self.watched:
            told = Progress(description, total)
            with self._heartbeat(told):
                yield told.advance
            return
        from rich import progress

        # description, bar, share done, time left, time taken
        columns = (*progress.Progress.get_default_columns(), progress.TimeElapsedColumn())
        with self._bar(*columns) as bar:
            task = bar.add_task(description, total=total)
            yield lambda share: bar.advance(task, share)

    @contextlib.contextmanager
    def download(self, description: str) -> Iterator[Callable[[int, int], None]]:
        """A bar of bytes; what it yields takes those that have arrived and those that there are."""
        if not self.watched:
            yield lambda arrived, total: None
            return
        from rich import progress

        text = progress.TextColumn("{task.description}", markup=False)
        columns = (text, progress.BarColumn(), progress.DownloadColumn(), progress.TransferSpeedColumn())
        with self._bar(*columns) as bar:
            task = bar.add_task(description, total=None)
            yield lambda arrived, total: bar.update(task, completed=arrived, total=total or None)

    @contextlib.contextmanager
    def steps(self, description: str) -> Iterator[Callable[[str], None]]:
        """A spinner that tells what is being done, with the time; a line every ten seconds where nobody watches."""
        if not self.watched:
            told = Progress(description, None)
            with self._heartbeat(told):
                yield lambda step: setattr(told, "description", f"{description}: {step}")
            return
        from rich import progress

        text = progress.TextColumn("{task.description}", markup=False)
        with self._bar(progress.SpinnerColumn(), text, progress.TimeElapsedColumn()) as bar:
            task = bar.add_task(description, total=None)
            yield lambda step: bar.update(task, description=f"{description}: {step}")

    def _bar(self, *columns: ProgressColumn) -> RichProgress:
        from rich.progress import Progress as RichProgress

        return RichProgress(
            *columns,
            console=self._live,
            transient=True,
            redirect_stdout=False,  # it would send results that are piped elsewhere to the terminal
            redirect_stderr=False,
        )

    def _heartbeat(self, told: Progress) -> contextlib.AbstractContextManager[None]:
        stream = sys.stderr  # of now: the body may redirect it
        return heartbeat(told.describe, lambda line: print(f"qwen3-rerank: {line}", file=stream, flush=True))

    def note(self, message: str) -> None:
        """Tell a fact that changes how the results are to be read."""
        line = f"qwen3-rerank: {message}"
        if self.watched:
            self._live.print(line, markup=False, soft_wrap=True)
        else:
            typer.echo(line, err=True)


def complain(message: str) -> None:
    """Report an error in exactly one line."""
    typer.echo(f"qwen3-rerank: {' '.join(message.split())}", err=True)


def show_record(record: Record, screen: Screen, *, as_json: bool) -> None:
    """One line of strict JSON in ASCII, or what a person wants to see of it."""
    if as_json:
        typer.echo(json.dumps(record, allow_nan=False))
        return
    for grid in grids_of(record):
        screen.show(as_table(grid))
    screen.show(Text(describe(record), "dim"))
