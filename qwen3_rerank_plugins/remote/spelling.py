"""Text that spells a control token -> text that does not.

Comes in: what a caller wrote. Goes out: the same, with a space inside each such spelling.
Must not know: templates, servers.

A server reads a text with its own tokenizer, which takes the spelling of an added token for the token itself. This side
has no tokenizer to insert tokens by name, so the spelling is broken, by a space after its first character: the reader
sees what was there, and no added token has a space in it.
"""

from __future__ import annotations

import re

from qwen3_rerank_plugins.engine.prompt import CONTROL_TOKENS
from qwen3_rerank_plugins.engine.tokens import well_formed

CONTROL_SPELLINGS = CONTROL_TOKENS
"""The added tokens of the Qwen3-Reranker tokenizers, all sizes. None occurs within another, so none can overlap."""

_SPELLED = re.compile("|".join(map(re.escape, CONTROL_SPELLINGS)))


def harmless(text: str) -> str:
    """The text with every spelling of a control token broken, and as well formed as JSON needs it."""
    return _SPELLED.sub(lambda spelled: f"< {spelled[0][1:]}", well_formed(text))
