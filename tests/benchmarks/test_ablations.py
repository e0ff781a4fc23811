"""Every exact saving against its slow twin."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer

from benchmarks.ablations import Twins, measure_savings
from qwen3_rerank_plugins.bench.subject import Subject
from qwen3_rerank_plugins.bench.texts import RealText
from qwen3_rerank_plugins.bench.workloads import BenchWorkload
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.loader import LoadedModel, load_model
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest
from tests.bench.conftest import SMALL


@pytest.fixture(scope="module")
def loaded(subject: Subject) -> LoadedModel:
    settings = EngineSettings(model=str(subject.folder))
    return load_model(settings, find_checkpoint(settings))


@pytest.fixture
def encoder(subject: Subject) -> PromptEncoder:
    return PromptEncoder(subject.folder / "tokenizer.json")


@pytest.fixture
def requests(text: RealText, encoder: PromptEncoder) -> list[TokenizedRequest]:
    twice = text.draw(25)
    asked = [
        make_request(text.draw(9), [twice, text.draw(70), twice, text.draw(3)], None),
        make_request(text.draw(15), [text.draw(40)], None),
    ]
    return [encoder.encode(build_prompt(request), request.max_length) for request in asked]


@pytest.mark.parametrize(
    "twin", ["without_shared_prefix", "without_short_last_layer", "without_two_row_head", "without_shared_tails"]
)
def test_a_saving_changes_no_score(
    twin: str, loaded: LoadedModel, encoder: PromptEncoder, requests: list[TokenizedRequest]
) -> None:
    twins = Twins(loaded, encoder, budget=300)
    fast, slow = twins.with_all_savings(requests), getattr(twins, twin)(requests)
    assert len(fast) == 5
    assert fast[0] == fast[2], "identical documents, identical scores"
    assert slow == pytest.approx(fast, abs=1e-4)
    assert len({round(score, 3) for score in fast}) > 2, "scores that are all alike would agree by themselves"


def test_the_study_measures_every_saving_and_counts_the_released_bytes(
    loaded: LoadedModel, encoder: PromptEncoder, text: RealText, told: list[str]
) -> None:
    workload = BenchWorkload("some", (make_request("a question", [text.draw(20) for _ in range(3)], None),))
    results = measure_savings([workload], loaded, encoder, 1_000, 1, told.append)
    assert len({saving.name for saving in results.savings}) == 4
    assert max(saving.largest_difference for saving in results.savings) < 1e-4
    assert results.released_bytes == SMALL.vocabulary * SMALL.hidden * 4
    assert len(told) == 8


def test_the_two_texts_of_a_tokenizer_agree(subject: Subject) -> None:
    assert Tokenizer.from_file(str(subject.folder / "tokenizer.json")).get_vocab_size() <= SMALL.vocabulary
    assert torch.get_default_dtype() == torch.float32, "making a checkpoint leaves no default behind"
