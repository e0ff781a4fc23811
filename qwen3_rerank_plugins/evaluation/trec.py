"""Rankings and judgements -> the formats of TREC, which trec_eval, ranx and ir_measures read.

Their lines are words with blanks between them, so that a name with a blank in it would be read as two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from qwen3_rerank_plugins._plurals import counted
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.evaluation.collection import Collection


def write_run(file: str | Path, collection: Collection, rankings: Sequence[Sequence[str]], name: str) -> None:
    """Write the rankings of one stage.

    Args:
        file: where; its folder is made.
        collection: what was searched.
        rankings: for each query of the collection, in its order: names of passages, best first.
        name: of the run; blanks in it become hyphens.

    Raises:
        RequestError: a name of a query or a passage is empty or has blanks in it, there is not one ranking a query, or
            the run has no name.
    """
    if len(rankings) != len(collection.queries):
        raise RequestError(
            f"{counted(len(rankings), 'ranking')} for {counted(len(collection.queries), 'query')}. "
            "Give each query its own."
        )
    tag = "-".join(name.split())
    if not tag:
        raise RequestError("A run needs a name, which stands in each of its lines: give it one.")
    _write(
        file,
        (
            (_word("query", query.query_id), "Q0", _word("passage", passage), location, len(ranking) - location, tag)
            for query, ranking in zip(collection.queries, rankings, strict=True)
            for location, passage in enumerate(ranking, 1)
        ),
    )


def write_qrels(file: str | Path, collection: Collection) -> None:
    """Write the judgements of a collection: a line for every relevant passage of a query.

    Args:
        file: where; its folder is made.
        collection: what was judged.

    Raises:
        RequestError: a name of a query or a passage is empty or has blanks in it.
    """
    _write(
        file,
        (
            (_word("query", query.query_id), 0, _word("passage", passage), grade)
            for query in collection.queries
            for passage, grade in query.relevant.items()
        ),
    )


def _write(file: str | Path, rows: Iterable[tuple[object, ...]]) -> None:
    text = "".join(" ".join(map(str, row)) + "\n" for row in rows)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(text, encoding="utf-8", newline="\n")


def _word(what: str, name: str) -> str:
    if name.split() != [name] or any("\ud800" <= character <= "\udfff" for character in name):
        raise RequestError(
            f"The name {name!r:.80} of a {what} is empty, or has blanks or broken characters in it, and a line of "
            f"TREC's formats is words with blanks between them. Give the {what} another name in its set."
        )
    return name
