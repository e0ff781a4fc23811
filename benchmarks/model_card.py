"""The model card's table, measured with mteb: `python -m benchmarks.model_card --help`.

As on the card, a first stage retrieves a hundred documents per query and the reranker reorders them. The card does not
say which instruction each data set was given; here it is mteb's prompt of the task, or the instruction in a file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins.engine.settings import DEFAULT_MODEL
from qwen3_rerank_plugins.evaluation.mteb_adapter import MtebReranker, import_mteb, mteb_model

FIRST_STAGE = "Qwen/Qwen3-Embedding-0.6B"
TOP_K = 100
COLUMNS = {
    "MTEB-R": "MTEB(eng, v2)",
    "CMTEB-R": "MTEB(cmn, v1)",
    "MMTEB-R": "MTEB(Multilingual, v2)",
    "MLDR": "MultiLongDocRetrieval",
    "MTEB-Code": "MTEB(Code, v1)",
    "FollowIR": "FollowIR",
}
"""mteb's name for each column of the card; MLDR is one task, the others are benchmarks."""
PUBLISHED: dict[str, dict[str, float]] = {
    name: dict(zip(COLUMNS, figures, strict=True))
    for name, figures in {
        "Qwen/Qwen3-Embedding-0.6B": (61.82, 71.02, 64.64, 50.26, 75.41, 5.09),
        "Qwen/Qwen3-Reranker-0.6B": (65.80, 71.31, 66.36, 67.28, 73.42, 5.41),
        "Qwen/Qwen3-Reranker-4B": (69.76, 75.94, 72.74, 69.97, 81.20, 14.84),
        "Qwen/Qwen3-Reranker-8B": (69.02, 77.45, 72.94, 70.19, 81.22, 8.05),
    }.items()
}


@dataclasses.dataclass(frozen=True, slots=True)
class TaskScore:
    """mteb's main score of one task, in percent, before and after reranking."""

    name: str
    before: float
    after: float


def tasks_of(column: str) -> list[Any]:
    """Return the tasks whose mean is a column of the card: retrieval tasks, or those of FollowIR."""
    mteb = import_mteb()
    if column == "MLDR":
        return list(mteb.get_tasks([COLUMNS[column]], eval_splits=["test"]))
    wanted = "InstructionReranking" if column == "FollowIR" else "Retrieval"
    return [task for task in mteb.get_benchmark(COLUMNS[column]).tasks if task.metadata.type == wanted]


def measure_task(task: Any, first_stage: Any, reranker: MtebReranker, folder: Path, top_k: int = TOP_K) -> TaskScore:
    """Retrieve, then rerank the retrieved documents.

    Args:
        task: a task of mteb.
        first_stage: a model of mteb.
        reranker: our reranker.
        folder: folder for the predictions of the first stage.
        top_k: number of documents to rerank per query.
    """
    mteb = import_mteb()
    always = {"cache": None, "overwrite_strategy": "always", "co2_tracker": False}
    before = mteb.evaluate(first_stage, task, prediction_folder=folder, **always)
    after = mteb.evaluate(reranker, task.convert_to_reranking(folder, top_k=top_k), **always)
    first, second = (100 * float(results.task_results[0].get_score()) for results in (before, after))
    return TaskScore(task.metadata.name, first, second)


def as_lines(column: str, scores: Sequence[TaskScore], model: str) -> list[str]:
    """Return lines with the scores, their mean, and the card's figures."""
    lines = [f"{score.name:<44} {score.before:7.2f} {score.after:7.2f}" for score in scores]
    before = sum(score.before for score in scores) / len(scores)
    after = sum(score.after for score in scores) / len(scores)
    lines.append(f"{f'{column}, mean of {len(scores)}':<44} {before:7.2f} {after:7.2f}")
    if model in PUBLISHED:
        card = PUBLISHED[FIRST_STAGE][column], PUBLISHED[model][column]
        lines.append(f"{'the model card':<44} {card[0]:7.2f} {card[1]:7.2f}")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one column and print each task as soon as it is done."""
    parser = argparse.ArgumentParser(description="Measure a column of the Qwen3-Reranker model card's table with mteb.")
    parser.add_argument("column", choices=COLUMNS)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="reranker: hub ID, folder or demo")
    parser.add_argument("--first-stage", default=FIRST_STAGE, help="embedding model, by its name in mteb")
    parser.add_argument("--task", action="append", help="only this task of the column; may be repeated")
    parser.add_argument("--top-k", type=int, default=TOP_K, help="documents to rerank per query")
    parser.add_argument("--instructions", type=Path, help="JSON file with an instruction per task name")
    parser.add_argument(
        "--folder", type=Path, default=Path("first-stage"), help="folder for the predictions of the first stage"
    )
    given = parser.parse_args(arguments)
    instructions: Mapping[str, str] = (
        json.loads(given.instructions.read_text(encoding="utf-8")) if given.instructions else {}
    )
    reranker = mteb_model(given.model, instructions=instructions)
    first_stage = import_mteb().get_model(given.first_stage)
    scores = []
    for task in tasks_of(given.column):
        if given.task is None or task.metadata.name in given.task:
            scores.append(measure_task(task, first_stage, reranker, given.folder, given.top_k))
            print(as_lines(given.column, scores[-1:], "")[0], flush=True)
    if scores:
        print(*as_lines(given.column, scores, given.model)[len(scores) :], sep="\n")


if __name__ == "__main__":
    main()
