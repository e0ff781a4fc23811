"""`qwen3-rerank verify`: published scores, golden files, and what a person and a program see of them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.cli.verify_output import case_table, recheck_table
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.text.template import template_hash
from qwen3_rerank_plugins.verify.cases import demo_cases, published_cases
from qwen3_rerank_plugins.verify.comparison import Comparison
from qwen3_rerank_plugins.verify.provenance import Provenance
from qwen3_rerank_plugins.verify.questions import Question, count_documents
from qwen3_rerank_plugins.verify.recording import RecordedQuestion, Recording, read_recording
from qwen3_rerank_plugins.verify.verification import CaseVerdict, Recheck
from tests.cache import cache_with
from tests.cli.conftest import MODEL, Run, in_a_process, one_line
from tests.cli.test_tables import printed

Write = Callable[[str, str], str]
SET = json.dumps(
    {
        "query": "capital of China?",
        "instruction": "Find it",
        "candidates": [{"text": "Beijing is the capital of China."}, {"text": " "}, {"text": "Bread rises in ovens."}],
    }
)


@pytest.fixture
def moved(tmp_path: Path) -> str:
    """The demo checkpoint with one matrix of one layer five percent larger."""
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "moved"))
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.2.mlp.up_proj.weight"] *= 1.05
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


@pytest.fixture
def golden_file(run: Run, write: Write, tmp_path: Path) -> Path:
    """A golden file of one query, recorded with the demo checkpoint."""
    file = tmp_path / "golden.json"
    done = run(
        "verify", "--model", MODEL, "--device", "cpu", "--max-length", "700", "--record", file, write("s.jsonl", SET)
    )
    assert (done.exit_code, done.stderr) == (0, "")
    return file


def parsed(stdout: str) -> dict[str, Any]:
    assert stdout.count("\n") == 1
    assert stdout.isascii()
    found: dict[str, Any] = json.loads(stdout, parse_constant=pytest.fail)
    return found


def change(file: Path, **made: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    content["made"].update(made)
    file.write_text(json.dumps(content), encoding="utf-8")


def test_the_demo_is_verified_case_by_case(run: Run) -> None:
    done = run("verify", "--model", MODEL, "--device", "cpu")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("✓ within 0.001, order kept" in line for line in lines) == len(demo_cases())
    assert "All is well: 7 of 7 judged cases agree." in lines
    assert lines[-1] == "Scored by demo on cpu, float32, sdpa attention."
    figures = [match for line in lines if (match := re.match(r" *(-?\d+\.\d{4}) +(-?\d+\.\d{4}) +(\d\.\d{4})  ", line))]
    assert len(figures) == count_documents([case.question for case in demo_cases()])
    for expected, got, difference in (map(float, match.groups()) for match in figures):
        assert abs(abs(expected - got) - difference) <= 1.5e-4, "three figures, each rounded to four digits"
        assert difference <= 1e-3


def test_moved_weights_are_not_well_and_exit_code_1(run: Run, moved: str) -> None:
    done = run("verify", "--model", moved, "--device", "cpu")
    assert done.exit_code == 1
    assert "Not well: demo-1" in done.stdout
    assert "✗ off by up to 0." in done.stdout


def test_json_of_published_cases_is_one_line(run: Run, moved: str) -> None:
    well, unwell = (run("verify", "--model", model, "--device", "cpu", "--json") for model in (MODEL, moved))
    assert (well.exit_code, well.stderr, unwell.exit_code) == (0, "", 1)
    report = parsed(well.stdout)
    assert report["passed"] is True
    assert report["made"]["template"] == template_hash()
    first, case = report["cases"][0], demo_cases()[0]
    assert (first["name"], first["passed"], first["measure"]) == (case.name, True, "log-odds")
    assert (first["tolerance"], first["order_kept"], first["confidence"]) == (0.001, True, "high")
    assert [document["text"] for document in first["documents"]] == list(case.question.documents)
    assert [document["expected"] for document in first["documents"]] == list(case.expected)
    assert [document["got"] for document in first["documents"]] == pytest.approx(case.expected, abs=1e-4)
    assert parsed(unwell.stdout)["passed"] is False


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A checkpoint of sizes that nobody has published scores of."""
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "stranger"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}), encoding="utf-8")
    return folder


def test_a_model_without_published_scores_is_told_about_record_before_anything_is_loaded(
    run: Run, stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "acquire", pytest.fail)
    cache = cache_with(stranger, "owner/name", stranger.parent / "cache")
    for model in (["--model", stranger], ["--model", "owner/name", "--cache-dir", cache]):
        done = run("verify", "--local-files-only", *model)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "No scores are published for a model with the sizes of" in one_line(done.stderr)
        assert "--record FILE" in done.stderr


def test_a_model_that_is_not_here_is_one_line_that_names_the_demo(run: Run, tmp_path: Path) -> None:
    done = run("verify", "--local-files-only", "--cache-dir", tmp_path)
    assert done.exit_code == 2
    complaint = one_line(done.stderr)
    assert "'Qwen/Qwen3-Reranker-8B' is not in the cache" in complaint
    assert complaint.endswith("To try things offline: --model demo.")


def test_quantised_weights_are_refused_before_anything_is_looked_for(run: Run) -> None:
    done = run("verify", "--quantization", "int8")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Leave the quantization out" in one_line(done.stderr)


def test_a_recording_holds_texts_scores_and_what_made_them(golden_file: Path) -> None:
    recording = read_recording(golden_file)
    assert (recording.provenance.model, recording.provenance.dtype, recording.provenance.device) == (
        MODEL,
        "float32",
        "cpu",
    )
    assert (recording.provenance.max_length, recording.provenance.template) == (700, template_hash())
    (recorded,) = recording.questions
    assert recorded.question.query == "capital of China?"
    assert recorded.question.instruction == "Find it"
    assert recorded.question.documents[1] == " "
    assert recorded.log_odds[0] > recorded.log_odds[2] > recorded.log_odds[1] == -float("inf")


def test_an_instruction_goes_before_the_sets_and_lines_take_a_query(run: Run, write: Write, tmp_path: Path) -> None:
    common = ("verify", "--model", MODEL, "--json", "--instruction", "Look", "--record")
    run(*common, tmp_path / "a", write("s.jsonl", SET))
    done = run(*common, tmp_path / "b", "--query", "q", write("lines.txt", "one\n\ntwo\n"), "-", stdin="three")
    assert {key: parsed(done.stdout)[key] for key in ("recorded", "queries", "documents")} == {
        "recorded": str(tmp_path / "b"),
        "queries": 1,
        "documents": 3,
    }
    assert "skipped 1 blank line" in one_line(done.stderr)
    first, second = (read_recording(tmp_path / name).questions[0].question for name in "ab")
    assert (first.instruction, second.instruction) == ("Look", "Look")
    assert (second.query, second.documents) == ("q", ("one", "two", "three"))


def test_json_documents_are_read_by_their_field(run: Run, write: Write, tmp_path: Path) -> None:
    file = write("d.jsonl", '{"body": "one"}')
    done = run("verify", "--model", MODEL, "--record", tmp_path / "a", "--query", "q", "--text-field", "body", file)
    assert done.exit_code == 0
    assert done.stdout.split("\n")[0].startswith("Recorded 1 score of 1 query in ")
    assert read_recording(tmp_path / "a").questions[0].question.documents == ("one",)


def test_without_sets_the_packages_own_questions_are_recorded(run: Run, tmp_path: Path) -> None:
    assert run("verify", "--model", MODEL, "--record", tmp_path / "own").exit_code == 0
    recorded = [question.question for question in read_recording(tmp_path / "own").questions]
    assert recorded == [case.question for case in published_cases()]


def test_checked_at_once_nothing_has_moved(run: Run, golden_file: Path) -> None:
    done = run("verify", "--check", golden_file, "--device", "cpu")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "kept  ✓ capital of China?" in done.stdout
    assert done.stdout.splitlines()[-3:] == [
        "Made as it was recorded.",
        "Nothing has moved by more than 0.001 in log-odds.",
        "Scored by demo on cpu, float32, sdpa attention.",
    ]


def test_model_and_max_length_are_as_recorded_unless_given(run: Run, golden_file: Path) -> None:
    asked = parsed(run("verify", "--check", golden_file, "--json").stdout)
    assert (asked["made"]["model"], asked["made"]["max_length"], asked["changes"]) == (MODEL, 700, [])
    longer = parsed(run("verify", "--check", golden_file, "--json", "--max-length", "900").stdout)
    assert longer["changes"] == [{"what": "max_length", "before": "700", "now": "900"}]


def test_moved_weights_are_caught_with_what_moved_and_what_changed(run: Run, golden_file: Path, moved: str) -> None:
    done = run("verify", "--check", golden_file, "--model", moved, "--device", "cpu")
    assert done.exit_code == 1
    assert "✗ capital of China?" in done.stdout
    assert "Moved: 1 of 1 query by more than 0.001 in log-odds." in done.stdout
    assert "Changed since it was recorded: model demo -> /" in " ".join(done.stdout.split())
    assert run("verify", "--check", golden_file, "--model", moved, "--tolerance", "9").exit_code == 0
    assert run("verify", "--check", golden_file, "--tolerance", "0").exit_code == 0


def test_json_of_a_check_has_every_figure_and_null_for_what_was_blank(run: Run, golden_file: Path, moved: str) -> None:
    done = run("verify", "--check", golden_file, "--model", moved, "--device", "cpu", "--json")
    assert done.exit_code == 1
    report = parsed(done.stdout)
    (query,) = report["queries"]
    assert (report["passed"], query["passed"], query["tolerance"]) == (False, False, 0.001)
    assert [found["what"] for found in report["changes"]] == ["model"]
    expected = read_recording(golden_file).questions[0].log_odds
    assert [document["expected"] for document in query["documents"]] == [expected[0], None, expected[2]]
    assert query["documents"][1] == {"text": " ", "expected": None, "got": None, "difference": 0.0}
    assert query["largest_difference"] == max(document["difference"] for document in query["documents"])


def test_other_versions_and_another_template_are_named(run: Run, golden_file: Path) -> None:
    change(golden_file, transformers="5.1.0", template="ffffffffffff")
    done = run("verify", "--check", golden_file, "--device", "cpu")
    assert done.exit_code == 0
    shown = " ".join(done.stdout.split())
    assert f"Changed since it was recorded: template ffffffffffff -> {template_hash()}, transformers 5.1.0 ->" in shown


def test_a_file_that_is_there_is_not_overwritten_and_no_model_is_loaded_for_it(
    run: Run, golden_file: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = golden_file.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(registry, "acquire", pytest.fail)
        done = run("verify", "--model", MODEL, "--record", golden_file)
    assert (done.exit_code, golden_file.read_bytes()) == (2, before)
    assert "already exists" in one_line(done.stderr)
    assert run("verify", "--model", MODEL, "--record", golden_file, "--force").exit_code == 0
    assert golden_file.read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--record", "a", "--check", "b"], "Give only one of the two"),
        (["set.jsonl"], "SET means nothing without --record"),
        (["--query", "q", "--force"], "--query and --force mean nothing without --record"),
        (["--check", "b", "--instruction", "x"], "--instruction means nothing without --record"),
        (["--check", "b", "--format", "lines"], "--format means nothing without --record"),
        (["--tolerance", "0"], "--tolerance means nothing without --check"),
        (["--record", "a", "--tolerance", "1"], "--tolerance means nothing without --check"),
        (["--record", "a", "--query", ""], "--query means nothing without a SET to record"),
        (["--record", "a", "--text-field", "x"], "--text-field means nothing without a SET to record"),
        (["--record", "nowhere/a"], "there is no folder nowhere"),
        (["--record", "a", "nowhere.jsonl"], "Cannot read nowhere.jsonl"),
        (["--record", "a", "--query", "q", "empty.txt"], "There are no documents to score"),
        (["--check", "nowhere.json"], "Cannot read nowhere.json: No such file"),
        (["--check", "empty.txt"], "empty.txt is not a golden file"),
        (["--check", "foreign.json"], "foreign.json is not a golden file"),
        (["--check", "newer.json"], "newer.json has format version 99"),
        (["--tolerance", "-1", "--check", "b"], "--tolerance"),
        (["--max-length", "0"], "max_length must be a positive whole number"),
    ],
)
def test_bad_input_is_one_line_and_loads_no_model(
    run: Run, arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "acquire", pytest.fail)
    Path("empty.txt").touch()
    Path("foreign.json").write_text('{"name": "something else"}', encoding="utf-8")
    Path("newer.json").write_text('{"format": "qwen3-rerank golden scores", "version": 99}', encoding="utf-8")
    done = run("verify", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert complaint in one_line(done.stderr)
    assert not Path("a").exists()


def test_a_query_without_room_names_the_golden_file(run: Run, golden_file: Path) -> None:
    done = run("verify", "--check", golden_file, "--max-length", "62")
    assert done.exit_code == 2
    assert f"{golden_file}, questions 1: Template, instruction and query take" in one_line(done.stderr)


@pytest.mark.slow
def test_a_process_of_its_own_writes_and_checks(tmp_path: Path) -> None:
    file = str(tmp_path / "golden.json")
    recorded = in_a_process("verify", "--model", MODEL, "--record", file, "--query", "q", "-", input="one\ntwo\n")
    assert (recorded.returncode, recorded.stderr) == (0, "")
    checked = in_a_process("verify", "--check", file, "--json")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert parsed(checked.stdout)["passed"] is True


STEERING = "a\x1b[31mb[bold]c\u202ed"


def test_nothing_that_steers_a_terminal_comes_out_of_a_golden_file() -> None:
    made = Provenance("m", None, "t", "float32", "cpu", "sdpa", None, 99, "1", "2", "3", "4")
    then = Provenance(f"{STEERING}", *(getattr(made, name) for name in Provenance.__slots__[1:]))
    recorded = RecordedQuestion(Question(STEERING, ("x",)), (1.0,))
    lines = printed(recheck_table(Recheck(Recording(then, (recorded,)), made, 0.1, (Comparison((1.0,), (1.0,), 0.1),))))
    shown = "\n".join(lines)
    assert shown.count("a�[31mb[bold]c�d") == 2
    assert not {"\x1b", "\u202e"} & set(shown)


def test_a_table_shows_blank_documents_and_cases_for_information() -> None:
    (case,) = [case for case in published_cases() if not case.judged]
    comparison = Comparison(case.expected, (9.0, 9.0, -float("inf")), 0.5)
    lines = printed(case_table(CaseVerdict(case, comparison)))
    assert lines[0].startswith("false-capitals-0.6b  What is the capital of China?")
    assert "· for information only" in lines
    assert any(line.split()[1:3] == ["blank", "inf"] for line in lines)


def test_a_swap_is_shown_as_one() -> None:
    (case,) = [case for case in published_cases() if case.name == "capital-4b"]
    lines = printed(case_table(CaseVerdict(case, Comparison((6.4, -14.4), (-14.4, 6.4), 0.3))))
    assert "✗ off by up to 20.8000, order changed; 0.3 is allowed" in lines


def test_a_query_without_documents_has_an_empty_row() -> None:
    made = Provenance("m", None, "t", "float32", "cpu", "sdpa", None, 99, "1", "2", "3", "4")
    recorded = RecordedQuestion(Question("nothing here", ()), ())
    lines = printed(recheck_table(Recheck(Recording(made, (recorded,)), made, 0.1, (Comparison((), (), 0.1),))))
    assert lines[2].split() == ["0.0000", "kept", "✓", "nothing", "here"]
