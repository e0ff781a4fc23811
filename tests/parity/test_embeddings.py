"""The first stage against sentence-transformers itself and against a few lines of transformers, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import Qwen3Model

from qwen3_rerank_plugins.langchain import Qwen3Embeddings
from qwen3_rerank_plugins.llama_index import Qwen3Embedding
from tests.bundled_data import QWEN_TOKENIZER
from tests.embedding_checkpoints import QUERY_PROMPT
from tests.parity.test_references import make_pairs

TOLERANCE = 1e-6
"""Of sentence-transformers, which is given the same batches."""
ROUNDING = 1e-5
"""Of a text alone, which has no padding: measured near 1e-6."""
END_ID = 151643


class TransformersReference:
    """The reranker's tokenizer, one end token put behind by hand, one text at a time, the last hidden state."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(QWEN_TOKENIZER / "tokenizer.json"))
        self.model = Qwen3Model.from_pretrained(folder).float().eval()

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], max_length: int = 512) -> Any:
        ids = [[*self.tokenizer.encode(text).ids[: max_length - 1], END_ID] for text in texts]
        states = [self.model(input_ids=torch.tensor([one])).last_hidden_state[0, -1] for one in ids]
        return torch.stack([state / state.norm() for state in states]).numpy()


@pytest.fixture(scope="module")
def queries() -> list[str]:
    return [*dict(make_pairs()), "x" * 3_000]


@pytest.fixture(scope="module")
def documents() -> list[str]:
    """Real passages, and some of the lengths and kinds where padding, cutting and composing go wrong."""
    return [*(document for _, document in make_pairs()), "", "a", "e\u0301 \u212b", "word " * 2_000]


@pytest.fixture(scope="module")
def theirs(embedding_checkpoint: Path) -> SentenceTransformer:
    return SentenceTransformer(str(embedding_checkpoint), device="cpu")


@pytest.fixture(scope="module")
def plain(embedding_checkpoint: Path) -> TransformersReference:
    return TransformersReference(embedding_checkpoint)


@pytest.fixture(scope="module")
def ours(embedding_checkpoint: Path) -> Qwen3Embeddings:
    return Qwen3Embeddings(model=str(embedding_checkpoint), device="cpu")


def largest_difference(one: Any, other: Any) -> float:
    assert np.shape(one) == np.shape(other)
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


def test_documents_equal_both_references(
    ours: Qwen3Embeddings, theirs: SentenceTransformer, plain: TransformersReference, documents: list[str]
) -> None:
    found = ours.embed_documents(documents)
    assert largest_difference(found, theirs.encode(documents)) <= TOLERANCE
    assert largest_difference(found, plain.embed(documents)) <= ROUNDING
    assert np.std(found, axis=0).min() > 0.01, "vectors too alike to show anything"


def test_queries_equal_both_references(
    ours: Qwen3Embeddings, theirs: SentenceTransformer, plain: TransformersReference, queries: list[str]
) -> None:
    found = [ours.embed_query(query) for query in queries]
    assert largest_difference(found, theirs.encode(queries, prompt_name="query")) <= TOLERANCE
    assert largest_difference(found, plain.embed([QUERY_PROMPT + query for query in queries])) <= ROUNDING
    assert largest_difference(found, ours.embed_documents(queries)) > 1e-2


def test_an_instruction_equals_both_references(
    embedding_checkpoint: Path, theirs: SentenceTransformer, plain: TransformersReference
) -> None:
    found = [Qwen3Embeddings(model=str(embedding_checkpoint), instruction="Find recipes").embed_query("soup")]
    assert largest_difference(found, theirs.encode(["soup"], prompt="Instruct: Find recipes\nQuery:")) <= TOLERANCE
    assert largest_difference(found, plain.embed(["Instruct: Find recipes\nQuery:soup"])) <= ROUNDING


@pytest.mark.parametrize("dimension", [1, 16, 63])
def test_truncated_dimensions_equal_sentence_transformers_when_it_normalises_them(
    dimension: int, embedding_checkpoint: Path, documents: list[str]
) -> None:
    theirs = SentenceTransformer(str(embedding_checkpoint), device="cpu", truncate_dim=dimension)
    found = Qwen3Embeddings(model=str(embedding_checkpoint), truncate_dim=dimension).embed_documents(documents)
    assert largest_difference(found, theirs.encode(documents, normalize_embeddings=True)) <= TOLERANCE


def test_a_shorter_limit_equals_both_references(
    embedding_checkpoint: Path, plain: TransformersReference, documents: list[str]
) -> None:
    theirs = SentenceTransformer(str(embedding_checkpoint), device="cpu")
    theirs.max_seq_length = 40
    found = Qwen3Embeddings(model=str(embedding_checkpoint), max_length=40).embed_documents(documents)
    assert largest_difference(found, theirs.encode(documents)) <= TOLERANCE
    assert largest_difference(found, plain.embed(documents, max_length=40)) <= ROUNDING


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_a_vector_does_not_depend_on_the_company_and_padding_of_its_text(
    batch_size: int, embedding_checkpoint: Path, ours: Qwen3Embeddings, documents: list[str]
) -> None:
    alone = [ours.embed_documents([document])[0] for document in documents]
    together = Qwen3Embeddings(model=str(embedding_checkpoint), batch_size=batch_size).embed_documents(documents)
    assert largest_difference(together, alone) <= ROUNDING


def test_both_adapters_give_the_same_numbers_from_one_model(
    embedding_checkpoint: Path, ours: Qwen3Embeddings, documents: list[str], queries: list[str]
) -> None:
    other = Qwen3Embedding(model=str(embedding_checkpoint), device="cpu", embed_batch_size=32)
    assert other.get_text_embedding_batch(documents) == ours.embed_documents(documents)
    assert [other.get_query_embedding(query) for query in queries] == [ours.embed_query(query) for query in queries]
