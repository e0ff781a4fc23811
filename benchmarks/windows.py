"""The study of long documents: what windows find that truncation loses, and what they cost."""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
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
POSITIONS = ("begin", "middle", "end")


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """The questions whose answer is at the same position in its document.

    Attributes:
        place: "begin", "middle" or "end", if the ID of the query contains that word; otherwise "any".
        questions: number of questions.
        first: questions with a relevant document at rank 1.
        reciprocal_rank: mean of 1 / rank of the first relevant document.
    """

    place: str
    questions: int
    first: int
    reciprocal_rank: float


@dataclasses.dataclass(frozen=True, slots=True)
class WindowsRow:
    """One way to read long documents.

    Attributes:
        long_documents: the option of the reranker.
        max_length: the option of the reranker, in tokens.
        found: one entry per position of the answer.
        cut: tokens of all documents that were not read.
        tokens: unique tokens of all batches, the cost of a ranking.
    """

    long_documents: LongDocuments
    max_length: int
    found: tuple[Found, ...]
    cut: int
    tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class WindowsResults:
    """All ways to read the documents, over the same questions.

    Attributes:
        questions: number of questions.
        documents: number of documents.
        texts: names of the sets.
        rows: the ways.
    """

    questions: int
    documents: int
    texts: str
    rows: tuple[WindowsRow, ...]


def measure_windows(files: Sequence[Path], settings: EngineSettings, tell: OnStep) -> WindowsResults:
    """Rank every question with its documents truncated, in windows, and whole.

    Args:
        files: reranking sets with relevance judgments.
        settings: settings of the engine.
        tell: called before every step.

    Raises:
        SettingsError: if there are no sets.
    """
    if not files:
        raise SettingsError("The study of windows needs judged sets of long documents. Name them with --texts.")
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
    ranks: dict[str, list[int]] = {}
    cut = tokens = 0
    encoder = PromptEncoder(find_checkpoint(settings).tokenizer_file)
    options = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    with Qwen3Reranker(**options, max_length=max_length, long_documents=how) as reranker:
        for task in tasks:
            candidates = task["candidates"]
            texts = [one["text"] for one in candidates]
            ranked = reranker.rank(task["query"], texts, instruction=task.get("instruction"))
            rank = next(rank for rank, one in enumerate(ranked, 1) if candidates[one.index]["relevance"] > 0)
            ranks.setdefault(_position(task), []).append(rank)
            request = make_request(task["query"], texts, task.get("instruction"), max_length, how)
            encoded = encode_request(request, encoder).tokens
            tokens += len(encoded.prefix) + sum(map(len, encoded.document_ids))
            cut += sum(encoded.truncated_tokens)
    found = tuple(_found(position, ranks[position]) for position in (*POSITIONS, "any") if position in ranks)
    return WindowsRow(how, max_length, found, cut, tokens)


def _found(position: str, ranks: Sequence[int]) -> Found:
    return Found(position, len(ranks), ranks.count(1), statistics.fmean(1 / rank for rank in ranks))


def _position(task: dict[str, Any]) -> str:
    match = re.search(r"\b(begin|middle|end)\b", str(task.get("query_id")))
    return match[1] if match else "any"
