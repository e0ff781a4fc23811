"""Output of the commands: results on stdout; notes, errors and progress on stderr, with bars only on a terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from qwen3_rerank_plugins.cli.heartbeat import Progress, heartbeat

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn

    from qwen3_rerank_plugins._records.record import Grid, Record


class Screen:
    """A command's output streams.

    Args:
        results_for_programs: stdout carries JSON. Bars are then off if both streams go to one terminal.

    Attributes:
        watched: whether bars and spinners are shown.
    """

    def __init__(self, *, results_for_programs: bool = False) -> None:
        self.watched = sys.stderr.isatty() and not (results_for_programs and sys.stdout.isatty())
        self._out = Console(highlight=False)
        # on one terminal, one console must draw both, because two would overwrite each other's output
        self._live = self._out if sys.stdout.isatty() else Console(stderr=True)

    def show(self, result: RenderableType) -> None:
        """Print a result for people."""
        self._out.print(result)

    @contextlib.contextmanager
    def waiting(self, activity: str) -> Iterator[None]:
        """Show a spinner; without a terminal, print a line every ten seconds."""
        if not self.watched:
            with self._heartbeat(Progress(activity, None)):
                yield
            return
        with self._live.status(Text(f"{activity} ...")):
            yield

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None) -> Iterator[Callable[[float], None]]:
        """Show a bar up to `total`, or a pulsing one if that is None. Yield a function that advances it.

        Without a terminal, print the progress every ten seconds.
        """
        if not self.watched:
            reported = Progress(description, total)
            with self._heartbeat(reported):
                yield reported.advance
            return
        from rich import progress

        # description, bar, percentage, time left, time taken
        columns = (*progress.Progress.get_default_columns(), progress.TimeElapsedColumn())
        with self._bar(*columns) as bar:
            task = bar.add_task(description, total=total)
            yield lambda share: bar.advance(task, share)

    @contextlib.contextmanager
    def download(self, description: str) -> Iterator[Callable[[int, int], None]]:
        """Show a bar of bytes. Yield a function that takes the bytes received and the bytes in total."""
        if not self.watched:
            yield lambda received, total: None
            return
        from rich import progress

        text = progress.TextColumn("{task.description}", markup=False)
        columns = (text, progress.BarColumn(), progress.DownloadColumn(), progress.TransferSpeedColumn())
        with self._bar(*columns) as bar:
            task = bar.add_task(description, total=None)
            yield lambda received, total: bar.update(task, completed=received, total=total or None)

    @contextlib.contextmanager
    def steps(self, description: str) -> Iterator[Callable[[str], None]]:
        """Show a spinner with the time and the current step; without a terminal, print them every ten seconds.

        Yield a function that names the current step.
        """
        if not self.watched:
            reported = Progress(description, None)
            with self._heartbeat(reported):
                yield lambda step: setattr(reported, "description", f"{description}: {step}")
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
            redirect_stdout=False,  # it would send piped results to the terminal
            redirect_stderr=False,
        )

    def _heartbeat(self, reported: Progress) -> contextlib.AbstractContextManager[None]:
        stream = sys.stderr  # looked up now, because the body may redirect it
        return heartbeat(reported.describe, lambda line: print(f"qwen3-rerank: {line}", file=stream, flush=True))

    def note(self, message: str) -> None:
        """Print a fact that matters for reading the results."""
        line = f"qwen3-rerank: {message}"
        if self.watched:
            self._live.print(line, markup=False, soft_wrap=True)
        else:
            typer.echo(line, err=True)


def print_error(message: str) -> None:
    """Print an error as exactly one line on stderr."""
    typer.echo(f"qwen3-rerank: {' '.join(message.split())}", err=True)


def show_record(record: Record, screen: Screen, *, as_json: bool) -> None:
    """Print an evaluation record: as one line of strict JSON in ASCII, or as tables."""
    from qwen3_rerank_plugins.evaluation.report import grids_of

    if as_json:
        typer.echo(json.dumps(record, allow_nan=False))
    else:
        show_grids(grids_of(record), record, screen)


def show_grids(grids: Iterable[Grid], record: Record, screen: Screen) -> None:
    """Print the tables of a record, and below them how it was measured."""
    from qwen3_rerank_plugins._records.record import as_table, describe

    for grid in grids:
        screen.show(as_table(grid))
    screen.show(Text(describe(record), "dim"))
