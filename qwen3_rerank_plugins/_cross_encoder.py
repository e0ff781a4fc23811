"""The interface of a sentence-transformers `CrossEncoder` for rerankers: `predict` and `rank`.

Torch and numpy are imported only by calls that return tensors and arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from qwen3_rerank_plugins._options import UNSET, Unset, check_top_n
from qwen3_rerank_plugins.engine.ranking import group_pairs
from qwen3_rerank_plugins.engine.request import AnyText, Instruction, make_request
from qwen3_rerank_plugins.engine.settings import positive_int
from qwen3_rerank_plugins.errors import RequestError, SettingsError
from qwen3_rerank_plugins.instructions import preset
from qwen3_rerank_plugins.reranker import Qwen3Reranker

if TYPE_CHECKING:
    import torch

Activation = Callable[["torch.Tensor"], "torch.Tensor"]


class Predictions:
    """Mixin for a class with a reranker: the part of `sentence_transformers.CrossEncoder` that its tools use.

    `CrossEncoderRerankingEvaluator` and the other evaluators accept it as their model, and `mine_hard_negatives` as its
    `cross_encoder`. The reranker decides about devices, batches and processes. So `device`, `pool` and `chunk_size` are
    refused, and `batch_size` and `show_progress_bar` are ignored.
    """

    if TYPE_CHECKING:  # the class that uses this mixin has it

        @property
        def _reranker(self) -> Qwen3Reranker: ...

    @property
    def num_labels(self) -> int:
        """One score per pair."""
        return 1

    @property
    def model_card_data(self) -> NoModelCard:
        """Where an evaluator stores its metrics."""
        return NoModelCard()

    def predict(
        self,
        inputs: Any = None,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Activation | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: None = None,
        pool: None = None,
        chunk_size: None = None,
        sentences: Any = None,
    ) -> Any:
        """Score pairs.

        Args:
            inputs: (query, document) pairs or a single pair: a list, a tuple, or an array of strings, (pairs, 2).
            prompt_name: name of one of `instructions.PRESETS`, the instruction of this call.
            prompt: the instruction of this call.
            batch_size: ignored, because the engine packs batches by tokens.
            show_progress_bar: ignored.
            activation_fn: maps log-odds, a float32 tensor (pairs,), to scores of the same shape. None returns
                probabilities. With a function, queries are scored one after another, which takes longer.
            apply_softmax: ignored, because there is one score per pair.
            convert_to_numpy: return an array instead of a list of tensors.
            convert_to_tensor: return one tensor. This overrides `convert_to_numpy`.
            device: refused.
            pool: refused.
            chunk_size: refused.
            sentences: the name of `inputs` in earlier versions of sentence-transformers.

        Returns:
            float32 scores, (pairs,), in the order of the pairs. A single pair returns a score without dimensions.

        Raises:
            SettingsError: an option is refused, or the prompt name is unknown.
            RerankError: as `Qwen3Reranker.score`.
        """
        import torch

        if (inputs is None) == (sentences is None):
            raise RequestError("Pass the pairs as inputs=... and nothing as sentences=..., its earlier name.")
        positive_int("batch_size", batch_size)
        _refuse({"device": device, "pool": pool, "chunk_size": chunk_size})
        instruction = _instruction(prompt, prompt_name, self._own_instruction)
        pairs, single = _as_pairs(sentences if inputs is None else inputs)
        if activation_fn is None:
            scores = torch.tensor(self._reranker.score(pairs, instruction=instruction), dtype=torch.float32)
        else:
            scores = activation_fn(_log_odds(self._reranker, pairs, instruction))
        found: Any = scores if convert_to_tensor else scores.numpy() if convert_to_numpy else list(scores)
        return found[0] if single else found

    def rank(
        self,
        query: str,
        documents: Iterable[AnyText],
        top_k: int | None = None,
        return_documents: bool = False,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Activation | None = None,
        device: None = None,
        pool: None = None,
        chunk_size: None = None,
    ) -> list[dict[str, Any]]:
        """Rank documents by their relevance to the query.

        Args:
            query: what to look for.
            documents: texts, or mappings with a text under "page_content" or "text". Ties keep this order.
            top_k: maximum number of documents to return; None returns all.
            return_documents: also return each document as it was passed.
            prompt_name: as in `predict`.
            prompt: as in `predict`.
            batch_size: ignored.
            show_progress_bar: ignored.
            activation_fn: as in `predict`.
            device: refused.
            pool: refused.
            chunk_size: refused.

        Returns:
            Dicts, best first, with "corpus_id", the position of the document, "score", a Python float, and "text" if
            `return_documents` is set.

        Raises:
            SettingsError: as `predict`, or `top_k` is not a whole number >= 0.
            RerankError: as `Qwen3Reranker.rank`.
        """
        limit = check_top_n(top_k, "top_k")
        positive_int("batch_size", batch_size)
        _refuse({"device": device, "pool": pool, "chunk_size": chunk_size})
        instruction = _instruction(prompt, prompt_name, self._own_instruction)
        listed: Any = documents
        if isinstance(documents, Iterable) and not isinstance(documents, (str, bytes, Mapping)):
            listed = list(documents)
        ranked = self._reranker.rank(query, listed, instruction=instruction, top_n=None, min_score=None)
        scores = [found.score for found in ranked]
        if activation_fn is not None:
            scores = activation_fn(_tensor([found.logit for found in ranked])).tolist()
        found_ids = zip((found.index for found in ranked), scores, strict=True)
        answers: list[dict[str, Any]] = [{"corpus_id": index, "score": score} for index, score in found_ids]
        if activation_fn is not None:
            answers.sort(key=lambda answer: -answer["score"])
        if return_documents:
            answers = [answer | {"text": listed[answer["corpus_id"]]} for answer in answers]
        return answers[:limit]

    @property
    def _own_instruction(self) -> Instruction | Unset | None:
        """The instruction of calls without a prompt."""
        return UNSET


class NoModelCard:
    """Stands in for a model card. Evaluators store their metrics there for the card that is saved with a model.

    Rerankers are never saved in that way. Evaluators also return their metrics.
    """

    def set_evaluation_metrics(
        self, evaluator: object, metrics: Mapping[str, object], epoch: int = 0, step: int = 0
    ) -> None:
        """Ignore the metrics."""


def _as_pairs(inputs: Any) -> tuple[Any, bool]:
    """Return the pairs, and whether the input was a single pair outside of a list."""
    if callable(getattr(inputs, "tolist", None)):
        inputs = inputs.tolist()
    if not isinstance(inputs, Iterable) or isinstance(inputs, (str, bytes, Mapping)):
        return inputs, False  # `group_pairs` refuses it
    listed = list(inputs)
    single = bool(listed) and isinstance(listed[0], str)
    return ([listed] if single else listed), single


def _log_odds(reranker: Qwen3Reranker, pairs: Any, instruction: Instruction | Unset | None) -> torch.Tensor:
    """Return log-odds, float32, (pairs,). Computing them from probabilities near 1 would be inexact."""
    groups = group_pairs(pairs, lambda query, documents: make_request(query, documents, None))
    scores = [0.0] * sum(len(group.positions) for group in groups)
    for group in groups:
        asked = group.request
        found = reranker.log_odds(asked.query, asked.documents, instruction=instruction)
        for position, score in zip(group.positions, found, strict=True):
            scores[position] = score
    return _tensor(scores)


def _tensor(numbers: list[float]) -> torch.Tensor:
    import torch

    return torch.tensor(numbers, dtype=torch.float32)


def _instruction(prompt: str | None, name: str | None, own: Instruction | Unset | None) -> Instruction | Unset | None:
    if prompt is not None and name is not None:
        raise SettingsError("prompt and prompt_name contradict each other; pass only one.")
    if name is not None:
        return preset(name)
    return own if prompt is None else prompt


def _refuse(options: Mapping[str, object]) -> None:
    if given := [name for name, value in options.items() if value is not None]:
        raise SettingsError(
            f"{', '.join(given)} cannot be chosen for a call: the reranker runs where its settings say. Set device or "
            "devices when it is made."
        )
