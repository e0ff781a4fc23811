"""`qwen3-rerank doctor`: report what would run on this machine and why, and whether it works."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.cli.commands.bench import ShapeChoice
from qwen3_rerank_plugins.cli.options import ENGINE, EngineOptions, engine_options, in_output

if TYPE_CHECKING:
    from rich.table import Table

    from qwen3_rerank_plugins.cli.checks import Finding

_PROMPT_LENGTH = 512
"""In tokens: enough for the sanity pair, and within the positions of any fine-tuned model."""


@engine_options(ENGINE, omit=("compile", "local_files_only"))
def doctor(
    check: Annotated[
        bool,
        typer.Option("--check", help="Check kernels, dtypes and memory of this device instead, with random weights."),
    ] = False,
    shape: Annotated[
        ShapeChoice | None,
        typer.Option(help="With --check: published shape to check too, if it fits.", show_default="small shapes only"),
    ] = None,
    out: Annotated[Path | None, in_output(help="With --check: file for the JSON record.")] = None,
    as_json: options.Json = False,
    *,
    engine: EngineOptions,
) -> None:
    """Check this machine for a model, without network access."""
    if check:
        from qwen3_rerank_plugins.cli.device_check import check_device

        if not check_device(engine, shape, out, as_json=as_json):
            raise typer.Exit(1)
        return
    if shape or out:
        raise typer.BadParameter("--shape and --out need --check.")
    from qwen3_rerank_plugins.cli.output import Screen

    screen = Screen(results_for_programs=as_json)
    reranker = engine.reranker(max_length=_PROMPT_LENGTH, local_files_only=True)
    with screen.waiting(f"Examining this machine for {engine.model}"):
        from qwen3_rerank_plugins.cli.checks import Checkup

        findings = Checkup(reranker).run()
    failed = [finding.name for finding in findings if finding.passed is False]
    if as_json:
        shown = [dataclasses.asdict(finding) for finding in findings]
        typer.echo(json.dumps({"passed": not failed, "failed": failed, "findings": shown}))
    else:
        screen.show(_as_table(engine.model, findings))
        screen.show(f"[red]Not well:[/] {', '.join(failed)}." if failed else "[green]All is well.[/]")
    if failed:
        raise typer.Exit(1)


def _as_table(model: str, findings: Sequence[Finding]) -> Table:
    """Return one row per finding, with a gap between sections."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    marks = {True: Text("✓", "bold green"), False: Text("✗", "bold red"), None: Text("·", "dim")}
    table = Table(
        title=Text(model, "bold cyan"),
        title_justify="left",
        box=box.SIMPLE,
        show_header=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for style in ("dim", "", "", "bold"):
        table.add_column(style=style, no_wrap=True)
    table.add_column(ratio=1, style="dim")
    for section, findings_there in itertools.groupby(findings, key=lambda finding: finding.section):
        heading = section
        for finding in findings_there:
            note = Text(finding.note, "not dim red" if finding.passed is False else "")
            table.add_row(heading, marks[finding.passed], finding.name, Text(finding.shown), note)
            heading = ""
        table.add_section()
    return table
