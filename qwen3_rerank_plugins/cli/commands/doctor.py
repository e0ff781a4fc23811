"""`qwen3-rerank doctor`: what would run here, why, and whether it works."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.engine.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from rich.table import Table

    from qwen3_rerank_plugins.cli.checks import Finding

_PROMPT_LENGTH = 512
"""Enough for the sanity pair, and within the positions of any fine-tune."""


def doctor(
    as_json: options.Json = False,
    model: options.Model = DEFAULT_MODEL,
    revision: options.Revision = None,
    device: options.Device = "auto",
    devices: options.Devices = None,
    device_map: options.DeviceMap = None,
    dtype: options.Dtype = "auto",
    attention: options.Attention = "auto",
    quantization: options.Quantization = None,
    max_batch_tokens: options.MaxBatchTokens = "auto",
    threads: options.Threads = "auto",
    cache_dir: options.CacheDir = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Check this machine for a model, without touching the network."""
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.reranker import Qwen3Reranker

    screen = Screen(results_for_programs=as_json)
    reranker = Qwen3Reranker(
        model,
        revision=revision,
        device=device,
        devices=devices,
        device_map=device_map,
        dtype=dtype,
        attention=attention,
        quantization=quantization,
        max_length=_PROMPT_LENGTH,
        max_batch_tokens=max_batch_tokens,
        threads=threads,
        cache_dir=cache_dir,
        local_files_only=True,
        trust_remote_code=trust_remote_code,
    )
    with screen.waiting(f"Examining this machine for {model}"):
        from qwen3_rerank_plugins.cli.checks import Checkup

        findings = Checkup(reranker).run()
    failed = [finding.name for finding in findings if finding.passed is False]
    if as_json:
        typer.echo(json.dumps(_as_object(findings, failed)))
    else:
        screen.show(_as_table(model, findings))
        verdict = f"[red]Not well:[/] {', '.join(failed)}." if failed else "[green]All is well.[/]"
        screen.show(verdict)
    if failed:
        raise typer.Exit(1)


def _as_object(findings: Sequence[Finding], failed: Sequence[str]) -> dict[str, Any]:
    return {"passed": not failed, "failed": failed, "findings": [dataclasses.asdict(finding) for finding in findings]}


def _as_table(model: str, findings: Sequence[Finding]) -> Table:
    """One row a finding, the sections apart."""
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
