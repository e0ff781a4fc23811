"""The door brings nothing heavier than it needs; tests/test_extras.py says what it does where its extra is missing."""

from __future__ import annotations

import subprocess
import sys


def test_the_door_loads_neither_mteb_nor_matplotlib() -> None:
    program = "import sys, qwen3_rerank_plugins.evaluation; print({'mteb', 'matplotlib', 'datasets'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
