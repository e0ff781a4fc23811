"""Entry point of `qwen3-rerank`; if typer or rich is missing, it prints one line that says how to install them."""

from __future__ import annotations

import io
import os
import sys
import warnings

from qwen3_rerank_plugins.errors import MissingExtraError

_INTERRUPTED = 130


def main() -> None:
    """Run the command that this process's arguments name, and exit with its code."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # users cannot act on warnings from libraries
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ▲ shows a ?, not a traceback
    code: object = 0
    try:
        _load_and_run()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except SystemExit as exiting:
        code = exiting.code
    if code == _INTERRUPTED:
        os._exit(_INTERRUPTED)  # a normal exit would wait for the running batch: minutes on a CPU
    sys.exit(code)  # type: ignore[arg-type]


def _load_and_run() -> None:
    try:
        from qwen3_rerank_plugins.cli.app import app
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("typer", "rich"):
            raise
        sys.stderr.write(f"qwen3-rerank: {MissingExtraError(missing, 'cli')}\n")
        sys.exit(2)
    app()
