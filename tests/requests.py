"""Requests as people keep them in files: sets and mere texts, every row with a name of its own."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

WORDS = ["capital", "China", "Beijing", "Japan", "Tokyo", "gravity", "pulls", "bodies", "bees", "make", "honey", "sea"]


def some_requests(count: int, documents: int = 6, words: int = 12, seed: int = 0) -> list[dict[str, Any]]:
    """Different queries over different documents, so that no two rows have the same answer."""
    draw = random.Random(seed)

    def text(length: int) -> str:
        return " ".join(draw.choices(WORDS, k=length))

    return [
        {
            "query_id": f"q{number}",
            "query": f"{text(4)} {number}?",
            "candidates": [{"doc_id": f"d{place}", "text": text(words)} for place in range(documents)],
        }
        for number in range(count)
    ]


def write_jsonl(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def read_answers(folder: Path) -> list[dict[str, Any]]:
    """All rows of a folder of JSONL answers, in the order of its files."""
    files = sorted(folder.glob("part-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
