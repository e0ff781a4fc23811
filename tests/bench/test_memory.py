"""The study of memory: what it watches is what it says."""

from __future__ import annotations

import sys

import pytest
import torch

from qwen3_rerank_plugins.bench.load_memory import stored_dtype, watch_in_fresh_process
from qwen3_rerank_plugins.bench.memory import PREFIX, _request, measure_memory
from qwen3_rerank_plugins.bench.subject import Subject, stored_as
from qwen3_rerank_plugins.engine.settings import EngineSettings
from tests.bench.conftest import SMALL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its own peak"),
]


@pytest.mark.parametrize(("tokens", "document"), [(1024, 400), (1024, 934), (500, 7)])
def test_a_made_up_request_has_exactly_its_unique_tokens(tokens: int, document: int) -> None:
    request = _request(tokens, document)
    assert len(request.prefix) + sum(map(len, request.document_ids)) == tokens
    assert len(request.prefix) == PREFIX


def test_the_study_runs_batches_up_to_the_default_budget(subject: Subject, told: list[str]) -> None:
    settings = EngineSettings(model=str(subject.folder), device="cpu")
    results = measure_memory(subject, settings, told.append)
    assert [one.stored for one in results.loadings] == ["float32", "bfloat16"]
    assert all(one.weights == SMALL.weight_bytes(torch.float32) for one in results.loadings)
    assert {one.tokens for one in results.passes} == {1024, 2048, 4096, 8192, results.budget}
    assert results.predicted > SMALL.weight_bytes(torch.float32)
    assert any("16384" in step for step in told)


def test_a_model_that_cannot_be_loaded_fails_with_the_reason(subject: Subject) -> None:
    with pytest.raises(RuntimeError, match="There is no folder"):
        watch_in_fresh_process(EngineSettings(model="/no/such/folder"))


def test_a_copy_in_another_dtype_is_whole_and_goes_away(subject: Subject) -> None:
    with stored_as(subject, torch.bfloat16) as folder:
        assert stored_dtype(folder) == "bfloat16"
        assert (folder / "tokenizer.json").exists()
    assert not folder.exists()
    assert stored_dtype(subject.folder) == "float32"
