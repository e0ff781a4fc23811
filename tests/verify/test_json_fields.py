"""Fields of the right kind, or an error that names the place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.verify.json_fields import Fields, read_json


@pytest.mark.parametrize(
    ("take", "right", "wrong"),
    [
        (Fields.text, ["", "a"], [None, 1, ["a"]]),
        (Fields.text_or_none, [None, "a"], [1, False]),
        (Fields.whole_number, [0, -3], [1.0, True, None, "1"]),
        (Fields.number, [0, 1.5, -2], [True, None, "1", 10**400, float("inf"), float("nan")]),
        (Fields.number_or_none, [None, 0, 1.5], [False, "1", float("inf")]),
        (Fields.numbers, [[], [1, 2.5]], [1, [None], ["1"], [True], {}]),
        (Fields.texts, [[], ["a"]], ["a", [1], None]),
        (Fields.section, [{}], [[], None, "a"]),
        (Fields.rows, [[], [{}]], [{}, [1], None]),
    ],
)
def test_a_field_is_of_its_kind_or_refused_with_its_place(
    take: Callable[[Fields, str], Any], right: list[Any], wrong: list[Any]
) -> None:
    for value in right:
        fields = Fields({"x": value}, "table.json")
        take(fields, "x")
        fields.end()
    for value in wrong:
        with pytest.raises(RequestError, match=r"^table\.json.*must be"):
            take(Fields({"x": value}, "table.json"), "x")
    with pytest.raises(RequestError, match=r"^table\.json lacks 'x'"):
        take(Fields({}, "table.json"), "x")


def test_places_lead_to_the_object() -> None:
    (_, second) = Fields({"rows": [{}, {"inner": {}}]}, "f").rows("rows")
    with pytest.raises(RequestError, match=r"^f, rows 2, inner lacks 'x'\.$"):
        second.section("inner").text("x")


def test_a_field_that_nobody_takes_is_refused() -> None:
    fields = Fields({"known": "a", "other": 1, "third": 2}, "f")
    fields.text("known")
    with pytest.raises(RequestError, match="f has fields that do not belong there: other, third"):
        fields.end()


@pytest.mark.parametrize("text", ["", "{", "[NaN]", "[Infinity]", "[" * 100_000, '"\udcff"'])
def test_what_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RequestError, match=f"^{re.escape(str(file))} is not a table: it is no JSON"):
        read_json(file, "a table")


def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    for file, complaint in ((tmp_path / "nowhere", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(RequestError, match=f"Cannot read .*{complaint}.*Name a table"):
            read_json(file, "a table")
