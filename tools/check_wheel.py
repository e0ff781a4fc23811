"""Build both distributions into dist/, check them, and use the wheel in an empty environment.

First rank with the bundled checkpoint without any extra. Then run each example with the extras that it names. Only this
test finds missing package data, a missing dependency, or an import of an optional one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

RANK = """
import importlib, importlib.util
from pathlib import Path
import qwen3_rerank_plugins, qwen3_rerank_plugins.verify
assert "site-packages" in Path(qwen3_rerank_plugins.__file__).parts
for optional in ("langchain_core", "llama_index", "sentence_transformers", "pytest"):
    assert importlib.util.find_spec(optional) is None, f"{optional} is here, but no extra was asked for"
for leaf in ("langchain", "llama_index", "embedding", "evaluation", "ray", "serve", "cli"):
    try:
        importlib.import_module(f"qwen3_rerank_plugins.{leaf}")
    except ImportError as error:
        assert "pip install 'qwen3-rerank-plugins[" in str(error), error
    else:  # huggingface-hub may install typer and rich
        assert leaf == "cli", f"{leaf} imported without its framework"
assert importlib.util.find_spec("benchmarks") is None
importlib.import_module("qwen3_rerank_plugins.bench.studies")
with qwen3_rerank_plugins.Qwen3Reranker("demo") as reranker:
    best = reranker.rank(
        "What is the capital of China?",
        ["Gravity pulls bodies towards each other.", "The capital of China is Beijing."],
    )[0]
    verdicts = qwen3_rerank_plugins.verify.verify(reranker)
assert best.index == 1, best
assert all(verdict.passed for verdict in verdicts), verdicts
print(f"ranked from {qwen3_rerank_plugins.__version__}: {best.text} ({best.score:.3f})")
"""


def main() -> None:
    """Run all steps; the first that fails ends the run."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT))
    # checks the list of files, runs twine's check, and runs the examples with the packages of this environment
    run(sys.executable, "-m", "pytest", "-q", "tests/guards/test_distributions.py", QWEN3_RERANK_TEST_DIST=str(DIST))
    (wheel,) = DIST.glob("*.whl")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)  # nothing of the repository can be imported from here
        venv.create(folder / "empty", with_pip=True)
        python = str(folder / "empty" / "bin" / "python")
        install(python, str(wheel))
        run(python, "-c", RANK, cwd=folder)
        for example in EXAMPLES:
            install(python, f"{wheel}[{extras_of(example)}]")
            run(python, str(example), cwd=folder)


def install(python: str, what: str) -> None:
    """Install with pip, at the versions of the development environment."""
    run(python, "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), what)


def extras_of(example: Path) -> str:
    """Return the extras in the install command of an example."""
    asked = re.search(r"pip install 'qwen3-rerank-plugins\[([\w,-]+)\]'", example.read_text(encoding="utf-8"))
    if not asked:
        raise SystemExit(f"{example.name} has no install command with its extras")
    return asked[1]


def run(*command: str, cwd: Path = ROOT, **environment: str) -> None:
    """Run a step with our output. PYTHONPATH is not passed on."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, cwd=cwd, env={**inherited, **environment})


if __name__ == "__main__":
    main()
