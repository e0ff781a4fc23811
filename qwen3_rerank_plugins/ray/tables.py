"""An Arrow table of requests -> what each row asks, and the same table with the answers.

Comes in: a batch of Ray Data, or rows of a Parquet file. Goes out: questions; a table with the column `results`.
Must not know: models, Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from qwen3_rerank_plugins.data.tasks import RankingTask, task_of
from qwen3_rerank_plugins.errors import InputTypeError, RequestError
from qwen3_rerank_plugins.ray.answers import Answer, Question

READ = ("query", "instruction", "documents", "candidates", "query_id")
"""The columns that a question is made of."""


def as_table(batch: object) -> pa.Table:
    """A batch in Arrow; Ray Data hands over columns of NumPy arrays unless it is asked for Arrow.

    Raises:
        InputTypeError: it is neither.
    """
    if isinstance(batch, pa.Table):
        return batch
    if not isinstance(batch, Mapping):
        raise InputTypeError(
            f"A batch must be an Arrow table, got {type(batch).__name__}: pass batch_format='pyarrow' to map_batches."
        )
    return pa.table({name: pa.array(list(column)) for name, column in batch.items()})


def questions_of(table: pa.Table, places: Sequence[str], adding: Sequence[str]) -> list[Question]:
    """What each row asks.

    Args:
        table: one row a request.
        places: what the rows are called in messages.
        adding: columns that the answers will have.

    Raises:
        RequestError: a column is missing, or one is there that the answers will have.
    """
    for name in adding:
        if name in table.column_names:
            raise RequestError(f"Rows have a column {name!r} already, which their answers need: drop or rename it.")
    if "query" not in table.column_names or not {"documents", "candidates"} & set(table.column_names):
        raise RequestError(
            f"Rows need a column query and a column documents or candidates, these have: "
            f"{', '.join(table.column_names) or 'none'}. Rename with Dataset.rename_columns."
        )
    rows = table.select([name for name in READ if name in table.column_names]).to_pylist()
    return [partial(_task, row, location) for row, location in zip(rows, places, strict=True)]


def with_answers(table: pa.Table, answers: Sequence[Answer], *, errors: bool) -> pa.Table:
    """The table and the column `results`, and the column `error` if it is asked for."""
    results = pa.array([answer.results for answer in answers], pa.list_(_result_type(table.schema)))
    table = table.append_column("results", results)
    return table.append_column("error", pa.array([one.error for one in answers], pa.string())) if errors else table


def _task(row: dict[str, Any], location: str) -> RankingTask:
    # lists that came through NumPy are arrays still
    return task_of(
        {name: value.tolist() if hasattr(value, "tolist") else value for name, value in row.items()}, location
    )


def _result_type(schema: pa.Schema) -> pa.StructType:
    fields = [
        pa.field("index", pa.int64()),
        pa.field("score", pa.float64()),
        pa.field("logit", pa.float64()),
        pa.field("truncated_tokens", pa.int64()),
        pa.field("span", pa.list_(pa.int64())),
    ]
    name = _name_type(schema)
    return pa.struct(fields if name is None else [fields[0], pa.field("doc_id", name), *fields[1:]])


def _name_type(schema: pa.Schema) -> pa.DataType | None:
    """The type of the candidates' names, where they have one."""
    if "candidates" not in schema.names:
        return None
    kind = schema.field("candidates").type
    candidate = kind.value_type if isinstance(kind, (pa.ListType, pa.LargeListType)) else None
    if not isinstance(candidate, pa.StructType) or candidate.get_field_index("doc_id") < 0:
        return None
    return candidate.field("doc_id").type
