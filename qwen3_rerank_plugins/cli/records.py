"""The record of an evaluation or a calibration -> its tables and circumstances on a screen, or its JSON.

Comes in: a record. Goes out: output.
Must not know: how anything was measured.
"""

from __future__ import annotations

import json

import typer
from rich.text import Text

from qwen3_rerank_plugins.bench.report import Record, as_table, describe
from qwen3_rerank_plugins.cli.screen import Screen
from qwen3_rerank_plugins.evaluation.report import grids_of


def show_record(record: Record, screen: Screen, *, as_json: bool) -> None:
    """One line of strict JSON in ASCII, or what a person wants to see of it."""
    if as_json:
        typer.echo(json.dumps(record, allow_nan=False))
        return
    for grid in grids_of(record):
        screen.show(as_table(grid))
    screen.show(Text(describe(record), "dim"))
