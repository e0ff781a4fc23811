"""The door: what the extra brings, and nothing heavier than it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("package", "module", "statement"),
    [
        ("pytrec_eval-terrier", "pytrec_eval", "import qwen3_rerank_plugins.evaluation"),
        ("scikit-learn", "sklearn", "import qwen3_rerank_plugins.evaluation"),
        ("matplotlib", "matplotlib", "import qwen3_rerank_plugins.evaluation.picture"),
    ],
)
def test_what_is_missing_is_one_error_with_the_pip_command(package: str, module: str, statement: str) -> None:
    ran = python(ABSENT.format(module=module) + statement)
    assert ran.stderr.splitlines()[-1] == (
        f"qwen3_rerank_plugins.errors.MissingExtraError: {package} is not installed. "
        "Install it with: pip install 'qwen3-rerank-plugins[eval]'"
    )


def test_the_door_loads_neither_mteb_nor_matplotlib() -> None:
    ran = python(
        "import sys, qwen3_rerank_plugins.evaluation; print({'mteb', 'matplotlib', 'datasets'} & {*sys.modules})"
    )
    assert ran.stdout == "set()\n"
