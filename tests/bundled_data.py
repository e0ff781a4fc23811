"""The test data of the repository, unpacked once into a cache."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

ROOT = Path(__file__).parents[1]
PACKED = Path(__file__).parent / "data"
CACHE = ROOT / ".test-data"


def unpack(packed: Path, cache: Path) -> Path:
    """A folder in the cache with every file of `packed`, those that end in .gz decompressed.

    Its name holds a digest of what was packed, so that changed data is unpacked anew. Several processes may call
    this at once: each unpacks into a folder of its own, and the first to finish renames it.
    """
    files = sorted(file for file in packed.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(packed).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    unpacked = cache / digest.hexdigest()[:16]
    if unpacked.is_dir():
        return unpacked
    cache.mkdir(exist_ok=True)
    own = Path(mkdtemp(dir=cache))
    own.chmod(0o755)
    for file in files:
        target = own / file.relative_to(packed)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".gz":
            target.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        else:
            shutil.copy(file, target)
    try:
        own.rename(unpacked)
    except OSError:  # another process was faster
        shutil.rmtree(own)
    return unpacked


DATA = unpack(PACKED, CACHE)
QWEN_TOKENIZER = DATA / "tokenizer" / "qwen3-reranker-0.6b"


def declaration(language: str) -> list[str]:
    """The paragraphs of the Universal Declaration of Human Rights, by the key of a language, headings left out."""
    with (DATA / "text" / "udhr_multiscript.jsonl").open(encoding="utf-8") as lines:
        (text,) = (row["text"] for row in map(json.loads, lines) if row["key"] == language)
    paragraphs = text.splitlines()
    longest_heading = max(len(paragraphs[0]), 20)
    return [paragraph for paragraph in paragraphs if len(paragraph) > longest_heading]


def declaration_tasks(language: str, count: int, candidates: int = 10) -> list[dict[str, Any]]:
    """Ranking tasks from the Declaration: each asks with the first half of a paragraph for its second half.

    Args:
        language: the key of its language.
        count: how many tasks.
        candidates: documents of each, one of them relevant, at a place that moves from task to task.
    """
    halves = [(text[: len(text) // 2], text[len(text) // 2 :]) for text in declaration(language)]
    tasks = []
    for number in range(count):
        others = [(number + 1 + step) % len(halves) for step in range(candidates - 1)]
        places = [*others[: number % candidates], number, *others[number % candidates :]]
        tasks.append(
            {
                "query_id": f"{language}-{number}",
                "query": halves[number][0],
                "instruction": "Given the beginning of a sentence of a legal text, retrieve its end",
                "candidates": [
                    {"doc_id": f"{language}-{place}", "text": halves[place][1], "relevance": int(place == number)}
                    for place in places
                ],
            }
        )
    return tasks
