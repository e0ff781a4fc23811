"""The reranker as a cross-encoder that mteb can run. Needs the extra `mteb`.

mteb is imported inside functions, because its import takes seconds and other evaluations do not need it.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3_rerank_plugins._options import UNSET, Unset
from qwen3_rerank_plugins.engine.settings import DEFAULT_MAX_LENGTH, DEFAULT_MODEL
from qwen3_rerank_plugins.errors import MissingExtraError
from qwen3_rerank_plugins.reranker import Qwen3Reranker

_ORGANIZATION = "qwen3-rerank-plugins"


def mteb_model(
    model: str | Qwen3Reranker = DEFAULT_MODEL, *, instructions: Mapping[str, str] | None = None, **settings: Any
) -> MtebReranker:
    """Return a model for `mteb.evaluate`.

    Args:
        model: hub ID, folder, "demo" or a reranker.
        instructions: instructions by the name of the task. They override all other instructions.
        settings: settings of `Qwen3Reranker`; not used if `model` is a reranker.

    Raises:
        MissingExtraError: mteb is not installed.
    """
    reranker = model if isinstance(model, Qwen3Reranker) else Qwen3Reranker(model, **settings)
    return MtebReranker(reranker, instructions or {})


class MtebReranker:
    """A cross-encoder in mteb's sense.

    Each query gets the first instruction that exists: the one passed for its task, the query's, mteb's prompt for the
    task, the reranker's.

    Args:
        reranker: the reranker; its `top_n` and `min_score` are not used.
        instructions: instructions by the name of the task.

    Attributes:
        mteb_model_meta: the model's name and settings in mteb's results. The name differs from the one of mteb's
            wrapper of the same model, so that their results are not mixed up.
    """

    def __init__(self, reranker: Qwen3Reranker, instructions: Mapping[str, str]) -> None:
        self._reranker = reranker
        self._instructions = dict(instructions)
        self.mteb_model_meta = _describe(reranker)

    def predict(
        self,
        inputs1: Iterable[Mapping[str, Any]],
        inputs2: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **_: Any,
    ) -> NDArray[np.float64]:
        """Return the log-odds of each pair, (pairs,).

        Probabilities would rank worse, because mteb evaluates with trec_eval, which rounds scores to 32 bits and so
        turns probabilities near 1 into ties.
        """
        queries = self._queries(inputs1, task_metadata)
        pairs = zip(queries, (text for batch in inputs2 for text in batch["text"]), strict=True)
        scores: list[float] = []
        for (query, instruction), run in itertools.groupby(pairs, key=lambda pair: pair[0]):
            documents = [document for _, document in run]
            scores += self._reranker.log_odds(query, documents, instruction=instruction)
        return np.array(scores, dtype=np.float64)

    def _queries(self, batches: Iterable[Mapping[str, Any]], task: Any) -> Iterator[tuple[str, str | Unset | None]]:
        """Yield each query with its instruction, without the copy of it that mteb appends to the query's text."""
        for_task = self._instructions.get(task.name)
        prompt = task.prompt.get("query") if isinstance(task.prompt, Mapping) else task.prompt
        for batch in batches:
            instructions = batch.get("instruction") or [None] * len(batch["text"])
            bare = batch.get("query") or batch["text"]
            for query, text, instruction in zip(bare, batch["text"], instructions, strict=True):
                yield (query if instruction else text), for_task or instruction or prompt or UNSET


def import_mteb() -> Any:
    """Import mteb.

    Raises:
        MissingExtraError: mteb is not installed.
    """
    try:
        return importlib.import_module("mteb")
    except ModuleNotFoundError as error:
        if error.name != "mteb":
            raise
        raise MissingExtraError("mteb", "mteb") from error


def _describe(reranker: Qwen3Reranker) -> Any:
    settings = reranker.settings
    on_hub = settings.model.count("/") == 1 and not Path(settings.model).is_dir()
    options = {name: getattr(settings, name) for name in ("dtype", "quantization", "attention", "kernels")}
    options = {name: value for name, value in options.items() if value not in (None, "auto")}
    described = {
        "name": f"{_ORGANIZATION}/{Path(settings.model).name}",
        "revision": settings.revision or "main",
        "adapted_from": settings.model if on_hub else None,
        "max_tokens": reranker.max_length or DEFAULT_MAX_LENGTH,
        "framework": ["PyTorch"],
        "model_type": ["cross-encoder"],
        "use_instructions": True,
        "experiment_kwargs": options or None,
    }
    return import_mteb().models.ModelMeta.create_empty(overwrites=described)
