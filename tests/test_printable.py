"""Names from outside forge no line in a log or an error, and give a terminal no orders."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest

from qwen3_rerank_plugins import errors
from qwen3_rerank_plugins._printable import LONGEST_NAME, logger, one_line, printable, shown

HOSTILE = "model\nWARNING forged\r\x1b[31m\u202e\u2028\x00\ud800"
ESCAPED = r"model\nWARNING forged\r\x1b[31m\u202e\u2028\x00\ud800"
TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RerankError)]


def test_text_of_any_script_is_unchanged_and_control_characters_are_escaped() -> None:
    for text in ("", "a model", "C:\\models", "reranker-模型-ü", "'quoted'"):
        assert printable(text) == text
    assert printable(HOSTILE) == ESCAPED
    assert printable(printable(HOSTILE)) == ESCAPED


def test_a_very_long_name_is_shown_by_its_ends() -> None:
    assert shown("a/b") == "'a/b'"
    text = shown("s" * 5000 + "end")
    assert len(text) < LONGEST_NAME + 50
    assert text.endswith("end' (5,003 characters)")


def test_a_message_of_another_library_is_one_line() -> None:
    assert one_line(ValueError("a\n\tb  c.")) == "a b c"


@pytest.mark.parametrize("kind", TREE, ids=str)
def test_no_error_of_the_tree_holds_a_control_character(kind: type[Exception]) -> None:
    error = kind(HOSTILE, "extra") if kind is errors.MissingExtraError else kind(HOSTILE)
    assert r"model WARNING forged \x1b[31m\u202e \x00\ud800" in str(error)
    assert str(error).isprintable()
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("name", [HOSTILE, Path("a\nb"), ("two", HOSTILE), {"name": HOSTILE}], ids=repr)
def test_no_record_of_the_log_holds_a_line_break_of_a_name(name: object, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=logger.name):
        if isinstance(name, dict):
            logger.info("loaded %(name)s", name)
        elif isinstance(name, tuple):
            logger.info("loaded %s and %s", *name)
        else:
            logger.info("loaded %s", name)
    (record,) = caplog.records
    assert record.getMessage().isprintable()


def test_numbers_of_a_record_stay_numbers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=logger.name):
        logger.info("%d of %.1f, %r", 3, 4.5, "a b")
    assert caplog.records[0].getMessage() == "3 of 4.5, 'a b'"
