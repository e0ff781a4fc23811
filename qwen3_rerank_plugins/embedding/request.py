"""A checked request for vectors: texts, their prompt and the options of the call."""

from __future__ import annotations

import dataclasses

from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION, check_list, check_text
from qwen3_rerank_plugins.engine.settings import positive_int
from qwen3_rerank_plugins.engine.text.tokenizer import well_formed


@dataclasses.dataclass(frozen=True, slots=True)
class EmbeddingOptions:
    """Options that may change from call to call of one loaded model.

    Attributes:
        max_length: most tokens of a text with its prompt and end token; None is the checkpoint's limit.
        truncate_dim: numbers to keep of each vector, which is normalized again; None keeps all.
        batch_size: texts in one forward pass.
        show_progress: draw sentence-transformers' progress bar.

    Raises:
        SettingsError: a number is not a positive whole number.
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
        texts: in the caller's order; lone surrogates, which no tokenizer accepts, are replaced by U+FFFD.
        prompt: comes before each text; empty for documents.
        options: the options of the call.
    """

    texts: tuple[str, ...]
    prompt: str
    options: EmbeddingOptions


def query_prompt(instruction: str | None) -> str:
    """Return the text before a query: the instruction and "Query:", with no space after it."""
    return f"Instruct: {DEFAULT_INSTRUCTION if instruction is None else well_formed(instruction)}\nQuery:"


def make_request(texts: object, options: EmbeddingOptions, prompt: str = "") -> EmbeddingRequest:
    """Check a caller's texts and freeze them.

    Raises:
        InputTypeError: a text is not `str`; the message names its position.
        RequestError: `texts` is one string instead of a list of them.
    """
    listed = check_list("texts", texts, "Pass list(texts.values()).")
    checked = (check_text(f"texts[{index}]", text) for index, text in enumerate(listed))
    return EmbeddingRequest(tuple(map(well_formed, checked)), prompt, options)
