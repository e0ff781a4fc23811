"""The callable class for `Dataset.map_batches`, which adds a column of results to each batch."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from qwen3_rerank_plugins.engine.settings import DEFAULT_MODEL, as_secret
from qwen3_rerank_plugins.ray.answers import Answerer, OnError
from qwen3_rerank_plugins.ray.tables import as_table, rows_of, with_answers
from qwen3_rerank_plugins.reranker import Qwen3Reranker


class Qwen3Rerank:
    """A Qwen3-Reranker as a stage of a Ray Data pipeline. Each actor loads the model with its first batch.

    Rows have a column `query`, and `documents` (a list of texts) or `candidates` (a list of structs with `text` and
    optionally `doc_id`); `instruction` is optional. Rows keep all their columns and get a new column, `results`: a list
    of structs, best first, with `index`, `doc_id` if there is one, `score`, `logit` (null for a document without text),
    `truncated_tokens` and `span`. The rows of a batch are ranked concurrently, so that the engine can fill its batches.

    Args:
        model: hub ID, local folder, or "demo" for the bundled demo checkpoint.
        on_error: "raise" fails the job if a row cannot be ranked; "column" adds a column `error`, which is null for all
            other rows. Errors of the model or the machine always fail the job.
        token: hub access token. Ray sends it to the actors unencrypted. It is not needed where nodes have HF_TOKEN.
        api_key: key of the server given in `remote`; sent in the same way as the token.
        settings: all other arguments of `Qwen3Reranker`. An `instruction` takes precedence over those of the rows.

    Raises:
        SettingsError: an argument is malformed.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        on_error: OnError = "raise",
        token: str | None = None,
        api_key: str | None = None,
        **settings: Any,
    ) -> None:
        # first, because the report of an error may show local variables
        token, api_key = as_secret(token), as_secret(api_key)
        self._answerer = Answerer(Qwen3Reranker(model, token=token, api_key=api_key, **settings), on_error)

    def __call__(self, batch: object) -> pa.Table:
        """Return the batch with its answers.

        Raises:
            InputTypeError: the batch is not a table.
            RequestError: a column is missing, or a row cannot be ranked and `on_error` is "raise".
            RerankError: the model cannot be loaded, or fails.
        """
        table = as_table(batch)
        errors = self._answerer.on_error == "column"
        locations = [f"row {number} of the batch" for number in range(len(table))]
        rows = rows_of(table, locations, ("results", "error") if errors else ("results",))
        return with_answers(table, self._answerer.answer(rows), errors=errors)

    def __repr__(self) -> str:
        return f"Qwen3Rerank({self._answerer.reranker!r})"
