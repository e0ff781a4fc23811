"""The two tables: the published figures as they were published, chosen by a model's sizes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO, Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED
from qwen3_rerank_plugins.engine.ranking import probability
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.template import template_hash
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.verify import cases as cases_module
from qwen3_rerank_plugins.verify.cases import (
    DEMO_TABLE,
    PUBLISHED_TABLE,
    Case,
    built_in_questions,
    cases_for,
    demo_cases,
    published_cases,
)
from qwen3_rerank_plugins.verify.recording import read_recording

DEMO_CHECKPOINT = find_checkpoint(EngineSettings(model=DEMO))


@pytest.fixture(scope="module")
def theirs(data: Path) -> list[dict[str, Any]]:
    return json.loads((data / "golden_scores.json").read_text(encoding="utf-8"))["cases"]


def test_every_published_case_is_in_the_table_with_its_texts_figures_and_confidence(
    theirs: list[dict[str, Any]],
) -> None:
    assert len(theirs) == len(published_cases())
    for case, published in zip(published_cases(), theirs, strict=True):
        assert case.question.query == published["query"]
        assert list(case.question.documents) == published["documents"]
        assert case.question.instruction == published["instruction"]
        assert case.confidence == published["confidence"]
        if "expected_logit_diff" in published:
            assert list(case.expected) == published["expected_logit_diff"]
        elif case.measure == "probability":
            assert list(case.expected) == published["expected_prob"]
        else:
            assert list(map(probability, case.expected)) == pytest.approx(published["expected_prob"], rel=1e-12)


def test_every_case_is_about_the_published_model_and_no_stricter_or_looser_than_its_figures_allow(
    theirs: list[dict[str, Any]],
) -> None:
    for case, published in zip(published_cases(), theirs, strict=True):
        if case.confidence == "low":
            continue
        assert case.model == published["model"]
        key = "logit_abs" if case.measure == "log-odds" else "prob_abs"
        assert case.tolerances["float32"] == published["tolerance"][key]
        half = 0.15 if (case.dtype, case.measure) == ("float32", "log-odds") else published["tolerance"][key]
        assert case.tolerances["bfloat16"] == case.tolerances["float16"] == half


def test_figures_printed_with_few_digits_are_compared_as_probabilities(theirs: list[dict[str, Any]]) -> None:
    for case, published in zip(published_cases(), theirs, strict=True):
        rounded = "expected_logit_diff" not in published and all(p == round(p, 4) for p in published["expected_prob"])
        assert (case.measure == "probability") == rounded


def test_names_and_sources_are_there_and_names_are_unique() -> None:
    names = [case.name for case in (*published_cases(), *demo_cases())]
    assert len(set(names)) == len(names)
    assert all(case.source for case in published_cases())
    assert [case.name for case in published_cases() if not case.judged] == ["false-capitals-0.6b"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_gets_the_cases_of_its_size_whatever_it_is_called(name: str, data: Path) -> None:
    config = json.loads((data / "configs" / f"{name.split('/')[1].lower()}.config.json").read_text(encoding="utf-8"))
    found = cases_for(Checkpoint("/some/folder", Path("/some/folder"), None, config))
    assert found == tuple(case for case in published_cases() if case.model == name)
    assert any(case.judged and case.confidence == "high" for case in found)


def test_the_demo_and_its_copies_get_the_recorded_cases() -> None:
    assert cases_for(DEMO_CHECKPOINT) == demo_cases()
    assert cases_for(dataclasses.replace(DEMO_CHECKPOINT, name="/a/copy", folder=Path("/a/copy"))) == demo_cases()


@pytest.mark.parametrize("change", [{"num_hidden_layers": 5}, {"num_key_value_heads": None}])
def test_a_model_of_other_or_unknown_sizes_is_told_to_record_its_own(change: dict[str, int | None]) -> None:
    config = {**DEMO_CHECKPOINT.config, **change}
    stranger = dataclasses.replace(
        DEMO_CHECKPOINT, name="someone/else", config={k: v for k, v in config.items() if v is not None}
    )
    with pytest.raises(RequestError, match=r"No scores are published .*'someone/else'.*--record FILE.*--check FILE"):
        cases_for(stranger)


def test_the_demos_table_was_recorded_with_todays_template_on_the_published_questions() -> None:
    recording = read_recording(DEMO_TABLE)
    assert recording.provenance.template == template_hash(), (
        "record verify/demo.json again, and say so in the changelog"
    )
    assert (recording.provenance.model, recording.provenance.dtype) == (DEMO, "float32")
    assert tuple(recorded.question for recorded in recording.questions) == built_in_questions()


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda case: case.update(confidence="certain"),
            "confidence must be 'high', 'medium' or 'low'. Install",
        ),
        (lambda case: case["judged"].update(measure="rank"), "judged, measure must be 'log-odds' or 'probability'"),
        (lambda case: case["judged"]["tolerance"].pop("float16"), "tolerance, float16 is missing"),
        (lambda case: case["judged"]["tolerance"].update(float8=1), "tolerance, float8 is not a field"),
        (lambda case: case["log_odds"].pop(), "cases 1 must have one score per document"),
        (lambda case: case.update(probabilities=[]), "cases 1 must have either log_odds or probabilities"),
        (lambda case: case.pop("log_odds"), "cases 1 must have either log_odds or probabilities"),
        (lambda case: case.update(log_odds=None), "cases 1, log_odds must be a list"),
        (lambda case: case.pop("source"), "cases 1, source is missing"),
    ],
)
def test_a_damaged_table_is_refused(
    change: Change, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = json.loads(PUBLISHED_TABLE.read_text(encoding="utf-8"))
    change(table["cases"][0])
    (tmp_path / "published.json").write_text(json.dumps(table), encoding="utf-8")
    monkeypatch.setattr(cases_module, "PUBLISHED_TABLE", tmp_path / "published.json")
    with pytest.raises(RequestError, match=complaint):
        published_cases.__wrapped__()


def test_a_table_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "published.json").write_text('{"format": "x", "version": 1, "cases": []}', encoding="utf-8")
    monkeypatch.setattr(cases_module, "PUBLISHED_TABLE", tmp_path / "published.json")
    with pytest.raises(RequestError, match="format must be 'qwen3-rerank published scores'. Install"):
        published_cases.__wrapped__()


def test_the_page_lists_the_published_cases_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "verify.md").read_text(encoding="utf-8")
    rows = []
    for case in published_cases():
        exact, half = (
            f"{case.tolerances[dtype]:g}" if case.judged else "not judged" for dtype in ("float32", "float16")
        )
        size = case.model.rsplit("-", 1)[1]
        cells = (f"`{case.name}`", size, case.measure, exact, half, case.confidence, case.source)
        rows.append(f"| {' | '.join(cells)} |")
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows


def test_a_case_is_frozen() -> None:
    case: Case = published_cases()[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        case.name = "other"  # type: ignore[misc]
