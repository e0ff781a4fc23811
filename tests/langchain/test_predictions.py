"""`predict` and `rank` work as in sentence-transformers, also when its tools call them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import InputTypeError, RequestError, SettingsError
from qwen3_rerank_plugins.instructions import preset
from qwen3_rerank_plugins.langchain import Qwen3CrossEncoder
from tests.doubles import OverlapScorer
from tests.optional import need

PAIRS = [
    ["What is the capital of China?", "The capital of China is Beijing."],
    ["What is the capital of Japan?", "Bread rises."],
    ["What is the capital of China?", "Gravity pulls."],
    ["What is the capital of China?", ""],
]
SAMPLES: list[dict[str, Any]] = [
    {"query": f"What is the capital of {land}?", "positive": [f"The capital of {land} is {city}."], "negative": others}
    for land, city, others in (
        ("China", "Beijing", ["Gravity pulls.", "Bread rises."]),
        ("Japan", "Tokyo", ["Gravity pulls.", "Bread rises."]),
    )
]


@pytest.fixture
def encoder(model: str) -> Qwen3CrossEncoder:
    return Qwen3CrossEncoder(model=model)


def test_it_predicts_float32_probabilities_in_the_order_of_the_pairs(encoder: Qwen3CrossEncoder) -> None:
    expected = np.array(encoder.score([tuple(pair) for pair in PAIRS]), dtype=np.float32)
    array = encoder.predict(PAIRS)
    assert (type(array), array.dtype, array.shape) == (np.ndarray, np.float32, (4,))
    tensor = encoder.predict(PAIRS, convert_to_tensor=True)
    assert (tensor.dtype, tuple(tensor.shape)) == (torch.float32, (4,))
    listed = encoder.predict(PAIRS, convert_to_numpy=False)
    assert [type(one) for one in listed] == [torch.Tensor] * 4
    for found in (array, tensor.numpy(), np.array(listed), encoder.predict(sentences=map(tuple, PAIRS))):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("wrap", [list, tuple, np.array], ids=["list", "tuple", "array"])
def test_a_single_pair_has_a_single_score(encoder: Qwen3CrossEncoder, wrap: Any) -> None:
    one = encoder.predict(wrap(PAIRS[0]))
    assert (one.shape, one.dtype) == ((), np.float32)
    assert encoder.predict(wrap(PAIRS[0]), convert_to_tensor=True).shape == torch.Size([])
    assert one == pytest.approx(encoder.score([tuple(PAIRS[0])])[0], abs=1e-6)
    np.testing.assert_allclose(encoder.predict(np.array(PAIRS))[0], one, atol=1e-6)


@pytest.mark.parametrize("none", [[], (), np.array([])], ids=["list", "tuple", "array"])
def test_no_pairs_have_no_scores_and_load_nothing(none: Any) -> None:
    unloadable = Qwen3CrossEncoder(model="/there/is/no/such/folder")
    assert (unloadable.predict(none).shape, unloadable.predict(none).dtype) == ((0,), np.float32)
    assert unloadable.predict(none, convert_to_tensor=True).shape == (0,)
    assert unloadable.predict(none, convert_to_numpy=False) == []


def test_an_activation_function_gets_the_log_odds(encoder: Qwen3CrossEncoder, model: str) -> None:
    found = encoder.predict(PAIRS, activation_fn=torch.nn.Identity())
    for (query, document), one in zip(PAIRS, found, strict=True):
        assert one == pytest.approx(Qwen3Reranker(model).rank(query, [document])[0].logit, abs=1e-4)
    np.testing.assert_allclose(encoder.predict(PAIRS, activation_fn=torch.sigmoid), encoder.predict(PAIRS), atol=1e-6)


def test_a_prompt_is_the_instruction_of_the_call() -> None:
    scorer = OverlapScorer()
    encoder = Qwen3CrossEncoder(reranker=Qwen3Reranker(scorer=scorer), instruction="Find paint")
    encoder.predict([("q", "d")])
    encoder.predict([("q", "d")], prompt="Find code")
    encoder.predict([("q", "d")], prompt_name="legal")
    encoder.rank("q", ["d"], prompt="Find code")
    encoder.rank("q", ["d"])
    assert [request.instruction for request in scorer.requests] == [
        "Find paint",
        "Find code",
        preset("legal"),
        "Find code",
        "Find paint",
    ]
    with pytest.raises(SettingsError, match="no instruction for 'query'"):
        encoder.predict([("q", "d")], prompt_name="query")
    with pytest.raises(SettingsError, match="prompt and prompt_name"):
        encoder.predict([("q", "d")], prompt="a", prompt_name="legal")


def test_what_the_reranker_decides_is_refused(encoder: Qwen3CrossEncoder) -> None:
    for option in ({"device": "cpu"}, {"pool": {}}, {"chunk_size": 3}):
        with pytest.raises(SettingsError, match=next(iter(option))):
            encoder.predict(PAIRS, **option)
        with pytest.raises(SettingsError, match=next(iter(option))):
            encoder.rank("q", ["d"], **option)
    with pytest.raises(SettingsError, match="batch_size"):
        encoder.predict(PAIRS, batch_size=0)
    with pytest.raises(TypeError, match="batchsize"):
        encoder.predict(PAIRS, batchsize=8)


@pytest.mark.parametrize("wrong", ["pair", None, 3, {"q": "d"}, [("q",)], [("q", None)], [3]], ids=repr)
@pytest.mark.parametrize("activation", [None, torch.sigmoid], ids=["probabilities", "activation"])
def test_what_are_no_pairs_is_refused(encoder: Qwen3CrossEncoder, wrong: Any, activation: Any) -> None:
    with pytest.raises(RequestError, match="pairs"):
        encoder.predict(wrong, activation_fn=activation)


def test_it_ranks_documents_as_sentence_transformers_returns_them(encoder: Qwen3CrossEncoder) -> None:
    documents = ["Gravity pulls.", {"text": "The capital of China is Beijing."}, "Bread rises."]
    found = encoder.rank("What is the capital of China?", iter(documents), top_k=np.int64(2), return_documents=True)
    assert found[0] == {"corpus_id": 1, "score": found[0]["score"], "text": documents[1]}
    assert [type(one["score"]) for one in found] == [float, float]
    every = encoder.rank("What is the capital of China?", documents)
    assert sorted(one["corpus_id"] for one in every) == [0, 1, 2]
    assert [set(one) for one in every] == [{"corpus_id", "score"}] * 3
    odds = encoder.rank("What is the capital of China?", documents, activation_fn=torch.nn.Identity())
    assert [one["corpus_id"] for one in odds] == [one["corpus_id"] for one in every]
    assert odds[0]["score"] > 1
    backwards = encoder.rank("What is the capital of China?", documents, top_k=1, activation_fn=torch.neg)
    assert backwards[0]["corpus_id"] == every[-1]["corpus_id"]
    assert encoder.rank("q", []) == encoder.rank("q", ["d"], top_k=0) == []
    for top_k in (-1, 1.5, True):
        with pytest.raises(SettingsError, match="top_k must be"):
            encoder.rank("q", ["d"], top_k=top_k)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="documents must be a list"):
        encoder.rank("q", "one document")
    with pytest.raises(InputTypeError, match=r"documents\[1\]"):
        encoder.rank("q", ["d", None])  # type: ignore[list-item]


@pytest.mark.parametrize("kind", ["negative", "documents"])
def test_the_evaluator_of_rerankers_judges_it(encoder: Qwen3CrossEncoder, kind: str) -> None:
    need("sentence_transformers")
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator

    samples = [
        {
            "query": one["query"],
            "positive": one["positive"],
            kind: one["negative"] + (one["positive"] if kind == "documents" else []),
        }
        for one in SAMPLES
    ]
    figures = CrossEncoderRerankingEvaluator(samples, write_csv=False, batch_size=2)(encoder)  # type: ignore[arg-type]
    assert figures["map"] == figures["ndcg@10"] == 1.0


def test_the_evaluators_of_classes_and_correlations_judge_it(encoder: Qwen3CrossEncoder) -> None:
    need("sentence_transformers")
    from sentence_transformers.cross_encoder.evaluation import (
        CrossEncoderClassificationEvaluator,
        CrossEncoderCorrelationEvaluator,
    )

    pairs = [[one["query"], text] for one in SAMPLES for text in (*one["positive"], *one["negative"])]
    labels = [1, 0, 0, 1, 0, 0]
    classes = CrossEncoderClassificationEvaluator(pairs, labels, write_csv=False)
    assert classes(encoder)["average_precision"] == pytest.approx(1.0)  # type: ignore[arg-type]
    assert CrossEncoderCorrelationEvaluator(pairs, labels, write_csv=False)(encoder)["spearman"] > 0  # type: ignore[arg-type]


def test_hard_negatives_are_mined_with_it(encoder: Qwen3CrossEncoder) -> None:
    need("sentence_transformers")
    need("datasets")
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import BoW
    from sentence_transformers.util import mine_hard_negatives

    lands = {"China": "Beijing", "Japan": "Tokyo", "Peru": "Lima", "Kenya": "Nairobi"}
    pairs = Dataset.from_dict(
        {
            "query": [f"What is the capital of {land}?" for land in lands],
            "answer": [f"The capital of {land} is {city}." for land, city in lands.items()],
        }
    )
    words = sorted({word.strip("?.") for column in pairs[:].values() for text in column for word in text.split()})
    first = SentenceTransformer(modules=[BoW(vocab=words)], device="cpu")
    mined = mine_hard_negatives(
        pairs,
        first,
        cross_encoder=encoder,  # type: ignore[arg-type]
        num_negatives=1,
        absolute_margin=0.0,
        verbose=False,
    )
    assert mined.column_names == ["query", "answer", "negative"]
    assert all(row["answer"] != row["negative"] for row in mined)
