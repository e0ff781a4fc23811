"""The reranking sets that the checkpoint is made from and evaluated on, and their passages and sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins.data.bundled import bundled_tasks

SET_FILES = {
    "xquad_multilingual/en": "sets/xquad_multilingual/en.jsonl",
    "pubmedqa_conclusions": "sets/pubmedqa_conclusions/test.jsonl",
    "noveleval_2306": "sets/noveleval_2306/test.jsonl",
}
TARGETS = {"xquad_multilingual/en": 0.65, "pubmedqa_conclusions": 0.70, "noveleval_2306": 0.45}
ENGLISH_SOURCES = (*SET_FILES.values(), "sets/xquad_crosslingual/x2en.jsonl", "sets/longdoc_xquad_en/test.jsonl")
CONTROL_SPELLING = re.compile(r"<\|\w+\|>|</?(?:think|tool_call|tool_response)>")


def write_bundled_sets(data: Path) -> None:
    """Write the bundled questions and passages in place of every set, for a run that only checks the stages."""
    lines = [
        {
            "query": task.query,
            "candidates": [{"text": one.text, "relevance": one.relevance} for one in task.candidates],
        }
        for task in bundled_tasks()
    ]
    for source in ENGLISH_SOURCES:
        (data / source).parent.mkdir(parents=True, exist_ok=True)
        (data / source).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def passages_in(path: Path) -> list[str]:
    """Return the distinct candidate texts of a set, with long documents cut into paragraphs. Queries are not read."""
    texts = (text for row in read_jsonl(path) for c in row["candidates"] for text in c["text"].split("\n"))
    return [t for t in dict.fromkeys(text.strip() for text in texts) if len(t) > 20 and not CONTROL_SPELLING.search(t)]


def sentences_in(passage: str) -> list[str]:
    return [s for s in re.split(r"(?<=[.!?])\s+(?=[A-Z\"(])", passage) if len(s) > 20]
