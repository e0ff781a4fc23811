"""The compressor returns copies, best first, with scores, and leaves its input unchanged."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.load import dumps
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import InputTypeError, LongDocumentError, NonFiniteScoreError
from qwen3_rerank_plugins.langchain import Qwen3Rerank
from tests.doubles import OverlapScorer
from tests.langchain import corpus
from tests.langchain.conftest import Compress

Fake = Callable[..., Qwen3Rerank]

words = st.lists(st.sampled_from(["red", "green", "blue"]), max_size=3).map(" ".join)
metadata = st.dictionaries(
    st.sampled_from(["source", "relevance_score", "truncated_tokens", "nested"]),
    st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.integers())),
)
document_lists = st.lists(st.builds(Document, page_content=words, metadata=metadata), max_size=8)


def texts(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


class Chapter(Document):
    """A subclass with a field and private state of its own."""

    number: int = 0
    _secret: str = "kept"


def test_the_best_document_comes_first_with_its_probability(fake: Fake, compress: Compress) -> None:
    documents = [Document("red"), Document("red green blue"), Document("green red")]
    found = compress(fake(), documents, "red green blue")
    assert texts(found) == ["red green blue", "green red", "red"]
    assert [document.metadata["relevance_score"] for document in found] == pytest.approx(
        [1 / (1 + 2.718281828459045**-1.5), 1 / (1 + 2.718281828459045**-0.5), 1 / (1 + 2.718281828459045**0.5)]
    )


@pytest.mark.parametrize("arguments", [("documents", "query"), ("documents", "query", "callbacks")])
def test_the_parameters_have_the_names_that_hosts_use(fake: Fake, compress: Compress, arguments: Any) -> None:
    values = {"documents": [Document("red")], "query": "red", "callbacks": None}
    assert texts(compress(fake(), **{name: values[name] for name in arguments})) == ["red"]


def test_the_result_is_a_list_and_its_scores_are_python_floats(fake: Fake, compress: Compress) -> None:
    found = compress(fake(), [Document("red"), Document("")], "red")
    assert type(found) is list
    assert [type(document.metadata["relevance_score"]) for document in found] == [float, float]


def test_results_go_through_the_serialisers_of_the_host(fake: Fake, compress: Compress) -> None:
    found = compress(fake(), [Document("red", id="1"), Document("blue", metadata={"page": 2})], "red")
    assert [json.loads(dumps(document))["kwargs"]["metadata"] for document in found] == [d.metadata for d in found]
    assert [Document.model_validate_json(document.model_dump_json()) for document in found] == found


def test_no_documents_give_no_documents_and_load_nothing(compress: Compress) -> None:
    unloadable = Qwen3Rerank(model="/there/is/no/such/folder")
    assert compress(unloadable, [], "red") == []


def test_one_document_comes_back_alone(fake: Fake, compress: Compress) -> None:
    assert texts(compress(fake(), [Document("red")], "blue")) == ["red"]


@pytest.mark.parametrize(("top_n", "expected"), [(None, 4), (0, 0), (1, 1), (4, 4), (8, 4)])
def test_top_n_is_how_many_come_back(fake: Fake, compress: Compress, top_n: int | None, expected: int) -> None:
    compressor = fake(top_n=top_n)
    documents = [Document("red"), Document("green"), Document("blue"), Document("red blue")]
    assert len(compress(compressor, documents, "red")) == expected
    assert compressor.top_n == top_n


def test_three_documents_come_back_unless_told_otherwise(fake: Fake, compress: Compress) -> None:
    assert len(compress(fake(), [Document("red")] * 9, "red")) == 3


def test_top_n_none_means_all_even_if_the_ready_reranker_has_a_limit(compress: Compress) -> None:
    limited = Qwen3Reranker("demo", top_n=1, min_score=0.9, scorer=OverlapScorer())
    documents = [Document("red"), Document("green")]
    assert compress(Qwen3Rerank(reranker=limited), documents, "red") == []
    assert len(compress(Qwen3Rerank(reranker=limited, top_n=None, min_score=None), documents, "red")) == 2


def test_min_score_drops_what_is_below_it_and_keeps_what_is_on_it(fake: Fake, compress: Compress) -> None:
    documents = [Document("red"), Document("red green"), Document("blue")]
    on_it = compress(fake(), [Document("red green")], "red green")[0].metadata["relevance_score"]
    assert texts(compress(fake(min_score=on_it), documents, "red green")) == ["red green"]


def test_instruction_reaches_the_model(fake: Fake, compress: Compress) -> None:
    scorer = OverlapScorer()
    compress(fake(scorer, instruction="Find colors"), [Document("red")], "red")
    assert [request.instruction for request in scorer.requests] == ["Find colors"]


@pytest.mark.parametrize("wrap", [tuple, iter, lambda documents: (d for d in documents)], ids=["tuple", "iter", "gen"])
def test_any_iterable_of_documents_will_do(fake: Fake, compress: Compress, wrap: Any) -> None:
    assert texts(compress(fake(), wrap([Document("red"), Document("blue")]), "blue")) == ["blue", "red"]


@settings(deadline=None)
@given(document_lists, words, st.sampled_from([None, 0, 1, 3]))
def test_inputs_are_byte_identical_afterwards(
    fake: Fake, documents: list[Document], query: str, top_n: int | None
) -> None:
    before, same = pickle.dumps(documents), list(documents)
    found = fake(top_n=top_n).compress_documents(documents, query)
    assert pickle.dumps(documents) == before
    assert all(one is other for one, other in zip(documents, same, strict=True))
    assert not any(copied is document for copied in found for document in documents)


@settings(deadline=None)
@given(document_lists, words)
def test_order_is_that_of_the_facade_and_scores_never_rise(fake: Fake, documents: list[Document], query: str) -> None:
    compressor = fake(top_n=None)
    ranked = compressor.reranker.rank(query, texts(documents))
    found = compressor.compress_documents(documents, query)
    assert texts(found) == [documents[document.index].page_content for document in ranked]
    scores = [document.metadata["relevance_score"] for document in found]
    assert scores == [document.score for document in ranked]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


@settings(deadline=None)
@given(document_lists, words)
def test_ties_stay_in_the_order_they_came_in(fake: Fake, documents: list[Document], query: str) -> None:
    numbered = [document.model_copy(update={"id": str(index)}) for index, document in enumerate(documents)]
    found = fake(top_n=None).compress_documents(numbered, query)
    assert sorted(document.id for document in found) == sorted(document.id for document in numbered)
    for better, worse in itertools.pairwise(found):
        if better.metadata["relevance_score"] == worse.metadata["relevance_score"]:
            assert int(better.id) < int(worse.id)


def test_equal_documents_keep_their_order(fake: Fake, compress: Compress) -> None:
    documents = [Document("red", id=str(number)) for number in range(20)]
    assert [d.id for d in compress(fake(top_n=None), documents, "red")] == [str(number) for number in range(20)]


def test_every_occurrence_of_a_duplicate_comes_back(fake: Fake, compress: Compress) -> None:
    thrice = Document("red", id="same")
    documents = [thrice, Document("blue", id="same"), thrice, Document("red", metadata={"page": 2}), thrice]
    found = compress(fake(top_n=None), documents, "red")
    assert [(d.page_content, d.id, d.metadata.get("page")) for d in found] == [
        ("red", "same", None),
        ("red", "same", None),
        ("red", None, 2),
        ("red", "same", None),
        ("blue", "same", None),
    ]
    assert len({id(document) for document in found}) == 5
    assert len({id(document.metadata) for document in found}) == 5


def test_id_class_and_state_of_a_subclass_are_kept(fake: Fake, compress: Compress) -> None:
    chapter = Chapter(page_content="red", id="7", number=7, metadata={"page": 70})
    chapter._secret = "still kept"
    (found,) = compress(fake(), [chapter], "red")
    assert type(found) is Chapter
    assert (found.id, found.number, found._secret, found.metadata["page"]) == ("7", 7, "still kept", 70)
    assert "relevance_score" not in chapter.metadata


def test_metadata_is_copied_at_every_depth_and_what_cannot_be_copied_is_shared(fake: Fake, compress: Compress) -> None:
    uncopyable = threading.Lock()
    document = Document("red", metadata={"lock": uncopyable, "nested": {"deep": [1, 2]}, 3: "a key that is no text"})
    (found,) = compress(fake(), [document], "red")
    assert found.metadata["lock"] is uncopyable
    found.metadata["nested"]["deep"].append(3)
    assert document.metadata["nested"] == {"deep": [1, 2]}
    assert found.metadata[3] == "a key that is no text"
    found.metadata["new"] = True
    assert "new" not in document.metadata


def test_missing_metadata_is_as_good_as_empty(fake: Fake, compress: Compress) -> None:
    (found,) = compress(fake(), [Document.model_construct(page_content="red", metadata=None)], "red")
    assert list(found.metadata) == ["relevance_score"]


def test_a_second_rerank_replaces_the_notes_of_the_first(fake: Fake, compress: Compress) -> None:
    stale = Document(
        "red",
        metadata={"relevance_score": 17, "truncated_tokens": 400, "relevant_start": 0, "relevant_end": 1, "page": 1},
    )
    (found,) = compress(fake(), [stale], "red")
    assert set(found.metadata) == {"page", "relevance_score"}
    assert found.metadata["relevance_score"] < 1
    assert stale.metadata["relevance_score"] == 17


def test_a_document_that_was_cut_says_by_how_many_tokens(model: str, compress: Compress) -> None:
    compressor = Qwen3Rerank(model=model, max_length=200)
    whole, cut = Document("A short text."), Document("A long text about red and green. " * 100)
    by_text = {d.page_content: d.metadata for d in compress(compressor, [whole, cut], "red")}
    assert set(by_text[whole.page_content]) == {"relevance_score"}
    assert by_text[cut.page_content]["truncated_tokens"] > 100


def test_a_document_that_was_read_in_windows_says_which_was_best(model: str, compress: Compress) -> None:
    compressor = Qwen3Rerank(model=model, max_length=200, long_documents="windows")
    text = "A long text about blue and green. " * 60 + "A red fox sleeps. " + "A long text about green. " * 60
    found = {d.page_content: d.metadata for d in compress(compressor, [Document("red fox"), Document(text)], "red fox")}
    start, end = found[text]["relevant_start"], found[text]["relevant_end"]
    assert "red fox" in text[start:end]
    assert end - start < 1000
    assert set(found["red fox"]) == {"relevance_score"}
    json.dumps(found[text])


def test_a_document_that_is_too_long_can_be_refused(model: str, compress: Compress) -> None:
    with pytest.raises(LongDocumentError, match=r"1 of 2 documents .* documents\[1\]"):
        compress(
            Qwen3Rerank(model=model, max_length=200, long_documents="error"),
            [Document("red"), Document("red " * 300)],
            "red",
        )


def test_blank_documents_come_last_with_the_score_zero(compressor: Qwen3Rerank, compress: Compress) -> None:
    documents = [Document(""), Document("blue"), Document(" \n\t"), Document("green")]
    found = compress(compressor, documents, "red")
    assert texts(found)[2:] == ["", " \n\t"]
    assert [document.metadata["relevance_score"] > 0 for document in found] == [True, True, False, False]


@pytest.mark.parametrize("content", [None, b"bytes", 7])
def test_a_document_without_text_is_named_in_the_error(fake: Fake, compress: Compress, content: object) -> None:
    documents = [Document("red"), Document.model_construct(page_content=content)]
    with pytest.raises(InputTypeError, match=r"documents\[1\] must be a string, got"):
        compress(fake(), documents, "red")


@pytest.mark.parametrize("other", ["red", {"page_content": "red"}, None])
def test_what_is_no_document_is_named_in_the_error(fake: Fake, compress: Compress, other: object) -> None:
    with pytest.raises(InputTypeError, match=rf"documents\[1\] must be a Document, got {type(other).__name__}.*rerank"):
        compress(fake(), [Document("red"), other], "red")


@pytest.mark.parametrize("one", ["red", b"red", Document("red"), {"text": "red"}, None, 3])
def test_a_single_thing_is_no_list_of_documents(fake: Fake, compress: Compress, one: object) -> None:
    with pytest.raises(InputTypeError, match="documents must be a list"):
        compress(fake(), one, "red")


@pytest.mark.parametrize("query", [None, 3, b"red", {"query": "red"}])
def test_a_query_that_is_no_text_is_refused(fake: Fake, compress: Compress, query: object) -> None:
    with pytest.raises(InputTypeError, match="query must be a string"):
        compress(fake(), [Document("red")], query)


def test_a_broken_model_gives_an_error_and_no_order(model: str, compress: Compress, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(find_checkpoint(EngineSettings(model=model)).folder, broken)
    (weights,) = broken.glob("*.safetensors")
    tensors = load_file(weights)
    tensors["model.norm.weight"].fill_(float("nan"))
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(NonFiniteScoreError, match="no finite score for 2 of 3 documents"):
        compress(Qwen3Rerank(model=str(broken)), [Document("red"), Document(""), Document("green")], "red")


def test_shuffled_documents_get_the_scores_they_had(compressor: Qwen3Rerank, compress: Compress) -> None:
    shuffled = corpus.documents()
    random.Random(0).shuffle(shuffled)
    first, second = (compress(compressor, batch, corpus.QUESTIONS[0]) for batch in (corpus.documents(), shuffled))
    assert [d.id for d in first] == [d.id for d in second]
    assert [d.metadata["relevance_score"] for d in first] == pytest.approx(
        [d.metadata["relevance_score"] for d in second], abs=1e-5
    )


def test_deep_copies_of_results_do_not_share_with_the_input(fake: Fake, compress: Compress) -> None:
    document = Document("red", metadata={"nested": {"deep": [1]}})
    (found,) = compress(fake(), [document], "red")
    copy.deepcopy(found).metadata["nested"]["deep"].append(2)
    assert document.metadata == {"nested": {"deep": [1]}}
