"""nDCG@10 on real questions, for the model and for other orders of the same candidates."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.progress import track

from demo_checkpoint.pair_scorer import PairScorer
from demo_checkpoint.prompt import DEFAULT_INSTRUCTION, head_of
from demo_checkpoint.teacher import Teacher
from demo_checkpoint.texts import SET_FILES, read_jsonl


def ndcg(relevance: Sequence[float], cut: int = 10) -> float:
    """Return the discounted gain as a share of the best possible one, with linear gains as in trec_eval."""

    def gain(grades: Sequence[float]) -> float:
        return sum(grade / math.log2(rank + 2) for rank, grade in enumerate(grades[:cut]))

    return gain(relevance) / gain(sorted(relevance, reverse=True))


@torch.no_grad()
def evaluate(scorer: PairScorer, data: Path) -> dict[str, float]:
    """Return the mean nDCG@10 of each set. Training never reads these questions."""
    figures = {}
    for name, file in SET_FILES.items():
        values = []
        for row in track(list(read_jsonl(data / file)), description=name):
            head = head_of(row.get("instruction", DEFAULT_INSTRUCTION), row["query"])
            scores = scorer(head, [c["text"] for c in row["candidates"]]).tolist()
            grades = [c["relevance"] for c in row["candidates"]]
            ranked = sorted(zip(scores, grades, strict=True), key=lambda pair: -pair[0])
            values.append(ndcg([grade for _, grade in ranked]))
        figures[name] = sum(values) / len(values)
    return figures


def evaluate_others(data: Path, teacher: Teacher) -> dict[str, dict[str, float]]:
    """Return the same figure for other orders of the candidates: as listed, by the teacher, and shuffled."""
    rng = random.Random(0)
    figures: dict[str, dict[str, float]] = {"first_stage": {}, "teacher": {}, "shuffled": {}}
    for name, file in SET_FILES.items():
        rows = list(read_jsonl(data / file))
        lists = [[(c["relevance"], teacher.share(row["query"], c["text"])) for c in row["candidates"]] for row in rows]
        as_listed = [[grade for grade, _ in candidates] for candidates in lists]
        by_teacher = [[grade for grade, _ in sorted(candidates, key=lambda c: -c[1])] for candidates in lists]
        by_chance = [rng.sample(grades, len(grades)) for grades in as_listed for _ in range(20)]
        for way, orders in (("first_stage", as_listed), ("teacher", by_teacher), ("shuffled", by_chance)):
            figures[way][name] = sum(map(ndcg, orders)) / len(orders)
    return figures
