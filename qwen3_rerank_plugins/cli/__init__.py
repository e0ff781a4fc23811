"""The command line's door: starts `qwen3-rerank`, or says in one line how to install what it needs."""

from __future__ import annotations

import io
import os
import sys
import warnings

from qwen3_rerank_plugins.errors import MissingExtraError

_INTERRUPTED = 130


def main() -> None:
    """Run the command of this process's arguments, and exit with its code."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # a person at the prompt can do nothing about a library's warnings
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no ▲ gets a ?, not a traceback
    code: object = 0
    try:
        _load_and_run()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except SystemExit as leaving:
        code = leaving.code
    if code == _INTERRUPTED:
        os._exit(_INTERRUPTED)  # at once: a normal exit would wait for the pass that is running, minutes on a CPU
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
