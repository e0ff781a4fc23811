"""Three independent ways to score a pair, none of which shares a line with the engine.

Each takes (query, document) pairs and returns float64 log-odds; the slow twins of everything that is fast.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from qwen3_rerank_plugins.engine.loading.loader import dtype_word
from tests.checkpoints import load_reference
from tests.optional import need

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    "provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
Pairs = Sequence[tuple[str, str]]


_TOKENIZERS: dict[str, Any] = {}
"""By what the files of a folder hold, as most folders of a run have the same tokenizer: it takes seconds to load."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder as transformers loads it, with the padding that the model card asks for."""
    from transformers import AutoTokenizer

    files = sorted(file for file in folder.iterdir() if file.suffix in {".json", ".jinja", ".txt"})
    digest = hashlib.sha256(b"".join(file.name.encode() + b"\0" + file.read_bytes() for file in files)).hexdigest()
    if digest not in _TOKENIZERS:
        _TOKENIZERS[digest] = AutoTokenizer.from_pretrained(folder, padding_side="left")
    return _TOKENIZERS[digest]


class CardReference:
    """The model card's path through transformers: whole prompts, left padding, logits at the last position."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.tokenizer = load_tokenizer(folder)
        self.model = load_reference(folder, dtype)

    @torch.inference_mode()
    def log_odds(self, pairs: Pairs, instruction: str = INSTRUCTION, batch_size: int = 4) -> list[float]:
        yes, no = (self.tokenizer.convert_tokens_to_ids(answer) for answer in ("yes", "no"))
        found: list[float] = []
        for start in range(0, len(pairs), batch_size):
            texts = [
                f"{PREFIX}<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}{SUFFIX}"
                for query, document in pairs[start : start + batch_size]
            ]
            inputs = self.tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
            logits = self.model(**inputs, logits_to_keep=1).logits[:, -1]
            found.extend((logits[:, yes].double() - logits[:, no].double()).tolist())
        return found


class SentenceTransformersReference:
    """sentence-transformers' CrossEncoder over the checkpoint folder, its activation switched off."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        need("sentence_transformers")
        from sentence_transformers import CrossEncoder

        self.encoder = CrossEncoder(str(folder), device="cpu", model_kwargs={dtype_word(): dtype}, max_length=40960)

    def log_odds(self, pairs: Pairs, instruction: str = INSTRUCTION) -> list[float]:
        scores = self.encoder.predict(
            list(pairs), prompt=instruction, activation_fn=torch.nn.Identity(), batch_size=4, show_progress_bar=False
        )
        return [float(score) for score in scores]


class MtebReference:
    """mteb's wrapper for the family: its own prompt assembly and padding, logits before its softmax."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        need("mteb")
        from mteb.models.model_implementations.qwen3_reranker import Qwen3RerankerWrapper

        self.wrapper = Qwen3RerankerWrapper(str(folder), device="cpu", dtype=dtype)

    @torch.inference_mode()
    def log_odds(self, pairs: Pairs, instruction: str = INSTRUCTION) -> list[float]:
        found: list[float] = []
        for query, document in pairs:
            text = self.wrapper.format_instruction(instruction, query, document)
            logits = self.wrapper.model(**self.wrapper.process_inputs([text])).logits[0, -1].double()
            found.append(float(logits[self.wrapper.token_true_id] - logits[self.wrapper.token_false_id]))
        return found
