"""The reranker as mteb sees a cross-encoder. Needs the extra `mteb`.

Comes in: a reranker or its settings; from mteb, queries and documents. Goes out: one log-odds a pair.
Must not know: tasks, benchmarks.

mteb is imported where it is needed: it takes seconds, and evaluating sets of one's own does not need it.
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
    """What `mteb.evaluate` takes as a model.

    Args:
        model: hub id, folder or "demo"; or a reranker that is there already.
        instructions: the instruction of each task, by its name; goes before all others.
        settings: those of `Qwen3Reranker`; none where one is given.

    Raises:
        MissingExtraError: mteb is not installed.
    """
    reranker = model if isinstance(model, Qwen3Reranker) else Qwen3Reranker(model, **settings)
    return MtebReranker(reranker, instructions or {})


class MtebReranker:
    """mteb's protocol of a cross-encoder.

    The instruction of a query is the first there is of: the one given for its task; the query's own; the one that mteb
    has for the task; the reranker's.

    Args:
        reranker: its `top_n` and `min_score` are not used.
        instructions: by the name of the task.

    Attributes:
        mteb_model_meta: what mteb files its results under: a name of ours, so that results of mteb's own wrapper of
            the same model are not taken for them.
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
        """Log-odds of each pair, (pairs,), in the order of the pairs.

        Probabilities would rank worse: trec_eval, which mteb judges with, rounds them to 32 bits, and so makes ties of
        those near 1.
        """
        queries = self._queries(inputs1, task_metadata)
        pairs = zip(queries, _texts(inputs2), strict=True)
        scores: list[float] = []
        for (query, instruction), run in itertools.groupby(pairs, key=lambda pair: pair[0]):
            documents = [document for _, document in run]
            ranked = self._reranker.rank(query, documents, instruction=instruction, top_n=None, min_score=None)
            scores += [found.logit for found in sorted(ranked, key=lambda found: found.index)]
        return np.array(scores, dtype=np.float64)

    def _queries(self, batches: Iterable[Mapping[str, Any]], task: Any) -> Iterator[tuple[str, str | Unset | None]]:
        """Each query with its instruction. mteb appends a query's own instruction to its text, too."""
        for_task = self._instructions.get(task.name)
        general = _prompt_of(task) or UNSET
        for batch in batches:
            own = batch.get("instruction") or [None] * len(batch["text"])
            bare = batch.get("query") or batch["text"]
            for query, text, instruction in zip(bare, batch["text"], own, strict=True):
                yield (query if instruction else text), for_task or instruction or general


def import_mteb() -> Any:
    """mteb, or the one error that says how to install it."""
    try:
        return importlib.import_module("mteb")
    except ModuleNotFoundError as error:
        if error.name != "mteb":
            raise
        raise MissingExtraError("mteb", "mteb") from error


def _texts(batches: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (text for batch in batches for text in batch["text"])


def _prompt_of(task: Any) -> str | None:
    prompt = task.prompt
    return prompt.get("query") if isinstance(prompt, Mapping) else prompt


def _describe(reranker: Qwen3Reranker) -> Any:
    meta = import_mteb().models.ModelMeta
    settings = reranker.settings
    on_hub = settings.model.count("/") == 1 and not Path(settings.model).is_dir()
    described = {
        "name": f"{_ORGANIZATION}/{Path(settings.model).name}",
        "revision": settings.revision or "main",
        "adapted_from": settings.model if on_hub else None,
        "max_tokens": reranker.max_length or DEFAULT_MAX_LENGTH,
        "framework": ["PyTorch"],
        "model_type": ["cross-encoder"],
        "use_instructions": True,
        "experiment_kwargs": {
            name: value
            for name in ("dtype", "quantization", "attention")
            if (value := getattr(settings, name)) not in (None, "auto")
        }
        or None,
    }
    return meta.create_empty(overwrites=described)
