"""Hostile text from end to end: everything is scored and comes back as it was, and no text answers for the model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from qwen3_rerank_plugins import Qwen3Reranker, RankedDocument
from tests import hostile
from tests.hostile import ATTACKS, COUNTS, LONGEST, SPELLINGS
from tests.optional import need
from tests.references import INSTRUCTION, PREFIX, SUFFIX, CardReference

QUESTION = "Why does bread rise?"
ANSWER = "Bread rises because yeast eats sugar and breathes out carbon dioxide."
ENOUGH = 300
"""Characters of a query or an instruction; longer ones only take longer."""
TOLERANCE = 1e-3
"""Absolute difference of log-odds that float32 is allowed."""


@pytest.fixture(scope="module")
def demo() -> Iterator[Qwen3Reranker]:
    """A short `max_length`: what is long is cut, and says so."""
    with Qwen3Reranker("demo", max_length=300) as reranker:
        yield reranker


@pytest.fixture(scope="module")
def roomy() -> Iterator[Qwen3Reranker]:
    """The same engine with room for queries and instructions, which are never cut."""
    with Qwen3Reranker("demo", max_length=2_000) as reranker:
        yield reranker


@pytest.fixture(scope="module")
def texts(data: Path) -> list[str]:
    """Every text there is, every spelling, every attack."""
    return [*itertools.chain(*hostile.collections(data).values()), *SPELLINGS, *ATTACKS.values()]


def check_nothing_is_lost(ranked: list[RankedDocument], documents: list[str]) -> None:
    """Every document once, the very object, with a score that orders; only blank ones have none."""
    assert sorted(found.index for found in ranked) == list(range(len(documents)))
    assert all(found.text is documents[found.index] for found in ranked)
    assert [found.logit for found in ranked] == sorted((found.logit for found in ranked), reverse=True)
    for found in ranked:
        assert math.isfinite(found.logit) == bool(found.text.strip())
        assert 0 <= found.score <= 1


def test_every_text_is_ranked_as_a_document(demo: Qwen3Reranker, texts: list[str]) -> None:
    assert len(texts) == sum(COUNTS.values()) + len(SPELLINGS) + len(ATTACKS)
    before = list(texts)
    ranked = demo.rank(QUESTION, texts)
    check_nothing_is_lost(ranked, texts)
    assert texts == before
    assert sum(found.truncated_tokens > 0 for found in ranked) >= COUNTS["declarations"]
    print(f"{len(texts):,} documents")


def test_a_tenth_of_the_texts_is_ranked_with_as_a_query(roomy: Qwen3Reranker, texts: list[str]) -> None:
    queries = [text[:ENOUGH] for text in texts[::10]]
    scores = roomy.score([(query, ANSWER) for query in queries])
    assert len(scores) == len(queries)
    assert all(0 < score < 1 for score in scores)
    print(f"{len(queries):,} queries")


def test_a_hundredth_of_the_texts_is_ranked_with_as_an_instruction(roomy: Qwen3Reranker, texts: list[str]) -> None:
    instructions = [*(text[:ENOUGH] for text in texts[::100]), *ATTACKS.values()]
    for instruction in instructions:
        check_nothing_is_lost(roomy.rank(QUESTION, [ANSWER], instruction=instruction), [ANSWER])
    print(f"{len(instructions):,} instructions")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    documents=st.lists(hostile.spelled_text | hostile.any_text, max_size=5),
    query=hostile.spelled_text,
    instruction=hostile.spelled_text,
)
def test_any_text_is_ranked_with_any_text(
    roomy: Qwen3Reranker, documents: list[str], query: str, instruction: str
) -> None:
    check_nothing_is_lost(roomy.rank(query, documents, instruction=instruction), documents)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(document=hostile.long_text)
def test_a_document_of_up_to_50000_characters_is_ranked(demo: Qwen3Reranker, document: str) -> None:
    assert len(document) <= LONGEST
    check_nothing_is_lost(demo.rank(QUESTION, [document, ANSWER]), [document, ANSWER])


def test_the_langchain_adapter_returns_hostile_documents_as_they_were(texts: list[str]) -> None:
    need("langchain_core")
    from langchain_core.documents import Document

    from qwen3_rerank_plugins.langchain import Qwen3Rerank

    documents = [Document(text, id=str(number)) for number, text in enumerate(texts[::20])]
    before = [document.model_copy(deep=True) for document in documents]
    found = Qwen3Rerank(model="demo", top_n=None, max_length=512).compress_documents(
        documents, ATTACKS["ends the text"]
    )
    assert documents == before
    assert {(document.id, document.page_content) for document in found} == {
        (document.id, document.page_content) for document in documents
    }
    assert len(found) == len(documents)
    assert all(0 <= document.metadata["relevance_score"] <= 1 for document in found)


def test_the_llama_index_adapter_returns_hostile_nodes_as_they_were(texts: list[str]) -> None:
    need("llama_index.core")
    from llama_index.core.schema import NodeWithScore, TextNode

    from qwen3_rerank_plugins.llama_index import Qwen3Rerank

    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(number))) for number, text in enumerate(texts[::20])]
    before = [node.to_dict() for node in nodes]
    postprocessor = Qwen3Rerank(model="demo", top_n=None, max_length=512)
    found = postprocessor.postprocess_nodes(nodes, query_str=ATTACKS["ends the text"])
    assert [node.to_dict() for node in nodes] == before
    assert {(node.node_id, node.text) for node in found} == {(node.node_id, node.text) for node in nodes}
    assert len(found) == len(nodes)
    assert all(0 <= node.score <= 1 for node in found if node.score is not None)


class PlainReference(CardReference):
    """The model card's path, with what the caller wrote tokenized by a tokenizer that knows no added token."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.published = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.plain = Tokenizer(self.published.model)
        self.plain.normalizer, self.plain.pre_tokenizer = self.published.normalizer, self.published.pre_tokenizer

    @torch.inference_mode()
    def plain_log_odds(self, query: str, document: str, instruction: str) -> float:
        body = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
        parts = ((self.published, PREFIX), (self.plain, body), (self.published, SUFFIX))
        ids = [token for tokenizer, text in parts for token in tokenizer.encode(text, add_special_tokens=False).ids]
        logits = self.model(torch.tensor([ids])).logits[0, -1].double()
        yes, no = (self.tokenizer.convert_tokens_to_ids(answer) for answer in ("yes", "no"))
        return float(logits[yes] - logits[no])


@pytest.fixture(scope="module")
def reference(checkpoint: Callable[[str], Path]) -> PlainReference:
    return PlainReference(checkpoint("grouped"))


@pytest.fixture(scope="module")
def random_model(checkpoint: Callable[[str], Path]) -> Iterator[Qwen3Reranker]:
    with Qwen3Reranker(str(checkpoint("grouped")), dtype="float32") as reranker:
        yield reranker


@pytest.mark.parametrize("where", hostile.PLACES)
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_is_scored_as_plain_text_and_moves_only_the_references_score(
    attack: str, where: str, random_model: Qwen3Reranker, reference: PlainReference
) -> None:
    placed = {"query": QUESTION, "document": ANSWER, "instruction": INSTRUCTION, where: attack}
    (found,) = random_model.rank(placed["query"], [placed["document"]], instruction=placed["instruction"])
    (fooled,) = reference.log_odds([(placed["query"], placed["document"])], placed["instruction"])
    assert abs(found.logit - reference.plain_log_odds(**placed)) <= TOLERANCE
    assert abs(found.logit - fooled) > 10 * TOLERANCE


def test_where_nothing_is_spelled_the_two_ways_are_one(random_model: Qwen3Reranker, reference: PlainReference) -> None:
    (found,) = random_model.rank(QUESTION, [ANSWER])
    assert abs(found.logit - reference.log_odds([(QUESTION, ANSWER)])[0]) <= TOLERANCE
    assert abs(found.logit - reference.plain_log_odds(QUESTION, ANSWER, INSTRUCTION)) <= TOLERANCE
