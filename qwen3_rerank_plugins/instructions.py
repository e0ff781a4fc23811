"""Ready-made instructions for common tasks, one English sentence each, in the style of the models' training data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION
from qwen3_rerank_plugins.errors import SettingsError

PRESETS: Mapping[str, str] = MappingProxyType(
    {
        "web-search": DEFAULT_INSTRUCTION,
        "question-answering": "Given a question, retrieve passages that contain the answer",
        "code": "Given a description of what code should do, retrieve code that does it",
        "duplicate-questions": "Given a question, retrieve questions that ask the same thing in other words",
        "fact-checking": "Given a claim, retrieve passages that support or refute it",
        "scientific": "Given a research question, retrieve abstracts of papers that report findings on it",
        "medical": "Given a medical question, retrieve passages from the literature that answer it",
        "legal": "Given a legal question, retrieve provisions and decisions that govern it",
        "finance": "Given a question about a company or a market, retrieve passages of reports that answer it",
        "product-search": "Given what a shopper is looking for, retrieve products that match it",
        "support": "Given a customer's problem, retrieve help articles that solve it",
        "conversation": "Given a conversation, retrieve passages that help to answer its last message",
        "tools": "Given a task, retrieve descriptions of tools that can carry it out",
    }
)
"""Instructions by task. "web-search" is the model card's sentence; this package wrote the others."""


def preset(task: str) -> str:
    """Return the instruction for a task.

    Raises:
        SettingsError: the task is unknown. The message lists the known ones.
    """
    try:
        return PRESETS[task]
    except KeyError:
        raise SettingsError(f"There is no instruction for {task!r}; there are {', '.join(PRESETS)}.") from None
