"""What a user may pass satisfies the type checker of the user, in strict mode."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.optional import need

need("mypy")
need("langchain_core")
need("llama_index.core")

ROOT = Path(__file__).parents[2]
USE = """
from pathlib import Path

import torch

from qwen3_rerank_plugins import Qwen3Reranker, RankedDocument, RerankError, close_all
from qwen3_rerank_plugins.langchain import Qwen3CrossEncoder, Qwen3Embeddings, Qwen3Rerank
from qwen3_rerank_plugins.llama_index import Qwen3Embedding
from qwen3_rerank_plugins.llama_index import Qwen3Rerank as Postprocessor

Qwen3Rerank(model="demo", devices=["cpu"], api_key="k", token="t", instruction=lambda query: query, threads=2)
Qwen3Rerank(model=Path("folder"), device=torch.device("cpu"), cache_dir=Path("cache"), max_length=None, top_n=None)
Postprocessor(model="demo", devices=["cpu"], api_key="k", token="t", top_n=3)
Qwen3CrossEncoder(model=Path("folder"), devices=("cpu", "cpu"), token="t")
Qwen3Embeddings(model=Path("folder"), token="t", device="cpu")
Qwen3Embedding(model="folder", token="t")
reranker = Qwen3Reranker("demo", devices=["cpu"], token="t", api_key="k", cache_dir=Path("cache"))
found: list[RankedDocument] = reranker.rank("q", ["a", {"text": "b"}], top_n=None)
scores: list[float] = reranker.score([("q", "a")])
close_all()
"""


def check(source: str, tmp_path: Path) -> str:
    """What mypy prints."""
    (tmp_path / "use.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    done = subprocess.run(
        [*command, "--cache-dir", str(ROOT / ".mypy_cache"), str(tmp_path / "use.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_strict_type_checkers_take_what_the_documentation_passes_and_nothing_else(tmp_path: Path) -> None:
    printed = check(USE + 'Qwen3Rerank(model="demo", devices=3)\n', tmp_path)
    errors = [line for line in printed.splitlines() if ": error:" in line]
    assert len(errors) == 1, printed
    assert 'Argument "devices" to "Qwen3Rerank" has incompatible type "int"' in errors[0]
