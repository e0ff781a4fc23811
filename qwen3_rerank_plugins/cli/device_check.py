"""`doctor --check`: one line per check as it is done, and the record."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import typer

from qwen3_rerank_plugins.cli.options import EngineOptions
from qwen3_rerank_plugins.cli.output import Screen
from qwen3_rerank_plugins.device_check.check import Check
from qwen3_rerank_plugins.device_check.run import DeviceCheck, ShapeName, run_checks

_USED = ("device", "devices", "dtype")


def check_device(engine: EngineOptions, shape: ShapeName | None, out: Path | None, *, as_json: bool) -> bool:
    """Check the device, print the results, and return whether every check passed.

    Args:
        engine: the options of the command; only the device, the devices and the dtype have an effect.
        shape: a published shape to check too, if it fits.
        out: file for the record; None writes none.
        as_json: print the record on stdout and the lines on stderr.
    """
    for field in dataclasses.fields(engine):
        if field.name not in _USED and getattr(engine, field.name) != field.default:
            raise typer.BadParameter(
                f"--{field.name.replace('_', '-')} has no effect with --check, whose models have random weights."
            )
    if engine.devices and engine.device != "auto":
        raise typer.BadParameter("--device and --devices contradict each other.")
    screen = Screen(results_for_programs=as_json)

    def show(check: Check) -> None:
        typer.echo(check.line(), err=as_json)

    asked = DeviceCheck(device=engine.device, devices=engine.devices, dtype=engine.dtype, shape=shape)
    with screen.waiting("Checking the device"):
        record = run_checks(asked, show)
    if out is not None:
        from qwen3_rerank_plugins._records.record import write_record

        write_record(out, record)
    passed: bool = record["results"]["passed"]
    if as_json:
        typer.echo(json.dumps(record, allow_nan=False))
    else:
        failed = sum(check["passed"] is False for check in record["results"]["checks"])
        screen.show("[green]Every check passed.[/]" if passed else f"[red]Checks that failed: {failed}.[/]")
    return passed
