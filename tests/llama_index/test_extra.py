"""Importing the adapter: light with LlamaIndex, one clear error without it."""

from __future__ import annotations

import subprocess
import sys


def python(*lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )


def test_importing_the_adapter_loads_no_torch() -> None:
    done = python(
        "import sys, qwen3_rerank_plugins.llama_index as it", "it.Qwen3Rerank()", "assert 'torch' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr


def test_without_llama_index_there_is_one_error_with_the_command_that_helps() -> None:
    for missing in ("llama_index", "llama_index.core"):
        done = python(f"import sys; sys.modules[{missing!r}] = None", "import qwen3_rerank_plugins.llama_index")
        assert done.returncode == 1
        assert "MissingExtraError: llama-index-core is not installed" in done.stderr.splitlines()[-1]
        assert "pip install 'qwen3-rerank-plugins[llama-index]'" in done.stderr.splitlines()[-1]


def test_a_broken_llama_index_is_not_called_a_missing_one() -> None:
    done = python("import sys; sys.modules['dataclasses_json'] = None", "import qwen3_rerank_plugins.llama_index")
    assert done.returncode == 1
    assert "dataclasses_json" in done.stderr.splitlines()[-1]
    assert "MissingExtraError" not in done.stderr
