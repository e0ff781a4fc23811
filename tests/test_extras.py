"""Optional dependencies: each that is missing is one clear ImportError with the command that installs it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from qwen3_rerank_plugins.errors import MissingExtraError
from tests.optional import PARTIAL, REQUIRED, need

pytestmark = pytest.mark.slow

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

GPU = "import torch; torch.cuda.get_device_capability = lambda *_: (9, 0); cuda = torch.device('cuda')"
"""Modes that only a recent GPU has; nothing is run on it."""
WITHOUT = {
    ("langchain", "langchain-core", "langchain_core"): "import qwen3_rerank_plugins.langchain",
    ("llama-index", "llama-index-core", "llama_index.core"): "import qwen3_rerank_plugins.llama_index",
    ("embeddings", "sentence-transformers", "sentence_transformers"): (
        "from qwen3_rerank_plugins.langchain import Qwen3Embeddings"
    ),
    ("quantization", "bitsandbytes", "bitsandbytes"): (
        "from qwen3_rerank_plugins import Qwen3Reranker\n"
        "Qwen3Reranker('demo', device='cpu', quantization='int8').rank('q', ['d'])"
    ),
    ("fp8", "torchao", "torchao"): (
        f"{GPU}\nfrom qwen3_rerank_plugins.engine.loading.quantization import choose_quantization\n"
        "choose_quantization('fp8', cuda, torch.bfloat16)"
    ),
    ("lora", "peft", "peft"): (
        "from qwen3_rerank_plugins.engine.loading.lora_merge import merge_adapter\nmerge_adapter(None, None)"
    ),
    ("compressed", "compressed-tensors", "compressed_tensors"): (
        "import torch\nfrom qwen3_rerank_plugins.engine.settings import EngineSettings\n"
        "from qwen3_rerank_plugins.engine.checkpoints.quantization_config import CheckpointQuantization\n"
        "from qwen3_rerank_plugins.engine.loading.dequantize import choose_checkpoint_quantization\n"
        "stored = CheckpointQuantization('compressed-tensors', None)\n"
        "choose_checkpoint_quantization(EngineSettings(), stored, torch.device('cpu'), torch.float32)"
    ),
    ("flash", "flash-attn", "flash_attn"): (
        f"{GPU}\nfrom qwen3_rerank_plugins.engine.model.attention import choose_attention\n"
        "choose_attention('flash_attn', cuda, torch.bfloat16)"
    ),
    ("fa3", "fa3-fwd", "fa3_fwd_interface"): (
        f"{GPU}\nfrom qwen3_rerank_plugins.engine.model.attention import choose_attention\n"
        "choose_attention('fa3', cuda, torch.bfloat16)"
    ),
    ("fa4", "flash-attn-4", "flash_attn.cute"): (
        f"{GPU}\nfrom qwen3_rerank_plugins.engine.model.attention import choose_attention\n"
        "choose_attention('fa4', cuda, torch.bfloat16)"
    ),
    ("ray", "ray", "ray"): "import qwen3_rerank_plugins.ray",
    ("ray", "pyarrow", "pyarrow"): "import qwen3_rerank_plugins.ray",
    ("bench", "matplotlib", "matplotlib"): "import qwen3_rerank_plugins.bench.picture",
    ("eval", "pytrec_eval-terrier", "pytrec_eval"): "import qwen3_rerank_plugins.evaluation",
    ("eval", "scikit-learn", "sklearn"): "import qwen3_rerank_plugins.evaluation",
    ("eval", "matplotlib", "matplotlib"): "import qwen3_rerank_plugins.evaluation.picture",
    ("serve", "fastapi", "fastapi"): "import qwen3_rerank_plugins.serve",
    ("serve", "uvicorn", "uvicorn"): "import qwen3_rerank_plugins.serve",
    ("serve", "prometheus-client", "prometheus_client"): "import qwen3_rerank_plugins.serve",
    ("remote", "httpx", "httpx"): (
        "from qwen3_rerank_plugins import Qwen3Reranker\n"
        "Qwen3Reranker('m', remote='http://localhost:1', template='client')"
    ),
    ("remote", "tenacity", "tenacity"): "from qwen3_rerank_plugins.remote import RemoteScorer",
    ("mteb", "mteb", "mteb"): "from qwen3_rerank_plugins.evaluation import mteb_model\nmteb_model('demo')",
}
"""(extra, distribution, module) -> the first thing that needs it."""
BEFORE = {
    ("embeddings", "sentence-transformers"): ["langchain_core"],
    ("eval", "scikit-learn"): ["pytrec_eval"],
    ("eval", "matplotlib"): ["pytrec_eval", "sklearn"],
    ("mteb", "mteb"): ["pytrec_eval", "sklearn"],
    ("ray", "pyarrow"): ["ray"],
    ("remote", "tenacity"): ["httpx"],
    ("serve", "uvicorn"): ["fastapi"],
    ("serve", "prometheus-client"): ["fastapi", "uvicorn"],
}
"""What is missed first where it is not there either, as without any extra."""


ABSENT = """
import importlib.machinery, sys

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = any(f"{{name}}.".startswith(f"{{module}}.") for module in {modules!r})
        return None if absent else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if one is importlib.machinery.PathFinder else one for one in sys.meta_path]
"""


def python_without(module: str, program: str) -> subprocess.CompletedProcess[str]:
    """A program in an interpreter that cannot find a module, whether it is installed or not."""
    command = [sys.executable, "-c", ABSENT.format(modules=(module,)) + program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("extra", "package", "module"), WITHOUT, ids=[f"{extra}-{package}" for extra, package, _ in WITHOUT]
)
def test_without_an_extra_its_part_is_one_import_error_with_the_command(extra: str, package: str, module: str) -> None:
    for earlier in BEFORE.get((extra, package), []):
        need(earlier)
    done = python_without(module, WITHOUT[extra, package, module])
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"qwen3_rerank_plugins.errors.MissingExtraError: {package} is not installed. "
        f"Install it with: pip install 'qwen3-rerank-plugins[{extra}]'"
    )
    assert issubclass(MissingExtraError, ImportError)


def test_without_the_extra_ray_it_is_ray_that_is_named_and_not_what_comes_with_it() -> None:
    program = ABSENT.format(modules=("ray", "pyarrow")) + "import qwen3_rerank_plugins.ray"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert str(MissingExtraError("ray", "ray")) in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_without_the_extra_cli_the_command_is_one_line_with_the_command(module: str) -> None:
    done = python_without(module, "from qwen3_rerank_plugins.cli import main; main()")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"qwen3-rerank: {module} is not installed. Install it with: pip install 'qwen3-rerank-plugins[cli]'\n"
    )


def test_every_extra_is_missed_here() -> None:
    extras = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {extra for extra, *_ in WITHOUT} | {"cli", "examples", "all"} == set(extras)


def test_every_dependency_has_one_floor_that_is_pinned_where_the_lowest_are_tested() -> None:
    need("packaging")
    from packaging.requirements import Requirement
    from write_floors import floors

    pins = list(
        floors(iter([Requirement("a>=2"), Requirement("b>=1,<2"), Requirement("a>=1.10"), Requirement("torch")]))
    )
    assert pins == ["a==1.10", "b==1"]
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    listed = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = [pin.partition("==")[0] for pin in floors(map(Requirement, listed))]
    assert len(names) == len(set(names))
    assert {"transformers", "langchain-core", "sentence-transformers"} <= set(names)


COLLECT = "import pytest; sys.exit(pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider']))"
NOT_IN_BARE = (
    *("langchain_core", "langchain_classic", "langchain_community", "langchain_qdrant", "langchain_tests", "rank_bm25"),
    *(
        "llama_index",
        "sentence_transformers",
        "mteb",
        "pytrec_eval",
        "sklearn",
        "matplotlib",
        "bitsandbytes",
        "torchao",
    ),
    *("twine", "build", "hatch_fancy_pypi_readme"),
)


@pytest.mark.slow
def test_the_suite_can_be_collected_without_any_extra() -> None:
    """Or `make test-bare` ends before its first test, and only who runs it would know."""
    done = subprocess.run(
        [sys.executable, "-c", ABSENT.format(modules=NOT_IN_BARE) + COLLECT],
        cwd=PYPROJECT.parent,
        env={**os.environ, PARTIAL: "bare"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("path", REQUIRED)
def test_what_a_partial_environment_leaves_out_exists(path: str) -> None:
    assert (Path(__file__).parent / path).exists()
