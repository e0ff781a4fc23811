"""The callable class for `Dataset.map_batches`: a batch in, the same rows with their results out.

Comes in: the words of `Qwen3Reranker`. Goes out: batches with a column `results`.
Must not know: clusters, files.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from qwen3_rerank_plugins.engine.settings import DEFAULT_MODEL, as_secret
from qwen3_rerank_plugins.ray.answers import Answerer, OnError
from qwen3_rerank_plugins.ray.tables import as_table, questions_of, with_answers
from qwen3_rerank_plugins.reranker import Qwen3Reranker


class Qwen3Rerank:
    """A Qwen3-Reranker as a stage of a Ray Data pipeline; each actor loads the model with its first batch.

    Rows have a column `query`, and `documents` (a list of texts) or `candidates` (a list of structs with `text` and
    maybe `doc_id`); `instruction` is optional. They come back with all their columns and one more, `results`: a list of
    structs, best first, with `index`, `doc_id` where there is one, `score`, `logit` (null for a document with nothing
    to read), `truncated_tokens` and `span`. All rows of a batch are on their way at once, so that the engine fills its
    passes.

    Args:
        model: hub id, local folder, or "demo" for the bundled demo checkpoint.
        on_error: what becomes of a row that cannot be ranked: "raise" fails the job, "column" adds a column `error`,
            which is null for all other rows. Errors of the model or the machine always fail the job.
        token: hub access token. Ray carries it to the actors as it is; HF_TOKEN on the nodes needs no carrying.
        api_key: of a server, with `remote`; carried as the token is.
        settings: all other words of `Qwen3Reranker`; an `instruction` goes before the rows' own.

    Raises:
        SettingsError: an option is malformed.
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
        # before anything here can fail, and be reported with its local variables
        token, api_key = as_secret(token), as_secret(api_key)
        self._answerer = Answerer(Qwen3Reranker(model, token=token, api_key=api_key, **settings), on_error)

    def __call__(self, batch: object) -> pa.Table:
        """The batch with its answers.

        Raises:
            InputTypeError: the batch is no table.
            RequestError: a column is missing, or one row cannot be ranked and `on_error` is "raise".
            RerankError: the model cannot be loaded, or fails.
        """
        table = as_table(batch)
        errors = self._answerer.on_error == "column"
        places = [f"row {number} of the batch" for number in range(len(table))]
        questions = questions_of(table, places, ("results", "error") if errors else ("results",))
        return with_answers(table, self._answerer.answer(questions), errors=errors)

    def __repr__(self) -> str:
        return f"Qwen3Rerank({self._answerer.reranker!r})"
