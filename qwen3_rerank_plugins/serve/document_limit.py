"""Cohere's `max_tokens_per_doc`: cut each document to a number of tokens before it is ranked."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder


@dataclasses.dataclass(frozen=True, slots=True)
class CutDocuments:
    """Documents after the cut.

    Attributes:
        texts: what is left of each document.
        cut_tokens: how many tokens were cut from the end of each.
    """

    texts: tuple[str, ...]
    cut_tokens: tuple[int, ...]


class DocumentLimit:
    """Cuts documents with the tokenizer of the model, which is read when it is needed first.

    Args:
        settings: of the model.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._encoder: PromptEncoder | None = None

    def cut(self, texts: Sequence[str], max_tokens: int) -> CutDocuments:
        """Return the documents with at most `max_tokens` tokens each, counted as in a prompt. This may take long."""
        with self._lock:
            if self._encoder is None:
                self._encoder = PromptEncoder(find_checkpoint(self._settings).tokenizer_file)
        encoder, kept, cut = self._encoder, list[str](), list[int]()
        for text in texts:
            starts = encoder.token_starts(text)
            cut.append(max(0, len(starts) - max_tokens))
            while len(starts) > max_tokens:  # the beginning of a text may take more tokens alone than inside the text
                text = text[: starts[max_tokens]]  # noqa: PLW2901
                starts = encoder.token_starts(text)
            kept.append(text)
        return CutDocuments(tuple(kept), tuple(cut))
