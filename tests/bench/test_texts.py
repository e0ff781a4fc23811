"""Texts of the benchmark: real, seeded, of the length that was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from qwen3_rerank_plugins.bench.texts import RealText, read_passages
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER

TOKENIZER = Tokenizer.from_file(str(DEMO_FOLDER / "tokenizer.json"))


@pytest.mark.parametrize("tokens", [1, 8, 100, 1_000, 4_000])
def test_a_text_has_about_the_tokens_that_were_asked_for(tokens: int, text: RealText) -> None:
    found = len(TOKENIZER.encode(text.draw(tokens)).ids)
    assert abs(found - tokens) <= max(1, tokens // 100)


def test_equal_seeds_draw_equal_texts_and_other_seeds_others() -> None:
    def draws(seed: int) -> list[str]:
        text = RealText(read_passages([]), TOKENIZER, seed)
        return [text.draw(50) for _ in range(5)]

    assert draws(0) == draws(0)
    assert draws(0) != draws(1)
    assert len(set(draws(0))) == 5


def test_texts_are_made_of_the_passages_own_sentences(sets: Path) -> None:
    text = RealText(read_passages([sets]), TOKENIZER, 0)
    assert set("".join(text.draw(30).split())) <= set("Onesentence.Stillone.Two!Three?")


def test_a_line_separator_inside_a_text_ends_no_line_of_a_set(sets: Path) -> None:
    assert read_passages([sets]) == ["One sentence.\u2028Still one. Two!", "Three?"]


def test_log_normal_lengths_stay_within_their_bounds_and_lean_to_the_short_side(text: RealText) -> None:
    lengths = text.log_normal_lengths(90, 1.0, (20, 2_000), 2_000)
    assert min(lengths) == 20
    assert max(lengths) <= 2_000
    assert sorted(lengths)[1_000] < sum(lengths) / len(lengths)
