"""The model card's table: its command runs, offline, on what mteb has for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import model_card as card
from benchmarks.model_card import COLUMNS, PUBLISHED, TaskScore, as_lines, measure_task, tasks_of
from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.evaluation import mteb_model

pytestmark = pytest.mark.filterwarnings("default")  # what mteb and its own libraries warn about is theirs to mend


def test_a_task_is_retrieved_and_what_was_found_is_reranked(demo: Qwen3Reranker, tmp_path: Path) -> None:
    import mteb
    from mteb.mocks.mock_tasks import MockRetrievalTask

    first_stage = mteb.get_model("mteb/baseline-random-encoder")
    task = MockRetrievalTask()
    found = measure_task(task, first_stage, mteb_model(demo), tmp_path / "first-stage", top_k=1)
    assert found.name == "MockRetrievalTask"
    assert list((tmp_path / "first-stage").iterdir())
    assert {len(ranked) for split in task.dataset["default"].values() for ranked in split["top_ranked"].values()} == {1}
    assert 0 <= found.after <= found.before <= 100, "of one document each, nothing can be moved up"
    both = measure_task(MockRetrievalTask(), first_stage, mteb_model(demo), tmp_path / "first-stage", top_k=2)
    assert min(both.before, both.after) > 60, "in percent: the one relevant document of two is found at any rate"


@pytest.mark.parametrize("column", [column for column in COLUMNS if column != "MTEB-Code"])
def test_every_column_of_the_card_has_tasks_in_mteb(column: str) -> None:
    names = [task.metadata.name for task in tasks_of(column)]
    assert len(names) == {"MTEB-R": 10, "CMTEB-R": 8, "MMTEB-R": 18, "MLDR": 1, "FollowIR": 3}[column]


def test_the_lines_show_the_mean_and_what_the_card_says() -> None:
    scores = [TaskScore("One", 10.0, 20.0), TaskScore("Two", 30.0, 50.0)]
    lines = [line.split() for line in as_lines("MLDR", scores, "Qwen/Qwen3-Reranker-4B")]
    assert lines == [
        ["One", "10.00", "20.00"],
        ["Two", "30.00", "50.00"],
        ["MLDR,", "mean", "of", "2", "20.00", "35.00"],
        ["the", "model", "card", "50.26", "69.97"],
    ]
    assert len(as_lines("MLDR", scores, "demo")) == 3
    assert all(figures.keys() == COLUMNS.keys() for figures in PUBLISHED.values())


def test_the_command_measures_the_tasks_that_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from mteb.mocks.mock_tasks import MockInstructionReranking, MockRetrievalTask

    monkeypatch.setattr(card, "tasks_of", lambda column: [MockRetrievalTask(), MockInstructionReranking()])
    (tmp_path / "instructions.json").write_text('{"MockRetrievalTask": "Find test sentences"}', encoding="utf-8")
    arguments = ["MLDR", "--model", "demo", "--first-stage", "mteb/baseline-random-encoder"]
    files = ["--folder", str(tmp_path / "found"), "--instructions", str(tmp_path / "instructions.json")]
    card.main([*arguments, *files, "--task", "MockRetrievalTask"])
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == ["MockRetrievalTask", "MLDR,"]
