"""A folder of answers belongs to one job: the same input and the same settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.ray.manifest import MANIFEST, Manifest, claim, manifest_of
from qwen3_rerank_plugins.ray.source import SourceFile, Split


def a_manifest(sha256: str = "ab", partition_rows: int = 4, **settings: Any) -> Manifest:
    file = SourceFile(Path("/somewhere/requests.jsonl"), sha256, (Split(0, 1, 4, "a"), Split(99, 5, 2, "b")))
    return manifest_of([file], partition_rows, Qwen3Reranker("demo", **settings))


def test_the_same_job_may_go_on(tmp_path: Path) -> None:
    claim(tmp_path, a_manifest())
    claim(tmp_path, a_manifest())
    assert [file.name for file in tmp_path.iterdir()] == [MANIFEST]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"sha256": "cd"}, "its input requests.jsonl has changed since"),
        ({"partition_rows": 5}, "partition_rows was 4 and is 5"),
        ({"instruction": "Find"}, "instruction was None and is 'Find'"),
        ({"top_n": 3, "max_length": 100}, "max_length was None and is 100; top_n was None and is 3"),
        ({"dtype": "bfloat16"}, "dtype was 'auto' and is 'bfloat16'"),
        ({"long_documents": "windows"}, "long_documents was 'truncate' and is 'windows'"),
    ],
)
def test_another_job_is_refused_and_told_what_differs(other: dict[str, Any], says: str, tmp_path: Path) -> None:
    claim(tmp_path, a_manifest())
    with pytest.raises(SettingsError, match=f"holds answers of another job: {says}. Use another folder"):
        claim(tmp_path, a_manifest(**other))


@pytest.mark.parametrize(
    "other",
    [
        {"token": "hf_secret"},
        {"max_batch_tokens": 99},
        {"cache_dir": "/elsewhere"},
        {"devices": ["cpu", "cpu"]},
        {"cache": "memory", "cache_bytes": 2**20},
    ],
)
def test_what_moves_no_answer_may_change_between_runs_and_no_secret_is_written(
    other: dict[str, Any], tmp_path: Path
) -> None:
    claim(tmp_path, a_manifest(**other))
    claim(tmp_path, a_manifest())
    assert "hf_secret" not in (tmp_path / MANIFEST).read_text()


def test_an_instruction_that_is_a_function_is_refused() -> None:
    with pytest.raises(SettingsError, match="Put its results into the"):
        a_manifest(instruction=lambda query: f"Find {query}")


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="holds files that do not belong to a batch job"):
        claim(tmp_path, a_manifest())
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"version": 0}), json.dumps({"version": 2})])
def test_a_manifest_that_cannot_be_read_is_no_licence_to_go_on(text: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(SettingsError, match="is damaged, unreadable, or of another version"):
        claim(tmp_path, a_manifest())
