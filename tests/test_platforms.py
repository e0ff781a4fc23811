"""What the package needs of a system: nothing that Windows or macOS lack."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_UNIX = """
import os, sys
import torch, transformers, langchain_core.documents, llama_index.core.schema, psutil, anyio, typer, httpx  # not ours
for name in ("register_at_fork", "fork", "forkpty", "geteuid", "getuid", "getgid", "getegid", "getpgid", "setsid",
             "killpg", "getloadavg", "sched_getaffinity", "sysconf", "mkfifo", "chown", "uname", "wait4", "waitpid"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("fcntl", "resource", "termios", "pwd", "grp", "pty", "tty"):
    sys.modules[name] = None
import pkgutil, importlib
import qwen3_rerank_plugins
for module in pkgutil.walk_packages(qwen3_rerank_plugins.__path__, "qwen3_rerank_plugins."):
    part = module.name.split(".")[1]
    if part not in ("ray", "embedding", "serve") and not module.name.endswith("triton_programs"):
        importlib.import_module(module.name)
from langchain_core.documents import Document
from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.files import _user
from qwen3_rerank_plugins.langchain import Qwen3Rerank
texts = ["Bananas are yellow.", "Paris is the capital of France."]
best = Qwen3Reranker("demo", device="cpu").rank("capital of France", texts)
assert best[0].index == 1, best
adapter = Qwen3Rerank(model="demo", device="cpu", top_n=1)
assert adapter.compress_documents([Document(page_content=texts[1])], "capital of France")
print(_user())
"""


def test_everything_imports_and_ranks_without_what_only_unix_has() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
