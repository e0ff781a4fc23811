"""The study of long documents: what windows find that a cut loses, and what they cost.

Comes in: judged reranking sets of long documents, settings. Goes out: `WindowsResults`.
Must not know: tables, peers. A place is where the answer stands, if the names of the set's queries say so.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins.bench.speed import OnStep
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.engine.settings import EngineSettings, LongDocuments
from qwen3_rerank_plugins.engine.text.encoding import encode_request
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.reranker import Qwen3Reranker

LENGTHS = (256, 512, 1024)
WHOLE = 32_768
PLACES = ("begin", "middle", "end")


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """The questions whose answer stands in one place.

    Attributes:
        place: "begin", "middle" or "end" of the document, or "any" where the set does not say.
        questions: how many.
        first: how many had a relevant document in the first place.
        reciprocal_rank: mean of 1 / place of the first relevant document.
    """

    place: str
    questions: int
    first: int
    reciprocal_rank: float


@dataclasses.dataclass(frozen=True, slots=True)
class WindowsRow:
    """One way to read the documents.

    Attributes:
        long_documents, max_length: the way.
        found: one entry a place.
        cut: tokens of all documents that were not read.
        tokens: unique tokens of all passes, which is what a ranking costs.
    """

    long_documents: LongDocuments
    max_length: int
    found: tuple[Found, ...]
    cut: int
    tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class WindowsResults:
    """Every way over the same questions.

    Attributes:
        questions, documents: how many.
        texts: the sets.
    """

    questions: int
    documents: int
    texts: str
    rows: tuple[WindowsRow, ...]


def measure_windows(files: Sequence[Path], settings: EngineSettings, tell: OnStep) -> WindowsResults:
    """Rank every question with its documents cut, in windows, and whole.

    Args:
        files: reranking sets with relevance judgements.
        settings: how the model is loaded.
        tell: called before every step.

    Raises:
        SettingsError: there are no sets.
    """
    if not files:
        raise SettingsError("The study of windows needs judged sets of long documents: name them with --texts.")
    tasks = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    ways: list[tuple[LongDocuments, int]] = [(how, length) for length in LENGTHS for how in ("truncate", "windows")]
    rows = []
    for how, length in [*ways, ("truncate", WHOLE)]:
        tell(f"{how} at {length} tokens")
        rows.append(_measure_way(tasks, settings, how, length))
    documents = sum(len(task["candidates"]) for task in tasks)
    texts = ", ".join(f"{file.parent.name}/{file.name}" for file in files)
    return WindowsResults(len(tasks), documents, texts, tuple(rows))


def _measure_way(
    tasks: Sequence[dict[str, Any]], settings: EngineSettings, how: LongDocuments, max_length: int
) -> WindowsRow:
    places: dict[str, list[int]] = {}
    cut = tokens = 0
    encoder = PromptEncoder(find_checkpoint(settings).tokenizer_file)
    own = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    with Qwen3Reranker(**own, max_length=max_length, long_documents=how) as reranker:
        for task in tasks:
            candidates = task["candidates"]
            texts = [one["text"] for one in candidates]
            ranked = reranker.rank(task["query"], texts, instruction=task.get("instruction"))
            hit = next(place for place, one in enumerate(ranked, 1) if candidates[one.index]["relevance"] > 0)
            places.setdefault(_place(task), []).append(hit)
            read = encode_request(make_request(task["query"], texts, task.get("instruction"), max_length, how), encoder)
            tokens += len(read.tokens.prefix) + sum(map(len, read.tokens.document_ids))
            cut += sum(read.tokens.truncated_tokens)
    order = [place for place in (*PLACES, "any") if place in places]
    found = tuple(_found(place, places[place]) for place in order)
    return WindowsRow(how, max_length, found, cut, tokens)


def _found(place: str, hits: Sequence[int]) -> Found:
    return Found(place, len(hits), hits.count(1), sum(1 / hit for hit in hits) / len(hits))


def _place(task: dict[str, Any]) -> str:
    match = re.search(r"\b(begin|middle|end)\b", str(task.get("query_id")))
    return match[1] if match else "any"
