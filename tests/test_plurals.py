"""Numbers and their nouns and verbs agree, wherever a message counts something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qwen3_rerank_plugins._plurals import counted, share
from qwen3_rerank_plugins.engine.report import ScoringReport

PACKAGE = Path(__file__).parents[1] / "qwen3_rerank_plugins"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (counted(0, "row"), "0 rows"),
        (counted(1, "query"), "1 query"),
        (counted(2, "query", "has"), "2 queries have"),
        (counted(1, "token", "was"), "1 token was"),
        (counted(12_345, "document", "is"), "12,345 documents are"),
        (share(1, 1, "document", "was"), "1 of 1 document was"),
        (share(1, 3, "document", "does"), "1 of 3 documents does"),
        (share(2, 3, "document", "was"), "2 of 3 documents were"),
        (share(0, 1, "query"), "0 of 1 query"),
    ],
)
def test_a_number_and_its_noun_and_verb_agree(words: str, expected: str) -> None:
    assert words == expected


def test_a_receipt_counts_in_english() -> None:
    one = ScoringReport(documents=1, cut=1, cut_tokens=1, longest_cut=1, rescored=1).describe()
    assert one.startswith("1 of 1 document was cut to fit in max_length: 1 token was not read. Raise")
    assert "1 of 1 score overflowed in 16 bits and was computed again" in one
    three = ScoringReport(documents=3, cut=2, cut_tokens=9, longest_cut=5).describe()
    assert three.startswith("2 of 3 documents were cut to fit in max_length: 9 tokens were not read, up to 5 of one")


def test_no_message_of_the_command_line_and_the_batch_counts_by_hand() -> None:
    by_hand = re.compile(r"\{len\([^}]*\)\} (?:of \{[^}]*\} )?(?:documents|files|queries|rows|pairs|sets|requests)\b")
    leaves = ("cli", "batch", "sets", "evaluation", "ray")
    files = [file for leaf in leaves for file in (PACKAGE / leaf).rglob("*.py")]
    assert [file.name for file in files if by_hand.search(file.read_text(encoding="utf-8"))] == []
