"""Windows: nothing of a text is lost, everything fits, and they begin and end where the text pauses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.text.template import Text
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.engine.text.windows import LONGEST_OVERLAP, SMALLEST_WINDOW, Span, split_into_windows
from qwen3_rerank_plugins.errors import NoRoomError

SENTENCE = "The quick brown fox jumps over the lazy dog number {}. "
STORY = "".join(map(SENTENCE.format, range(300)))


@pytest.fixture(scope="module")
def encoder(qwen_tokenizer_file: Path) -> PromptEncoder:
    return PromptEncoder(qwen_tokenizer_file)


def tokens(encoder: PromptEncoder, text: str) -> int:
    """As a prompt holds it, independently of what the windows were cut by."""
    return len(encoder._encode_parts([Text(f" {text}")]))


def assert_whole(text: str, spans: list[Span]) -> None:
    covered = {index for start, end in spans for index in range(start, end)}
    assert all(index in covered for index, character in enumerate(text) if not character.isspace())
    assert spans == sorted(spans)
    assert len(set(spans)) == len(spans)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.text(max_size=400),
        st.lists(st.text("ab .!\n。é\u0301😀", max_size=30)).map("".join),
        st.builds(lambda piece, times: piece * times, st.text(min_size=1, max_size=12), st.integers(1, 200)),
    ),
    max_tokens=st.integers(SMALLEST_WINDOW, 60),
)
@example(text="a" * 5000, max_tokens=SMALLEST_WINDOW)
@example(text="e" + "\u0301" * 500, max_tokens=SMALLEST_WINDOW)
@example(text="\U0001d160" * 100, max_tokens=SMALLEST_WINDOW)
@example(text="\ud83d\ude00 \ud800" * 80, max_tokens=SMALLEST_WINDOW)
@example(text="x" + " " * 4000 + "y", max_tokens=SMALLEST_WINDOW)
def test_windows_hold_everything_and_each_fits(encoder: PromptEncoder, text: str, max_tokens: int) -> None:
    spans = split_into_windows(text, max_tokens, encoder)
    assert_whole(text, spans)
    assert all(tokens(encoder, text[slice(*span)]) <= max_tokens for span in spans)


@pytest.mark.slow
def test_windows_of_real_text_in_many_scripts_hold_everything(encoder: PromptEncoder, data: Path) -> None:
    rows = (data / "text" / "udhr_multiscript.jsonl").read_text(encoding="utf-8").splitlines()
    for row in rows:
        text = json.loads(row)["text"] * 4
        spans = split_into_windows(text, 64, encoder)
        assert_whole(text, spans)
        assert all(tokens(encoder, text[slice(*span)]) <= 64 for span in spans)


def test_windows_begin_and_end_with_sentences(encoder: PromptEncoder) -> None:
    for start, end in split_into_windows(STORY.strip(), 100, encoder):
        assert re.fullmatch(r"The quick.*\d\.", STORY[start:end], re.DOTALL)


def test_a_paragraph_is_a_better_end_than_a_sentence(encoder: PromptEncoder) -> None:
    first = (SENTENCE.format(1) * 6).strip()
    assert split_into_windows(f"{first}\n\n{SENTENCE.format(2) * 20}", 100, encoder)[0] == (0, len(first))


def test_chinese_sentences_end_without_a_space(encoder: PromptEncoder) -> None:
    text = "北京是中国的首都。" * 200
    assert all(text[start:end].endswith("。") for start, end in split_into_windows(text, 100, encoder))


def test_neighbours_overlap_by_no_more_than_a_quarter_and_what_was_promised(encoder: PromptEncoder) -> None:
    for max_tokens in (100, 1000):
        spans = split_into_windows(STORY, max_tokens, encoder)
        overlaps = [
            tokens(encoder, STORY[later[0] : earlier[1]]) for earlier, later in zip(spans, spans[1:], strict=False)
        ]
        allowed = min(max_tokens // 4, LONGEST_OVERLAP)
        assert all(allowed / 4 < overlap <= allowed + 1 for overlap in overlaps)


def test_windows_cost_about_a_third_more_than_the_text(encoder: PromptEncoder) -> None:
    spans = split_into_windows(STORY, 200, encoder)
    assert sum(tokens(encoder, STORY[slice(*span)]) for span in spans) < 1.5 * tokens(encoder, STORY)


def test_room_for_less_than_a_character_is_refused_with_the_number(encoder: PromptEncoder) -> None:
    with pytest.raises(NoRoomError, match="leave 10 tokens for a window.*raise max_length by 6"):
        split_into_windows("text", 10, encoder)
