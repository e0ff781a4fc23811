"""The prompt of Qwen3-Reranker, split before the document."""

from __future__ import annotations

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
OTHER_INSTRUCTIONS = (
    "Given a question, retrieve passages that answer the question",
    "Given a question, retrieve Wikipedia passages that answer the question",
    "Given a biomedical research question, retrieve study conclusions that answer the question",
    "Given the user query, retrieval the relevant passages",
    "Find the sentence that best matches the search terms",
    "Retrieve support articles that solve the problem of the customer",
)
# The tokens that open the sections of a prompt: instruction, query, document, and what follows.
MARKERS = ("<Instruct", "<Query", "<Document", "</think>")


def head_of(instruction: str, query: str) -> str:
    """Return the prompt before the document. All documents of a query share it."""
    return f"{PREFIX}<Instruct>: {instruction}\n<Query>: {query}\n<Document>:"


def tail_of(document: str) -> str:
    """Return the document and the rest of the prompt. Tokenized apart from the head, both give the prompt's IDs."""
    return f" {document}{SUFFIX}"
