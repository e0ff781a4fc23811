"""Scores with and without each exact saving."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tokenizers import Tokenizer

from benchmarks.ablations import Ablations, measure_savings
from qwen3_rerank_plugins.bench.opened import OpenedModel, open_model
from qwen3_rerank_plugins.bench.subject import Subject
from qwen3_rerank_plugins.bench.texts import RealText
from qwen3_rerank_plugins.bench.workloads import BenchWorkload
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from tests.bench.conftest import SMALL


@pytest.fixture(scope="module")
def model(subject: Subject) -> OpenedModel:
    return open_model(EngineSettings(model=str(subject.folder)))


@pytest.fixture
def requests(text: RealText, model: OpenedModel) -> list[TokenizedRequest]:
    twice = text.draw(25)
    asked = [
        make_request(text.draw(9), [twice, text.draw(70), twice, text.draw(3)], None),
        make_request(text.draw(15), [text.draw(40)], None),
    ]
    return model.encode(asked)


@pytest.mark.parametrize(
    "without",
    ["without_shared_prefix", "without_short_last_layer", "without_two_row_head", "without_shared_documents"],
)
def test_a_saving_changes_no_score(without: str, model: OpenedModel, requests: list[TokenizedRequest]) -> None:
    ablations = Ablations(dataclasses.replace(model, budget=300))
    fast, slow = ablations.with_all_savings(requests), getattr(ablations, without)(requests)
    assert len(fast) == 5
    assert fast[0] == fast[2], "identical documents, identical scores"
    assert slow == pytest.approx(fast, abs=1e-4)
    assert len({round(score, 3) for score in fast}) > 2, "scores that are all alike would agree by themselves"


def test_the_study_measures_every_saving_and_counts_the_released_bytes(
    model: OpenedModel, text: RealText, told: list[str]
) -> None:
    workload = BenchWorkload("some", (make_request("a question", [text.draw(20) for _ in range(3)], None),))
    results = measure_savings([workload], model, 1, told.append)
    assert len({saving.name for saving in results.savings}) == 4
    assert max(saving.largest_difference for saving in results.savings) < 1e-4
    assert results.released_bytes == SMALL.vocabulary * SMALL.hidden * 4
    assert len(told) == 8


def test_the_two_texts_of_a_tokenizer_agree(subject: Subject) -> None:
    assert Tokenizer.from_file(str(subject.folder / "tokenizer.json")).get_vocab_size() <= SMALL.vocabulary
    assert torch.get_default_dtype() == torch.float32, "making a checkpoint leaves no default behind"
