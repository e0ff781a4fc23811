"""Freed memory goes back to the system, also when an engine is closed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries keep nothing, or all of it"
)

_PROLOGUE = """
import threading
import psutil
from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.memory import trim_malloc

def resident():
    return psutil.Process().memory_info().rss // 2**20

def allocate_and_free(kept):
    blocks = [b"x" * 65_000 for _ in range(3_000)]  # small enough to come from the heap of this thread
    kept.append(b"y" * 65_000)  # above all of them, so that the heap does not shrink by itself
    del blocks

def waste():
    kept = []
    thread = threading.Thread(target=allocate_and_free, args=[kept])
    thread.start()
    thread.join()
    return kept
"""


def megabytes(program: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", _PROLOGUE + program], capture_output=True, text=True, timeout=300, check=True
    )
    return list(map(int, done.stdout.split()))


def test_what_a_thread_has_freed_goes_back_to_the_system() -> None:
    before, wasted, after = megabytes("""
print(resident())
kept = waste()
print(resident())
trim_malloc()
print(resident())
""")
    assert wasted > before + 150, "this C library kept nothing"
    assert after < before + 50


def test_closing_an_engine_gives_back_what_was_freed() -> None:
    wasted, after = megabytes("""
reranker = Qwen3Reranker("demo")
reranker.rank("a question", ["a text"])
kept = waste()
print(resident())
reranker.close()
print(resident())
""")
    assert after < wasted - 150


def test_callers_who_go_on_keep_nothing_of_tokenizers_that_are_gone() -> None:
    """A tokenizer of its own would remember words for every thread, and not forget them with itself."""
    grown = megabytes("""
import random
from concurrent.futures import ThreadPoolExecutor
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder

dice = random.Random(1)
texts = [" ".join("".join(dice.choices("abcdefghij", k=9)) for _ in range(400)) for _ in range(64)]
prompts = [build_prompt(make_request(text, texts[:4], None, 8192)) for text in texts]

def encode_all(pool):
    encoder = PromptEncoder(DEMO_FOLDER / "tokenizer.json")
    list(pool.map(lambda prompt: encoder.encode(prompt, 8192), prompts * 4))

with ThreadPoolExecutor(8) as pool:
    encode_all(pool)
    trim_malloc()
    before = resident()
    for _ in range(6):
        encode_all(pool)
    trim_malloc()
    print(resident() - before)
""")
    assert grown[0] < 30
