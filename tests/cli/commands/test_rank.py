"""`qwen3-rerank rank`: from files to tables and JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from tests.cli.conftest import MODEL, Run, in_a_process, one_line, without_progress
from tests.doubles import OverlapScorer

DOCUMENTS = ["Gravity pulls bodies together.", "The capital of China is Beijing.", "The capital of Japan is Tokyo."]
QUERY = "capital of China"
Write = Callable[[str, str], str]


def set_line(**fields: Any) -> str:
    candidates = [{"doc_id": f"d{number}", "text": text} for number, text in enumerate(DOCUMENTS)]
    return json.dumps({"query": QUERY, "candidates": candidates, **fields}) + "\n"


def parsed(stdout: str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in stdout.splitlines()]


def test_lines_are_ranked_as_the_facade_ranks_them(run: Run, write: Write) -> None:
    done = run("rank", "--query", QUERY, "--model", MODEL, "--json", write("a.txt", "\n".join(DOCUMENTS)))
    assert (done.exit_code, done.stderr) == (0, "")
    (answer,) = parsed(done.stdout)
    assert (answer["query"], answer["query_id"]) == (QUERY, None)
    expected = Qwen3Reranker(MODEL).rank(QUERY, DOCUMENTS)
    assert [found["index"] for found in answer["results"]] == [document.index for document in expected]
    assert [found["text"] for found in answer["results"]] == [document.text for document in expected]
    assert [found["logit"] for found in answer["results"]] == pytest.approx([document.logit for document in expected])


def test_the_table_has_a_row_for_each_document_and_says_who_ranked(run: Run, overlap: OverlapScorer) -> None:
    done = run("rank", "--query", QUERY, "--device", "cpu", "-", stdin="\n".join(DOCUMENTS))
    rows = [line.split() for line in done.stdout.splitlines() if "0." in line]
    assert [(row[0], row[-1]) for row in rows] == [("1", "Beijing."), ("2", "Tokyo."), ("3", "together.")]
    assert done.stdout.splitlines()[-1] == "Ranked by Qwen/Qwen3-Reranker-8B on cpu, float32, sdpa attention."


@pytest.mark.parametrize(
    ("options", "where"),
    [(["--devices", "cpu, cpu"], "cpu, cpu"), (["--device-map", "auto"], "cpu (device_map='auto')")],
    ids=["devices", "device map"],
)
def test_several_devices_rank_as_one_does(run: Run, options: list[str], where: str) -> None:
    done = run("rank", "--query", QUERY, "--model", MODEL, *options, "-", stdin="\n".join(DOCUMENTS))
    assert done.exit_code == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert len(rows) == len(DOCUMENTS)
    assert done.stdout.splitlines()[-1] == f"Ranked by demo on {where}, float32, sdpa attention."


def test_contradicting_devices_are_one_line(run: Run) -> None:
    done = run("rank", "--query", QUERY, "--device", "cpu", "--devices", "cpu,cpu", "-", stdin="a")
    assert (done.exit_code, one_line(done.stderr)[:14]) == (2, "device='cpu' a")


def test_brackets_in_names_and_queries_are_no_markup(run: Run, overlap: OverlapScorer) -> None:
    done = run("rank", "--query", "[bold]q", "--model", "[red]m", "--device", "cpu", "-", stdin="a")
    assert done.stdout.startswith("[bold]q\n")
    assert "Ranked by [red]m on cpu" in done.stdout


def test_a_set_gives_one_line_a_query_in_the_sets_order(run: Run, overlap: OverlapScorer, write: Write) -> None:
    lines = "".join(set_line(query_id=number, query=query) for number, query in enumerate(("capital", "gravity") * 40))
    done = run("rank", "--json", "--top-n", "1", write("set.jsonl", lines))
    answers = parsed(done.stdout)
    assert [answer["query_id"] for answer in answers] == list(range(80))
    assert [found["doc_id"] for answer in answers for found in answer["results"]] == ["d1", "d0"] * 40


def test_settings_reach_the_engine(run: Run, overlap: OverlapScorer, write: Write) -> None:
    run("rank", "--query", QUERY, "--instruction", "Find", "--max-length", "99", write("a.txt", "a\nb"))
    (request,) = overlap.requests
    assert (request.query, request.instruction, request.max_length) == (QUERY, "Find", 99)


def test_top_n_and_min_score_cut_the_ranking(run: Run, overlap: OverlapScorer) -> None:
    text = "\n".join(DOCUMENTS)
    for options, expected in (
        (["--top-n", "1"], [1]),
        (["--top-n", "0"], []),
        (["--top-n", "9"], [1, 2, 0]),
        (["--min-score", "0.6"], [1, 2]),
        (["--min-score", "0.6", "--top-n", "1"], [1]),
    ):
        done = run("rank", "--query", QUERY, "--json", *options, "-", stdin=text)
        assert [found["index"] for found in parsed(done.stdout)[0]["results"]] == expected


def test_cut_and_blank_candidates_are_said_to_be_so(run: Run, write: Write) -> None:
    line = json.dumps({"query": "q", "candidates": [{"text": " "}, {"text": "long " * 500}]})
    done = run("rank", "--model", MODEL, "--json", "--max-length", "150", write("set.jsonl", line))
    long, blank = parsed(done.stdout)[0]["results"]
    assert long["truncated_tokens"] > 300
    assert (blank["score"], blank["logit"], blank["index"]) == (0.0, None, 0)


def test_what_was_cut_is_counted_once_on_stderr_for_all_queries(run: Run, write: Write) -> None:
    line = json.dumps({"query": "q", "candidates": [{"text": "short"}, {"text": "long " * 500}]})
    done = run(
        "rank", "--model", MODEL, "--json", "--max-length", "150", "--top-n", "1", write("set.jsonl", f"{line}\n" * 3)
    )
    (note,) = done.stderr.splitlines()
    assert note.startswith("qwen3-rerank: 3 of 6 documents were cut to fit in max_length: ")


def test_documents_in_windows_show_the_best_one(run: Run, write: Write) -> None:
    text = "The weather was fine all week. " * 60 + "The capital of China is Beijing. " + "Nothing happened. " * 60
    options = ["rank", "--model", MODEL, "--query", QUERY, "--max-length", "150", "--long-documents", "windows"]
    file = write("a.txt", text)
    (found,) = parsed(run(*options, "--json", file).stdout)[0]["results"]
    start, end = found["span"]
    assert "The capital of China is Beijing." in text[start:end]
    done = run(*options, file)
    assert f"§ {start}-{end}" in done.stdout
    assert done.stderr == ""


def test_a_document_that_does_not_fit_can_be_refused(run: Run, write: Write) -> None:
    file = write("a.txt", "long " * 500)
    done = run("rank", "--model", MODEL, "--query", QUERY, "--max-length", "150", "--long-documents", "error", file)
    assert done.exit_code == 2
    assert "1 of 1 document does not fit in max_length=150" in done.stderr


def test_blank_lines_are_skipped_and_said_so_on_stderr(run: Run, overlap: OverlapScorer, write: Write) -> None:
    file = write("a.txt", "\none\n\ntwo\n")
    done = run("rank", "--query", "q", "--json", file)
    assert len(parsed(done.stdout)[0]["results"]) == 2
    assert one_line(done.stderr) == f"skipped 2 blank lines of {file}."


@pytest.mark.parametrize("query", [["--query", "q"], []])
def test_no_documents_is_an_empty_answer_and_loads_nothing(run: Run, overlap: OverlapScorer, query: list[str]) -> None:
    overlap.warmup = pytest.fail  # type: ignore[method-assign, assignment]
    done = run("rank", "--json", *query, "-", stdin="")
    assert done.exit_code == 0
    assert [answer["results"] for answer in parsed(done.stdout)] == ([[]] if query else [])
    assert run("rank", *query, "-", stdin="").exit_code == 0


def test_bad_input_is_found_before_a_model_is_loaded(run: Run, overlap: OverlapScorer, write: Write) -> None:
    overlap.warmup = pytest.fail  # type: ignore[method-assign, assignment]
    assert run("rank", write("set.jsonl", '{"query": 1, "candidates": []}')).exit_code == 2


def test_what_was_ranked_before_a_bad_line_of_a_set_is_there(run: Run, overlap: OverlapScorer, write: Write) -> None:
    done = run("rank", "--json", write("set.jsonl", set_line() * 40 + "nonsense\n"))
    assert done.exit_code == 2
    assert "set.jsonl line 41 is not a JSON object" in one_line(done.stderr)
    assert len(parsed(done.stdout)) >= 1


def test_a_model_that_is_not_here_is_one_line_that_names_the_demo(run: Run, tmp_path: Path) -> None:
    done = run("rank", "--query", "q", "--local-files-only", "--cache-dir", str(tmp_path), "-", stdin="a\n\nb")
    assert done.exit_code == 2
    complaint = one_line(done.stderr)
    assert "'Qwen/Qwen3-Reranker-8B' is not in the cache" in complaint
    assert complaint.endswith("To try things offline: --model demo.")


def test_a_prompt_without_room_names_the_line_of_the_set(run: Run, write: Write) -> None:
    lines = set_line() + set_line(query="long " * 300)
    done = run("rank", "--model", MODEL, "--max-length", "200", "--json", write("set.jsonl", lines))
    assert done.exit_code == 2
    assert "set.jsonl line 2: Template, instruction and query take" in one_line(done.stderr)


@pytest.mark.slow
def test_stdout_is_json_alone_and_stderr_is_silent_in_a_pipe(write: Write) -> None:
    done = in_a_process("rank", "--model", MODEL, "--json", write("set.jsonl", set_line(query="首都 😀")))
    assert (done.returncode, done.stderr) == (0, "")
    assert parsed(done.stdout)[0]["query"] == "首都 😀"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_spinner_and_the_pipe_beside_it_json_alone(write: Write) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "qwen3_rerank_plugins.cli", "rank", "--model", MODEL, "--json"]
    process = subprocess.Popen([*command, write("set.jsonl", set_line())], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    drawn = b""
    while chunk := _read(ours):
        drawn += chunk
    os.close(ours)
    assert process.stdout is not None
    with process.stdout as stream:
        assert len(parsed(stream.read().decode())) == 1
    assert process.wait() == 0
    assert f"Loading {MODEL}".encode() in drawn
    assert b"weights" not in drawn.lower()


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_quietly(write: Write) -> None:
    command = [sys.executable, "-m", "qwen3_rerank_plugins.cli", "rank", "--model", MODEL]
    for options in (["--json"], []):
        process = subprocess.Popen(
            [*command, *options, write("set.jsonl", set_line() * 5)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        with process.stderr as complaints:
            assert without_progress(complaints.read().decode()) == ""
        assert process.wait() == 1


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way to say that the other side is closed
        return b""
