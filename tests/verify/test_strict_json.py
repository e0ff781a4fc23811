"""Files that fit their model exactly, or an error that names the location."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import StrictFloat, StrictInt

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.verify.strict_json import StrictModel, read_json


class Inner(StrictModel):
    x: str


class Outer(StrictModel):
    text: str = ""
    text_or_none: str | None = ""
    whole_number: StrictInt = 0
    number: StrictFloat = 0.0
    number_or_none: StrictFloat | None = 0.0
    numbers: tuple[StrictFloat, ...] = ()
    texts: tuple[str, ...] = ()
    section: Inner = Inner(x="")
    rows: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("text", ["", "a", "\ud800"], [None, 1, ["a"]]),
        ("text_or_none", [None, "a"], [1, False]),
        ("whole_number", [0, -3], [1.0, True, None, "1"]),
        ("number", [0, 1.5, -2], [True, None, "1", 10**400, float("inf"), float("nan")]),
        ("number_or_none", [None, 0, 1.5], [False, "1", float("inf")]),
        ("numbers", [[], [1, 2.5]], [1, [None], ["1"], [True], {}]),
        ("texts", [[], ["a"]], ["a", [1], None]),
        ("section", [{"x": ""}], [[], None, "a"]),
        ("rows", [[], [{"x": ""}]], [{}, [1], None]),
    ],
)
def test_a_field_is_of_its_kind_or_refused_with_its_place(name: str, right: list[Any], wrong: list[Any]) -> None:
    for value in right:
        Outer.from_json({name: value}, "table.json", "Write it again.")
    for value in wrong:
        with pytest.raises(RequestError, match=rf"^table\.json, {name}( 1)? must be .*\. Write it again\.$"):
            Outer.from_json({name: value}, "table.json", "Write it again.")


def test_places_lead_to_the_field() -> None:
    with pytest.raises(RequestError, match=r"^f, rows 2, x is missing\. Repair it\.$"):
        Outer.from_json({"rows": [{"x": ""}, {}]}, "f", "Repair it.")
    with pytest.raises(RequestError, match=r"^f must be an object\. Repair it\.$"):
        Outer.from_json([], "f", "Repair it.")


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(RequestError, match="f, section, other is not a field of this format"):
        Outer.from_json({"section": {"x": "a", "other": 1}}, "f", "")


@pytest.mark.parametrize("text", ["", "{", "[NaN]", "[Infinity]", "[" * 100_000, '"\udcff"'])
def test_what_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RequestError, match=f"^{re.escape(str(file))} is not a table, because it is not valid JSON"):
        read_json(file, "a table")


def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    for file, complaint in ((tmp_path / "nowhere", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(RequestError, match=f"Cannot read .*{complaint}.*Pass a table"):
            read_json(file, "a table")
