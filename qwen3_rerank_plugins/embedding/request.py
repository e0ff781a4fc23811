"""What is asked, checked once: texts, and how they are to be read.

Comes in: whatever a caller passed. Goes out: `EmbeddingRequest`, which the model trusts.
Must not know: models, tokens. The one place where the prompt of queries is written.
"""

from __future__ import annotations

import dataclasses

from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION, check_list, check_text
from qwen3_rerank_plugins.engine.settings import positive_int
from qwen3_rerank_plugins.engine.text.tokenizer import well_formed


@dataclasses.dataclass(frozen=True, slots=True)
class EmbeddingOptions:
    """How texts are read; every one of these may change from call to call of one loaded model.

    Attributes:
        max_length: tokens of one text with its prompt and end token; None is as many as the checkpoint says.
        truncate_dim: numbers to keep of each vector, which is a unit vector again; None keeps all.
        batch_size: texts in one forward pass.
        show_progress: draw sentence-transformers' progress bar.

    Raises:
        SettingsError: a number is not a positive whole one.
    """

    max_length: int | None = None
    truncate_dim: int | None = None
    batch_size: int = 32
    show_progress: bool = False

    def __post_init__(self) -> None:
        for name in ("max_length", "truncate_dim", "batch_size"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, positive_int(name, getattr(self, name)))


@dataclasses.dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts that share a prompt.

    Attributes:
        texts: in the caller's order; lone surrogates, which no tokenizer takes, are U+FFFD.
        prompt: stands before each of them; empty for documents.
        reading: how they are read.
    """

    texts: tuple[str, ...]
    prompt: str
    reading: EmbeddingOptions


def query_prompt(instruction: str | None) -> str:
    """What the family reads before a query: the instruction and the word "Query:", with no space after it."""
    return f"Instruct: {DEFAULT_INSTRUCTION if instruction is None else well_formed(instruction)}\nQuery:"


def make_request(texts: object, reading: EmbeddingOptions, prompt: str = "") -> EmbeddingRequest:
    """Check a caller's texts and freeze them.

    Raises:
        InputTypeError: a text is not `str`; the message names which.
        RequestError: `texts` is one string instead of a list of them.
    """
    listed = check_list("texts", texts, "Pass list(texts.values()).")
    checked = (check_text(f"texts[{index}]", text) for index, text in enumerate(listed))
    return EmbeddingRequest(tuple(map(well_formed, checked)), prompt, reading)
