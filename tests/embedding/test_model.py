"""Limits, warnings about cut texts, and errors around sentence-transformers."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qwen3_rerank_plugins.embedding.model import LoadedEmbedder
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions, make_request, query_prompt
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.engine.loading import budget
from qwen3_rerank_plugins.errors import (
    DeviceMemoryError,
    NonFiniteScoreError,
    NoRoomError,
    PassError,
    RequestError,
)
from tests.embedding_checkpoints import DIMENSION, POSITIONS

LONG = "word " * 2_000


@pytest.fixture(scope="module")
def model(embedding_checkpoint: Path) -> LoadedEmbedder:
    return LoadedEmbedder(EmbeddingSettings(model=str(embedding_checkpoint)))


def embed(model: LoadedEmbedder, *texts: str, prompt: str = "", **reading: Any) -> list[list[float]]:
    return model.embed(make_request(texts, EmbeddingOptions(**reading), prompt))


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "qwen3_rerank_plugins"]


@pytest.mark.parametrize("dimension", [None, 32, 1, DIMENSION])
def test_vectors_are_python_floats_of_length_one_in_every_dimension(
    model: LoadedEmbedder, dimension: int | None
) -> None:
    for vector in embed(model, "", "one", LONG, truncate_dim=dimension):
        assert len(vector) == (dimension or DIMENSION)
        assert all(type(number) is float for number in vector)
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_vectors_are_of_length_one_in_16_bits_too(embedding_checkpoint: Path, dtype: Any) -> None:
    half = LoadedEmbedder(EmbeddingSettings(model=str(embedding_checkpoint), dtype=dtype))
    assert next(half._transformer.parameters()).dtype == getattr(torch, dtype)
    (vector,) = embed(half, "A glacier moves by its own weight.", truncate_dim=48)
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-12)


def test_a_truncated_vector_is_the_beginning_of_the_whole_one(model: LoadedEmbedder) -> None:
    (whole,), (short,) = embed(model, "a text"), embed(model, "a text", truncate_dim=16)
    beginning = np.array(whole[:16])
    assert short == pytest.approx(beginning / np.linalg.norm(beginning), abs=1e-12)


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"truncate_dim": DIMENSION + 1}, f"truncate_dim=65 is more than the {DIMENSION} dimensions"),
        ({"max_length": POSITIONS + 1}, f"max_length=513 is more than the {POSITIONS} tokens"),
    ],
)
def test_more_than_the_model_has_is_refused_with_its_number(
    model: LoadedEmbedder, reading: dict[str, int], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        embed(model, "a text", **reading)


def test_a_limit_of_one_call_is_no_limit_of_the_next(model: LoadedEmbedder) -> None:
    text = "one two three four five six seven eight"
    (whole,) = embed(model, text)
    (cut,) = embed(model, text, max_length=4)
    assert cut == pytest.approx(embed(model, "one two three")[0], abs=1e-6)
    assert cut != pytest.approx(whole, abs=1e-3)
    assert embed(model, text) == [whole]


def test_one_warning_a_call_counts_what_was_cut(model: LoadedEmbedder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        embed(model, "one two three", "one " * 9, "one " * 19, max_length=8)
    (warning,) = warnings_of(caplog)
    # nine and nineteen words with a space at the end, and the end token: 11 and 21 tokens
    assert "2 of 3 texts were cut to fit in max_length=8: 16 tokens were not read, up to 13 of one text" in warning


@pytest.mark.parametrize("words", [1, 7, 8])
def test_the_count_is_exact_at_the_limit(model: LoadedEmbedder, words: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        embed(model, " ".join(["one"] * words), max_length=8)
    assert len(warnings_of(caplog)) == (words == 8)


def test_characters_that_grow_when_they_are_composed_are_counted_too(
    model: LoadedEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    text = "\U0001d160" * 4  # 4 bytes each, 12 after NFC
    with caplog.at_level(logging.WARNING):
        embed(model, text, max_length=17)
    assert len(warnings_of(caplog)) == 1


def test_nothing_is_said_when_nothing_was_cut(model: LoadedEmbedder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        embed(model, "one", "", "two " * 400)
    assert caplog.messages == []


def test_an_instruction_that_leaves_no_room_for_a_query_is_refused(model: LoadedEmbedder) -> None:
    with pytest.raises(NoRoomError, match=r"The instruction takes \d+ tokens with the end token, and max_length is 12"):
        embed(model, "a query", prompt=query_prompt(None), max_length=12)


@pytest.mark.parametrize(
    "text",
    ["", " ", "\0", "\ud800", "👩‍🚀" * 50, "x" * 50_000, "<|endoftext|>", "مرحبا", "\n\n"],
    ids=lambda text: repr(text)[:12],
)
def test_any_text_has_a_vector(model: LoadedEmbedder, text: str) -> None:
    (vector,) = embed(model, text)
    assert all(map(math.isfinite, vector))


def broken(model: LoadedEmbedder, monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    def encode(*_: Any, **__: Any) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(model._transformer, "encode", encode)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 0.0])
def test_a_vector_that_is_none_is_an_error_that_says_for_which_text(
    model: LoadedEmbedder, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    vectors = np.ones((3, DIMENSION), dtype=np.float16)
    vectors[1] = wrong
    broken(model, monkeypatch, vectors)
    with pytest.raises(NonFiniteScoreError, match=r"1 of 3 texts \(positions 1\).*dtype='bfloat16'") as raised:
        embed(model, "a", "b", "c")
    assert raised.value.documents == (1,)


def test_memory_that_runs_out_is_an_error_that_says_what_to_lower(
    model: LoadedEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(model, monkeypatch, torch.OutOfMemoryError("tried to allocate a lot"))
    with pytest.raises(DeviceMemoryError, match="A batch of 2 texts .*tried to allocate a lot. Lower the batch size"):
        embed(model, "a", "b", batch_size=8)


def test_a_batch_that_a_cpu_has_no_memory_for_is_refused_before_it_runs(
    model: LoadedEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU the system would end the whole process."""
    needed = model._check_memory.batch_memory.bytes(8 * POSITIONS)
    monkeypatch.setattr(budget, "_SMALL_BATCH", 0)
    monkeypatch.setattr(budget, "free_memory", lambda _: needed // 2)
    monkeypatch.setattr(model, "_encode", pytest.fail)
    with pytest.raises(DeviceMemoryError, match=r"4,096 tokens needs .* Lower the batch size or max_length"):
        embed(model, *[LONG] * 20, batch_size=8)
    monkeypatch.undo()
    monkeypatch.setattr(budget, "_SMALL_BATCH", 0)
    monkeypatch.setattr(budget, "free_memory", lambda _: needed // 2)
    assert len(embed(model, *[LONG] * 20, batch_size=2)) == 20
    # bytes say more than half the memory, tokens say less: the texts are counted before they are refused
    assert len(embed(model, *["word " * 60] * 8, batch_size=8)) == 8


def test_weights_that_a_cpu_has_no_memory_for_are_refused_before_they_are_read(
    embedding_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "cgroup_memory", lambda: 1000)
    with pytest.raises(DeviceMemoryError, match="The weights of .* MiB are free for this process"):
        LoadedEmbedder(EmbeddingSettings(model=str(embedding_checkpoint), device="cpu"))


def test_any_other_failure_is_a_pass_error_with_its_cause(
    model: LoadedEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(model, monkeypatch, RuntimeError("the kernel fell over"))
    with pytest.raises(PassError, match="RuntimeError: the kernel fell over") as raised:
        embed(model, "a")
    assert isinstance(raised.value.__cause__, RuntimeError)
