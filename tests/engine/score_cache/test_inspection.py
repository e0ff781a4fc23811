"""What is in a file, and emptying it while others use it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from qwen3_rerank_plugins.engine.score_cache import inspection
from qwen3_rerank_plugins.engine.score_cache.schema import ENTRY_BYTES
from qwen3_rerank_plugins.engine.score_cache.score_file import ScoreFile
from qwen3_rerank_plugins.errors import SettingsError
from tests.engine.score_cache.keys import key, scores


def test_scores_and_bytes_are_counted_while_the_file_is_used(tmp_path: Path) -> None:
    file = ScoreFile(tmp_path / "scores.db", 2**20)
    file.write(scores(*range(300)), [])
    info = inspection.read_info(tmp_path / "scores.db")
    assert (info.scores, info.bytes_per_score) == (300, ENTRY_BYTES)
    assert info.bytes == sum((tmp_path / name).stat().st_size for name in ("scores.db", "scores.db-wal"))
    file.close()


def test_a_cleared_file_is_small_and_goes_on_being_used(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    file = ScoreFile(path, 2**24)
    file.write(scores(*range(5000)), [])
    file.remember_digest("weights", "size", b"digest")
    assert inspection.clear(path) == 5000
    assert inspection.read_info(path).scores == 0
    assert inspection.read_info(path).bytes < 10 * 4096
    assert file.read([key(1)]) == {}
    assert file.digest("weights", "size") is None
    file.write(scores(1, 2), [])
    assert inspection.clear(path) == 2
    file.close()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "There is no file"),
        (b"", "is empty"),
        (b"a text, and no database" * 50, "cannot be used as a score cache"),
    ],
)
def test_what_is_no_cache_is_refused_and_left_as_it_is(content: bytes | None, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    if content is not None:
        path.write_bytes(content)
    for action in (inspection.read_info, inspection.clear):
        with pytest.raises(SettingsError, match=complaint):
            action(path)
    assert path.exists() == (content is not None)
    assert content is None or path.read_bytes() == content


def test_a_database_of_another_application_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE treasure (gold)")
    other.commit()
    with pytest.raises(SettingsError, match="another application"):
        inspection.clear(path)
    assert other.execute("SELECT count(*) FROM treasure").fetchall() == [(0,)]
    other.close()


def test_a_process_that_writes_for_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_PATIENCE", 0.05)
    file = ScoreFile(tmp_path / "scores.db", 2**20)
    file.write(scores(1), [])
    with file._writer.use() as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(SettingsError, match="locked"):
            inspection.clear(tmp_path / "scores.db")
        connection.execute("ROLLBACK")
    file.close()
