"""The page on the first stage, run with a model; `tests/guards` run it without one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins.embedding.fields import EmbeddingFields
from qwen3_rerank_plugins.langchain import Qwen3Embeddings
from qwen3_rerank_plugins.llama_index import Qwen3Embedding
from tests.pages import ROOT, python_blocks

PAGE = (ROOT / "docs" / "embeddings.md").read_text(encoding="utf-8")
TEXTS = ["Gravity pulls two bodies towards each other.", "The capital of China is Beijing.", "Glass is melted sand."]
QUESTION = "What is the capital of China?"


@pytest.fixture
def own_loop() -> Iterator[None]:
    """A loop that is closed afterwards: LlamaIndex's synchronous methods make one where there is none, and leave it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def page(embedding_checkpoint: Path) -> dict[str, Any]:
    """What the page defines, with the random checkpoint for the published one."""
    found: dict[str, Any] = {"__name__": "__main__"}
    for block in python_blocks(PAGE):
        exec(block.replace("Qwen/Qwen3-Embedding-0.6B", str(embedding_checkpoint)), found)
    return found


@pytest.mark.usefixtures("own_loop")
@pytest.mark.filterwarnings("default")  # what the hosts warn about is theirs to mend
def test_what_the_page_defines_finds_and_reranks(page: dict[str, Any]) -> None:
    found = page["search"](TEXTS, QUESTION)
    nodes = page["search_nodes"](TEXTS, QUESTION)
    assert found[0].page_content == nodes[0].node.get_content() == TEXTS[1]
    assert len(found) == len(nodes) == 2


@pytest.mark.parametrize("adapter", [Qwen3Embeddings, Qwen3Embedding])
def test_every_parameter_is_in_the_table_with_its_default(adapter: type[EmbeddingFields]) -> None:
    hosts_own = {"callback_manager", "num_workers", "embeddings_cache", "rate_limiter", "model_name"}
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    for name in set(adapter.model_fields) - hosts_own:
        (row,) = [row for row in rows if f"`{name}`" in row.split("|")[1]]
        default = adapter.model_fields[name].default
        assert "hub's own" in row or f"`{default!r}`".replace("'", '"') in row, name
