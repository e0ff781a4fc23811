"""Importing the adapter: light with langchain-core, one clear error without it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_langchain_core_the_one_error_names_the_pip_command() -> None:
    ran = python("import sys; sys.modules['langchain_core'] = None; import qwen3_rerank_plugins.langchain")
    assert ran.stderr.splitlines()[-1] == (
        "qwen3_rerank_plugins.errors.MissingExtraError: langchain-core is not installed. "
        "Install it with: pip install 'qwen3-rerank-plugins[langchain]'"
    )


def test_what_an_installed_langchain_core_misses_itself_is_not_reported_as_langchain_core() -> None:
    ran = python("import sys; sys.modules['langchain_core._api'] = None; import qwen3_rerank_plugins.langchain")
    assert "MissingExtraError" not in ran.stderr
    assert "langchain_core._api" in ran.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "unneeded", ["torch", "transformers", "langchain_classic", "langchain_community", "llama_index"]
)
def test_making_a_compressor_and_giving_it_nothing_to_do_does_not_import(unneeded: str) -> None:
    ran = python(
        "import sys; from qwen3_rerank_plugins.langchain import Qwen3Rerank\n"
        "assert Qwen3Rerank().compress_documents([], 'query') == []\n"
        f"sys.exit({unneeded!r} in sys.modules)"
    )
    assert ran.returncode == 0, ran.stderr
