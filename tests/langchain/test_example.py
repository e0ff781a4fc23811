"""The example program runs as a user runs it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qwen3_rerank_plugins import Qwen3Reranker

PROGRAM = Path(__file__).parents[2] / "examples" / "langchain_rag.py"


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def passages() -> dict[str, str]:
    specification = importlib.util.spec_from_file_location("langchain_rag", PROGRAM)
    program = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(program)
    return program.PASSAGES


def titles(listing: str) -> list[str]:
    return re.findall(r"^  \d+\. (\w+) ", listing, re.MULTILINE)


@pytest.mark.parametrize("question", ["Why are leaves green?", "How long is the thread of a cocoon of silk?"])
def test_the_program_shows_what_the_reranker_makes_of_what_was_retrieved(question: str) -> None:
    printed = run(str(PROGRAM), "--question", question)
    assert printed.startswith("Reranked by demo (bundled, for wiring only")
    assert f"Question: {question}" in printed
    before, after = map(titles, printed.split("After:"))
    texts = [passages()[title] for title in before]
    ranked = Qwen3Reranker("demo").rank(question, texts, top_n=3)
    assert (len(before), len(after)) == (8, 3)
    assert after == [before[document.index] for document in ranked]
    assert re.findall(r"was number (\d+)", printed) == [str(document.index + 1) for document in ranked]
    assert printed.rstrip().endswith(f"Answer: {ranked[0].text}")


def test_the_program_needs_nothing_of_langchain_but_its_core() -> None:
    blocked = "; ".join(
        f"sys.modules[{name!r}] = None" for name in ("langchain_classic", "langchain_community", "langchain_qdrant")
    )
    assert "Answer:" in run(
        "-c", f"import runpy, sys; {blocked}; sys.argv = ['x']; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    )
