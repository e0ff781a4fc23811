"""Build the wheel, install it without extras into an empty environment, and rank with the bundled checkpoint there.

What people install is tested here, not the working tree: missing package data, a missing dependency or an import of an
optional one shows up nowhere else.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

RANK = """
import importlib, importlib.util
from pathlib import Path
import qwen3_rerank_plugins, qwen3_rerank_plugins.golden
assert "site-packages" in Path(qwen3_rerank_plugins.__file__).parts
for optional in ("langchain_core", "llama_index", "sentence_transformers", "pytest"):
    assert importlib.util.find_spec(optional) is None, f"{optional} is here, but no extra was asked for"
for leaf in ("langchain", "llama_index", "embedding", "evaluation", "cli"):
    try:
        importlib.import_module(f"qwen3_rerank_plugins.{leaf}")
    except ImportError as error:
        assert "pip install 'qwen3-rerank-plugins[" in str(error), error
    else:  # typer and rich may come along with huggingface-hub
        assert leaf == "cli", f"{leaf} imported without its host"
with qwen3_rerank_plugins.Qwen3Reranker("demo") as reranker:
    best = reranker.rank(
        "What is the capital of China?",
        ["Gravity pulls bodies towards each other.", "The capital of China is Beijing."],
    )[0]
    verdicts = qwen3_rerank_plugins.golden.verify(reranker)
assert best.index == 1, best
assert all(verdict.passed for verdict in verdicts), verdicts
print(f"ranked from {qwen3_rerank_plugins.__version__}: {best.text} ({best.score:.3f})")
"""


def main() -> None:
    """Exit with the status of the first step that fails."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
        (wheel,) = folder.glob("*.whl")
        check_contents(wheel)
        venv.create(folder / "empty", with_pip=True)
        python = folder / "empty" / "bin" / "python"
        constraints = str(ROOT / "constraints.txt")
        run(str(python), "-m", "pip", "install", "--quiet", "--constraint", constraints, str(wheel))
        run(str(python), "-c", RANK, cwd=folder)


def check_contents(wheel: Path) -> None:
    """The bundled checkpoint, the golden scores and the typing marker are in; tests and scripts are not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    package = "qwen3_rerank_plugins"
    demo = ("demo_checkpoint/model.safetensors", "demo_checkpoint/tokenizer.json")
    for needed in ("py.typed", "corpus.jsonl", *demo, "golden/published.json", "golden/demo.json"):
        assert f"{package}/{needed}" in names, f"{needed} is missing from the wheel"
    strangers = {name.split("/")[0] for name in names} - {package}
    assert all(name.endswith(".dist-info") for name in strangers), strangers
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 2**20:.1f} MiB")


def run(*command: str, cwd: Path = ROOT) -> None:
    """Run a step; its output goes to ours."""
    subprocess.run(command, check=True, cwd=cwd)


if __name__ == "__main__":
    main()
