"""Picture of one question of the demo: the bundled passages ordered by keywords, and reranked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pictures.packed_batch import QUESTION
from pictures.svg import WIDTH, line, picture, words
from qwen3_rerank_plugins import Qwen3Reranker, RankedDocument
from qwen3_rerank_plugins.cli.commands.demo import order_by_keywords
from qwen3_rerank_plugins.data.bundled import read_corpus
from qwen3_rerank_plugins.data.tasks import Candidate

SHOWN = 6
_TOP, _STEP = 88, 31
_LEFT, _RIGHT = 185, 375
"""Ends of the curves."""


def draw() -> str:
    """Return the SVG."""
    candidates = order_by_keywords(QUESTION, read_corpus()).candidates[:SHOWN]
    with Qwen3Reranker("demo", device="cpu") as reranker:
        ranked = reranker.rank(QUESTION, [candidate.text for candidate in candidates])
    was = next(place for place, candidate in enumerate(candidates, 1) if candidate.relevant)
    now = next(place for place, found in enumerate(ranked, 1) if candidates[found.index].relevant)
    title = f"{QUESTION} The passage that answers it was number {was} by keywords and is number {now} after reranking."
    return picture(title, _TOP + SHOWN * _STEP, _shapes(candidates, ranked))


def _shapes(candidates: Sequence[Candidate], ranked: Sequence[RankedDocument]) -> Iterator[str]:
    yield words(QUESTION, 0, 18, "strong")
    yield words("by keywords", _LEFT - 12, 58, "quiet", "end")
    yield words("reranked", _RIGHT + 12, 58, "quiet")
    yield words("score", WIDTH, 58, "quiet", "end")
    for place, found in enumerate(ranked):
        candidate = candidates[found.index]
        before, after = _TOP + found.index * _STEP, _TOP + place * _STEP
        name = str(candidate.doc_id).replace("-", " ")
        kind = "answer" if candidate.relevant else ""
        yield line("rise" if candidate.relevant else "other", _LEFT, before - 5, _RIGHT, after - 5)
        yield words(f"{'★ ' if candidate.relevant else ''}{name}", _LEFT - 12, before, kind, "end")
        yield words(f"{place + 1}  {name}", _RIGHT + 12, after, kind)
        yield words(f"{found.score:.2f}", WIDTH, after, kind or "quiet", "end")
