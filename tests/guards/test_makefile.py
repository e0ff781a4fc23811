"""`make help`, which plain `make` runs too, lists every target that a contributor calls."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import SLOWEST
from tests.pages import ROOT, read


@pytest.mark.skipif(sys.platform == "win32", reason="the Makefile needs a POSIX shell")
@pytest.mark.parametrize("arguments", [[], ["help"]], ids=["make", "make help"])
def test_every_phony_target_has_a_line_in_make_help(arguments: list[str]) -> None:
    phony = re.findall(r"^\.PHONY: (.*)$", read(ROOT / "Makefile"), re.MULTILINE)
    targets = {target for line in phony for target in line.split()}
    command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = dict(re.findall(r"^make (\S+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert {"demo", "test", "lint"} < set(listed)
    assert set(listed) == targets


def test_the_files_that_are_run_first_are_there() -> None:
    assert len(set(SLOWEST)) == len(SLOWEST)
    assert [name for name in SLOWEST if not (ROOT / "tests" / name).is_file()] == []
    assert "--no-loadscope-reorder" in read(ROOT / "Makefile"), "xdist would order files by their number of tests"
