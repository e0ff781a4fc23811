"""The example program runs as a user runs it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from qwen3_rerank_plugins import Qwen3Reranker

PROGRAM = Path(__file__).parents[2] / "examples" / "llama_index_rag.py"


def passages() -> dict[str, str]:
    specification = importlib.util.spec_from_file_location("llama_index_rag", PROGRAM)
    program = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(program)
    return program.PASSAGES


def titles(listing: str) -> list[str]:
    return re.findall(r"^  \d+\. [\d.]+  (.+?)  ", listing, re.MULTILINE)


def test_the_program_shows_what_the_reranker_makes_of_what_was_retrieved() -> None:
    question = "What is in a sourdough starter?"
    done = subprocess.run(
        [sys.executable, "-W", "error", PROGRAM, "--question", question],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Reranked by demo (bundled, for wiring only")
    assert f"Question: {question}" in done.stdout
    before, after = map(titles, done.stdout.split("After:"))
    assert (len(before), len(after)) == (8, 3)
    assert after != before[:3]
    texts = [f"title: {title}\n\n{passages()[title]}" for title in before]
    assert after == [before[one.index] for one in Qwen3Reranker("demo").rank(question, texts, top_n=3)]
