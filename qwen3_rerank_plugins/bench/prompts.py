"""Whole prompts for the baselines.

The template is a second copy on purpose: baselines that used the engine's template would hide a mistake in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qwen3_rerank_plugins.engine.request import RerankRequest

Pair = tuple[str, str, str]
"""Instruction, query and document."""

_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
PROMPT = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    "<Instruct>: {}\n<Query>: {}\n<Document>: {}" + _SUFFIX
)


def pairs_of(requests: Sequence[RerankRequest]) -> list[Pair]:
    """Return the pairs of all requests, request by request."""
    return [(request.instruction, request.query, document) for request in requests for document in request.documents]


def encode_prompts(tokenizer: Any, pairs: Sequence[Pair]) -> list[list[int]]:
    """Return the token IDs of the prompts of pairs, by a tokenizer of transformers."""
    texts = [PROMPT.format(*pair) for pair in pairs]
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids
