"""Importing the folder loads no optional library; tests/test_extras.py covers missing extras."""

from __future__ import annotations

import subprocess
import sys


def test_the_import_loads_neither_mteb_nor_matplotlib() -> None:
    program = "import sys, qwen3_rerank_plugins.evaluation; print({'mteb', 'matplotlib', 'datasets'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
