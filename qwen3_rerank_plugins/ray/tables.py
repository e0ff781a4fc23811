"""Parse the rows of an Arrow table of requests, and add their answers to it as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from qwen3_rerank_plugins.data.records import Record
from qwen3_rerank_plugins.data.tasks import RankingTask, parse_task
from qwen3_rerank_plugins.errors import InputTypeError, RequestError
from qwen3_rerank_plugins.ray.answers import Answer, ParseRow
from qwen3_rerank_plugins.ray.source import REQUEST_FIELDS


def as_table(batch: object) -> pa.Table:
    """Convert a batch to Arrow. By default, Ray Data passes a dictionary of NumPy arrays.

    Raises:
        InputTypeError: it is neither a table nor a dictionary.
    """
    if isinstance(batch, pa.Table):
        return batch
    if not isinstance(batch, Mapping):
        raise InputTypeError(
            f"A batch must be an Arrow table, got {type(batch).__name__}: pass batch_format='pyarrow' to map_batches."
        )
    return pa.table({name: pa.array(list(column)) for name, column in batch.items()})


def rows_of(table: pa.Table, locations: Sequence[str], adding: Sequence[str]) -> list[ParseRow]:
    """Return the rows of a table, to be parsed one by one.

    Args:
        table: one request per row.
        locations: names of the rows in messages.
        adding: columns that will be added for the answers.

    Raises:
        RequestError: a column is missing, or a column that will be added already exists.
    """
    for name in adding:
        if name in table.column_names:
            raise RequestError(f"Rows have a column {name!r} already, which their answers need: drop or rename it.")
    if "query" not in table.column_names or not {"documents", "candidates"} & set(table.column_names):
        raise RequestError(
            f"Rows need a column query and a column documents or candidates, these have: "
            f"{', '.join(table.column_names) or 'none'}. Rename with Dataset.rename_columns."
        )
    rows = table.select([name for name in (*REQUEST_FIELDS, "query_id") if name in table.column_names]).to_pylist()
    return [partial(_parse, row, location) for row, location in zip(rows, locations, strict=True)]


def with_answers(table: pa.Table, answers: Sequence[Answer], *, errors: bool) -> pa.Table:
    """Return the table with the column `results` and, on request, the column `error`."""
    results = pa.array([answer.results for answer in answers], pa.list_(_result_type(table.schema)))
    table = table.append_column("results", results)
    return table.append_column("error", pa.array([one.error for one in answers], pa.string())) if errors else table


def _parse(row: dict[str, Any], location: str) -> RankingTask:
    # lists that came from NumPy are still arrays
    fields = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in row.items()}
    return parse_task(Record(fields, location))


def _result_type(schema: pa.Schema) -> pa.StructType:
    doc_id = _doc_id_type(schema)
    return pa.struct(
        [
            pa.field("index", pa.int64()),
            *([] if doc_id is None else [pa.field("doc_id", doc_id)]),
            pa.field("score", pa.float64()),
            pa.field("logit", pa.float64()),
            pa.field("truncated_tokens", pa.int64()),
            pa.field("span", pa.list_(pa.int64())),
        ]
    )


def _doc_id_type(schema: pa.Schema) -> pa.DataType | None:
    """The type of the candidates' document IDs, if they have any."""
    if "candidates" not in schema.names:
        return None
    kind = schema.field("candidates").type
    candidate = kind.value_type if isinstance(kind, (pa.ListType, pa.LargeListType)) else None
    if not isinstance(candidate, pa.StructType) or candidate.get_field_index("doc_id") < 0:
        return None
    return candidate.field("doc_id").type
