"""Long documents through the whole line: receipts for what was cut, and windows that find what a cut would lose."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.engine.text.encoding import encode_request
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from tests.bundled_data import declaration
from tests.references import CardReference

QUERY = "What is the capital of China?"
FILLER = "The weather was fine all week and nothing else happened. "
LONG = FILLER * 40 + "The capital of China is Beijing. " + FILLER * 40


@pytest.fixture(scope="module")
def thorough() -> Iterator[Qwen3Reranker]:
    with Qwen3Reranker("demo", max_length=160, long_documents="windows") as reranker:
        yield reranker


@pytest.fixture(scope="module")
def long_set() -> list[dict[str, Any]]:
    """Documents of about 1,900 tokens, alike but for their last paragraph, whose beginning is what a query asks for."""
    paragraphs = declaration("eng")
    filler, last = paragraphs[:40], paragraphs[44:52]
    texts = ["\n".join([*filler, paragraph]) for paragraph in last]
    return [
        {
            "query": paragraph[:80],
            "instruction": None,
            "candidates": [{"text": text, "relevance": int(place == number)} for place, text in enumerate(texts)],
        }
        for number, paragraph in enumerate(last)
    ]


def test_the_best_window_is_found_and_pointed_at(thorough: Qwen3Reranker) -> None:
    first, *rest = thorough.rank(QUERY, ["Tokyo is in Japan.", LONG, FILLER])
    assert first.index == 1
    assert first.span is not None
    assert "The capital of China is Beijing." in LONG[slice(*first.span)] == first.passage
    assert (first.truncated_tokens, first.text) == (0, LONG)
    assert all(found.span is None for found in rest)


def test_a_documents_score_is_that_of_its_best_window_alone(checkpoint: Callable[[str], Path]) -> None:
    """The slow twin is the model card's path over the text of every window."""
    folder = checkpoint("grouped")
    with Qwen3Reranker(str(folder), max_length=200, long_documents="windows") as reranker:
        (found,) = reranker.rank(QUERY, [LONG])
    request = make_request(QUERY, [LONG], None, 200, "windows")
    windows = [piece.text for piece in encode_request(request, PromptEncoder(folder / "tokenizer.json")).chunks]
    exact = CardReference(folder).log_odds([(QUERY, window) for window in windows])
    best = max(range(len(windows)), key=exact.__getitem__)
    assert found.passage == windows[best]
    assert found.logit == pytest.approx(exact[best], abs=1e-3)


def test_score_and_rank_read_windows_alike_in_both_colours(thorough: Qwen3Reranker) -> None:
    ranked = {found.index: found.score for found in thorough.rank(QUERY, [LONG, FILLER])}
    pairs = [(QUERY, LONG), (QUERY, FILLER)]
    assert thorough.score(pairs) == pytest.approx([ranked[0], ranked[1]], abs=1e-6)
    assert asyncio.run(thorough.ascore(pairs)) == pytest.approx([ranked[0], ranked[1]], abs=1e-6)


@pytest.mark.parametrize("way", ["rank", "arank", "score", "ascore"])
def test_one_warning_a_call_counts_what_was_cut(way: str, caplog: pytest.LogCaptureFixture) -> None:
    with Qwen3Reranker("demo", max_length=160) as reranker:
        cut = [found.truncated_tokens for found in reranker.rank(QUERY, [LONG, "short", LONG + FILLER])]
        caplog.clear()
        if way.endswith("rank"):
            answer: Any = getattr(reranker, way)(QUERY, [LONG, "short", LONG + FILLER], top_n=1)
        else:
            answer = getattr(reranker, way)([(QUERY, LONG), ("another", "short"), (QUERY, LONG + FILLER)])
        if way.startswith("a"):
            asyncio.run(_finish(answer))
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert record.message.startswith("2 of 3 documents were cut")
    assert f"{sum(cut):,} tokens were not read, up to {max(cut):,} of one document" in record.message


async def _finish(answer: Any) -> Any:
    return await answer


def test_windows_of_a_document_and_other_callers_share_one_engine(thorough: Qwen3Reranker) -> None:
    serial = [[found.logit for found in thorough.rank(QUERY, [text])] for text in (LONG, FILLER, LONG[500:])]

    async def together() -> list[list[float]]:
        asked = [thorough.arank(QUERY, [text]) for text in (LONG, FILLER, LONG[500:])]
        return [[found.logit for found in ranked] for ranked in await asyncio.gather(*asked)]

    for ours, alone in zip(asyncio.run(together()), serial, strict=True):
        assert ours == pytest.approx(alone, abs=1e-4)


def reciprocal_ranks(rows: list[dict[str, Any]], reranker: Qwen3Reranker) -> list[float]:
    found = []
    for row in rows:
        texts = [candidate["text"] for candidate in row["candidates"]]
        ranked = reranker.rank(row["query"], texts, instruction=row["instruction"])
        hits = [place for place, one in enumerate(ranked, 1) if row["candidates"][one.index]["relevance"]]
        found.append(1 / hits[0])
    return found


@pytest.mark.slow
def test_windows_find_evidence_at_the_end_that_truncation_cuts(long_set: list[dict[str, Any]]) -> None:
    rows = long_set[3:]
    with (
        Qwen3Reranker("demo", max_length=512) as short,
        Qwen3Reranker("demo", max_length=512, long_documents="windows") as windows,
    ):
        cut, whole = reciprocal_ranks(rows, short), reciprocal_ranks(rows, windows)
    assert sum(whole) > sum(cut) + 1


def test_whole_long_documents_are_read_at_full_length(long_set: list[dict[str, Any]]) -> None:
    row = long_set[0]
    with Qwen3Reranker("demo", max_length=32_768) as reranker:
        ranked = reranker.rank(row["query"], [candidate["text"] for candidate in row["candidates"][:2]])
    assert [found.truncated_tokens for found in ranked] == [0, 0]


_FULL = """
import sys, resource
from qwen3_rerank_plugins import Qwen3Reranker

reranker = Qwen3Reranker("demo", max_length=32_768)
reranker.warmup()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ranked = reranker.rank("a question", ["word " * 40_000, "word " * 32_000 + "end"])
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
print([found.truncated_tokens for found in sorted(ranked, key=lambda found: found.index)], grown)
"""


@pytest.mark.slow
def test_thirty_two_thousand_tokens_run_in_bounded_memory_on_the_cpu() -> None:
    done = subprocess.run([sys.executable, "-c", _FULL], capture_output=True, text=True, timeout=500, check=True)
    cut, grown = done.stdout.rsplit(" ", 1)
    # all scores of the second prompt at once would take 32,768 x 32,768 x 4 bytes a head: 4 GiB
    assert json.loads(cut)[1] == 0 < json.loads(cut)[0]
    assert int(grown) < 1024, f"{grown} MiB"
    assert "1 of 2 documents was cut" in done.stderr
