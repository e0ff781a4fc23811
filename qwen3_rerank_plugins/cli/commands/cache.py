"""`qwen3-rerank cache`: what is in a file of cached scores, and how to empty it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from qwen3_rerank_plugins.cli import options


def cache(
    action: Annotated[
        Literal["info", "clear"],
        typer.Argument(metavar="ACTION", help="info shows how full the file is; clear deletes its scores."),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file that --cache named.")],
    as_json: options.Json = False,
) -> None:
    """Show what is in a file of cached scores, or empty it; other processes may go on using it."""
    import dataclasses
    import json

    from qwen3_rerank_plugins._plurals import agreeing, counted
    from qwen3_rerank_plugins.engine.score_cache import inspection

    if action == "info":
        info = inspection.read_info(file)
        found = dataclasses.asdict(info)
        line = f"{counted(info.scores, 'score')} in {info.bytes:,} bytes."
    else:
        cleared = inspection.clear(file)
        found = {"cleared": cleared}
        line = f"{counted(cleared, 'score')} {agreeing(cleared, 'was')} deleted."
    typer.echo(json.dumps(found) if as_json else line)
