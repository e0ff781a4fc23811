"""The corpus that comes with the package: a few questions, each with the one passage that answers it."""

from __future__ import annotations

import json
from pathlib import Path

from qwen3_rerank_plugins.data.tasks import Candidate, RankingTask

CORPUS = Path(__file__).with_name("corpus.jsonl")
QUESTIONS = {
    "Why do leaves change colour in autumn?": "autumn-colours",
    "How do bees tell each other where to find food?": "waggle-dance",
    "What keeps a satellite from falling back to Earth?": "orbits",
    "Why does bread rise in a hot oven?": "bread",
    "When did a cable first carry messages under the Atlantic?": "atlantic-cable",
}
"""Questions with the document IDs of their answers. Other passages share words with a question to mislead keywords."""


def read_corpus() -> list[Candidate]:
    """Read the bundled passages."""
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    return [Candidate(passage["text"], passage["doc_id"]) for passage in map(json.loads, lines)]


def bundled_tasks() -> list[RankingTask]:
    """Return one task per question, with judgments and with all passages in the order of the corpus."""
    corpus = read_corpus()
    return [
        RankingTask(
            question,
            tuple(Candidate(one.text, one.doc_id, relevance=float(one.doc_id == answer)) for one in corpus),
            query_id=answer,
        )
        for question, answer in QUESTIONS.items()
    ]
