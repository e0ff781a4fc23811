"""The records of real servers say what docs/remote.md says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.mark.parametrize("server", ["vllm", "infinity"])
def test_what_fits_has_the_engines_scores_and_all_else_was_refused(server: str) -> None:
    record: dict[str, Any] = json.loads((RESULTS / f"remote-{server}.json").read_text(encoding="utf-8"))["results"]
    passed = [trial for trial in record["trials"] if trial["verdict"] == "passed"]
    refused = [trial for trial in record["trials"] if trial["verdict"] != "passed"]
    assert passed
    assert all(trial["pairs"] == 120 and trial["largest_difference"] <= 1e-5 for trial in passed)
    assert len({(trial["started_with_template"], trial["template"]) for trial in record["trials"]}) == 4
    assert {trial["started_with_template"] for trial in refused if trial["template"] == "server"} == {False}
    assert all(trial["right"] for trial in record["trials"])
