"""`eval` and `calibrate` as commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import MODEL, Run, one_line
from tests.doubles import OverlapScorer

Write = Callable[[str, str], str]


def lines(count: int, *, separable: bool = True) -> str:
    """A set in which the relevant candidate shares two words with the query, or none."""
    rows = []
    for number in range(count):
        text = f"word{number} b" if separable else "c"
        candidates = [{"text": "d", "relevance": 0}, {"text": text, "relevance": 1}]
        rows.append(json.dumps({"query": f"word{number} b", "candidates": candidates}))
    return "\n".join(rows)


def test_eval_shows_tables_circumstances_and_remarks(run: Run, overlap: OverlapScorer, write: Write) -> None:
    done = run("eval", write("a.jsonl", lines(3)), "--k", "1")
    assert done.exit_code == 0
    shown = done.stdout
    assert "nDCG@1 in the order of the set, and reranked" in shown
    assert "0.000   1.000   +1.000 (+1.000, +1.000)" in shown
    assert "0.500 → 1.000" in shown
    assert "version 0.1.0" in shown
    assert done.stderr == ""


def test_eval_as_json_is_the_record_and_nothing_else(run: Run, overlap: OverlapScorer, write: Write) -> None:
    done = run("eval", write("a.jsonl", lines(3)), write("b.jsonl", lines(2)), "--json", "--seed", "3")
    record = json.loads(done.stdout)
    assert [one["queries"] for one in record["results"]["sets"]] == [3, 2]
    assert (record["results"]["seed"], record["results"]["resamples"]) == (3, 2000)
    assert "recall@10 is always 1" in one_line(done.stderr)


def test_eval_writes_the_record_and_the_picture_beside_it(
    run: Run, overlap: OverlapScorer, write: Write, tmp_path: Path
) -> None:
    done = run("eval", write("a.jsonl", lines(3)), "--json", "--out", tmp_path / "deep" / "record.json")
    assert json.loads((tmp_path / "deep" / "record.json").read_text(encoding="utf-8")) == json.loads(done.stdout)
    assert (tmp_path / "deep" / "record.png").read_bytes().startswith(b"\x89PNG")


def test_eval_hands_on_the_instruction(run: Run, overlap: OverlapScorer, write: Write) -> None:
    run("eval", write("a.jsonl", lines(1)), "--instruction", "Find words")
    assert {request.instruction for request in overlap.requests} == {"Find words"}


def test_eval_with_the_demo(run: Run, write: Write) -> None:
    done = run("eval", write("a.jsonl", lines(2)), "--model", MODEL, "--json")
    record = json.loads(done.stdout)
    assert record["circumstances"]["subject"] == "demo"
    assert record["results"]["mean"][1]["after"]["value"] == 1.0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("plain", "is not a JSON object"), ('{"query": "q", "candidates": [{"text": "t"}]}', "no query with a relevant")],
)
def test_eval_refuses_what_it_cannot_measure_before_it_scores(
    run: Run, overlap: OverlapScorer, write: Write, text: str, complaint: str
) -> None:
    done = run("eval", write("good.jsonl", lines(1)), write("bad.jsonl", text))
    assert (done.exit_code, done.stdout, overlap.requests) == (2, "", [])
    assert complaint in one_line(done.stderr)


def test_calibrate_proposes_a_threshold(run: Run, overlap: OverlapScorer, write: Write) -> None:
    done = run("calibrate", write("a.jsonl", lines(12)))
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1].startswith("Proposed threshold: 0.")
    assert "best F1: 24 pairs of 12 queries, 12 relevant" in done.stdout


def test_calibrate_says_that_none_separates_and_exits_with_1(run: Run, overlap: OverlapScorer, write: Write) -> None:
    done = run("calibrate", write("a.jsonl", lines(12, separable=False)))
    assert done.exit_code == 1
    assert "No threshold separates:" in done.stdout
    assert done.stderr == ""


def test_calibrate_as_json_holds_the_verdict_and_the_threshold_in_full(
    run: Run, overlap: OverlapScorer, write: Write
) -> None:
    unlabelled = '\n{"query": "q", "candidates": [{"text": "t"}]}'
    done = run("calibrate", write("a.jsonl", lines(12) + unlabelled), "--json", "--precision", "0.9")
    results = json.loads(done.stdout)["results"]
    assert results["goal"] == "precision of at least 0.9"
    assert results["verdict"] == f"Proposed threshold: {results['threshold']}."
    assert one_line(done.stderr) == "1 candidate without a label was not used."


def test_calibrate_reads_pairs_from_stdin(run: Run, overlap: OverlapScorer) -> None:
    pairs = [
        {"query": "a b", "text": f"{text} {n}", "label": text == "a b"} for n in range(10) for text in ["a b", "c"]
    ]
    done = run("calibrate", "-", stdin="\n".join(map(json.dumps, pairs)))
    assert "20 pairs of 1 query, 10 relevant" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["--precision", "0"], "precision must be above 0"), (["--precision", "2"], "--precision"), ([], "Label more")],
)
def test_calibrate_refuses_bad_input_before_it_scores(
    run: Run, overlap: OverlapScorer, write: Write, arguments: list[str], complaint: str
) -> None:
    done = run("calibrate", write("a.jsonl", lines(3)), *arguments)
    assert (done.exit_code, done.stdout, overlap.requests) == (2, "", [])
    assert complaint in one_line(done.stderr)
