"""Write rankings and judgments in the TREC formats, which trec_eval, ranx and ir_measures read.

The lines of these formats are words separated by spaces, so a name that contains a space cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.evaluation.collection import Collection
from qwen3_rerank_plugins.evaluation.search import Rankings, require_one_each


def write_run(file: str | Path, collection: Collection, rankings: Rankings, name: str) -> None:
    """Write the rankings of one stage.

    Args:
        file: file to write; its folder is created.
        collection: the collection that was searched.
        rankings: for each query of the collection, in its order: passage IDs, best first.
        name: name of the run; spaces become hyphens.

    Raises:
        RequestError: a query or passage ID is empty or contains whitespace, there is not one ranking per query, or the
            run has no name.
    """
    require_one_each(rankings, collection)
    tag = "-".join(name.split())
    if not tag:
        raise RequestError("A run needs a name, because each of its lines contains it. Pass one.")
    _write(
        file,
        (
            (_word("query", query.query_id), "Q0", _word("passage", passage), rank, len(ranking) - rank, tag)
            for query, ranking in zip(collection.queries, rankings, strict=True)
            for rank, passage in enumerate(ranking, 1)
        ),
    )


def write_qrels(file: str | Path, collection: Collection) -> None:
    """Write the judgments of a collection, one line per relevant passage of a query.

    Args:
        file: file to write; its folder is created.
        collection: the judged collection.

    Raises:
        RequestError: a query or passage ID is empty or contains whitespace.
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


def _word(kind: str, name: str) -> str:
    if name.split() != [name] or any("\ud800" <= character <= "\udfff" for character in name):
        raise RequestError(
            f"The ID {name!r:.80} of a {kind} is empty, or contains whitespace or lone surrogates, which the TREC "
            f"formats cannot hold. Give the {kind} another ID in its set."
        )
    return name
