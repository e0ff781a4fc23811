"""The store in a file: nothing that happens to the file reaches a caller, and each trouble is told once."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen3_rerank_plugins.engine.concurrency import threads
from qwen3_rerank_plugins.engine.score_cache import file_store, schema, score_file
from qwen3_rerank_plugins.engine.score_cache.file_store import FileStore
from qwen3_rerank_plugins.engine.score_cache.schema import ENTRY_BYTES
from qwen3_rerank_plugins.errors import ThreadStartError
from tests.engine.score_cache.keys import key, scores

ROOM = 10_000 * ENTRY_BYTES


def until(condition: Callable[[], object]) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_score_is_found_at_once_and_after_closing(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    store = FileStore(path, ROOM)
    store.put(scores(*range(1200)))
    assert store.get([key(number) for number in (3, 2000, 1199, 3)]) == scores(3, 1199)
    store.close()
    store.put(scores(5000))
    assert store.get([key(3)]) == {}
    again = FileStore(path, ROOM)
    assert again.get([key(number) for number in range(6000)]) == scores(*range(1200))
    again.close()


def test_two_stores_of_one_file_see_what_the_other_has_written(tmp_path: Path) -> None:
    first, second = FileStore(tmp_path / "scores.db", ROOM), FileStore(tmp_path / "scores.db", ROOM)
    first.put(scores(1))
    second.put(scores(2))
    until(lambda: first.get([key(1), key(2)]) == second.get([key(1), key(2)]) == scores(1, 2))
    first.close()
    second.close()


def test_what_was_used_stays_and_what_was_not_goes_first(tmp_path: Path) -> None:
    path, limit = tmp_path / "scores.db", 400 * ENTRY_BYTES
    store = FileStore(path, limit)
    store.put(scores(*range(400)))
    store.close()
    store = FileStore(path, limit)
    assert len(store.get([key(number) for number in range(100)])) == 100
    store.put(scores(*range(1000, 1200)))
    store.close()
    store = FileStore(path, limit)
    found = store.get([key(number) for number in range(2000)])
    store.close()
    assert scores(*range(100), *range(1000, 1200)).items() <= found.items()
    assert not found.keys() & scores(*range(100, 300)).keys()


def test_many_uses_are_noted_without_a_new_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "_USES_AT_ONCE", 3)
    path = tmp_path / "scores.db"
    store = FileStore(path, ROOM)
    store.put(scores(1, 2, 3, 4))
    until(lambda: not store._waiting)
    store.get([key(1), key(2), key(3)])
    until(lambda: not store._used)
    reader = sqlite3.connect(path)
    until(lambda: reader.execute("SELECT key FROM scores ORDER BY turn LIMIT 1").fetchall() == [(key(4),)])
    reader.close()
    store.close()


@pytest.mark.parametrize("content", [b"no database at all, but a text\n" * 300, b"SQLite format 3\0" + b"\xa5" * 9000])
def test_a_damaged_file_is_moved_aside_with_one_warning_and_a_new_one_is_used(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "scores.db"
    path.write_bytes(content)
    store = FileStore(path, ROOM)
    assert store.get([key(1)]) == {}
    store.put(scores(1))
    store.close()
    (warning,) = warnings_of(caplog)
    assert "is damaged" in warning
    assert (tmp_path / "scores.db.damaged").read_bytes() == content
    store = FileStore(path, ROOM)
    assert store.get([key(1)]) == scores(1)
    store.close()


def test_a_file_that_is_damaged_while_it_is_used_is_moved_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "scores.db"
    store = FileStore(path, ROOM)
    store.put(scores(*range(2000)))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    store = FileStore(path, ROOM)
    assert store.get([key(1)]) == {}
    store.put(scores(1))
    until(lambda: store.get([key(1)]) == scores(1) and not store._waiting)
    store.close()
    assert len(warnings_of(caplog)) == 1


def test_a_database_of_another_application_is_left_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE treasure (gold)")
    other.commit()
    other.close()
    before = path.read_bytes()
    check_switched_off(path, caplog, "another application")
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_file_of_another_version_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scores.db"
    store = FileStore(path, ROOM)
    store.put(scores(1))
    store.close()
    monkeypatch.setattr(schema, "VERSION", 2)
    check_switched_off(path, caplog, "version 1, and this package reads version 2")


@pytest.mark.parametrize("name", ["folder", "missing/scores.db", "pipe"])
def test_a_path_that_cannot_be_written_switches_the_cache_off_with_one_warning(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    check_switched_off(tmp_path / name, caplog, "disk I/O error" if name == "pipe" else "unable to open database file")


def check_switched_off(path: Path, caplog: pytest.LogCaptureFixture, reason: str) -> None:
    store = FileStore(path, ROOM)
    assert store.get([key(1)]) == {}
    store.put(scores(1))
    assert store.get([key(1)]) == {}
    assert store.digest("file", "signature") is None
    store.remember_digest("file", "signature", b"digest")
    assert store.stopped
    store.close()
    (warning,) = warnings_of(caplog)
    assert "is switched off" in warning
    assert reason in warning


def test_a_full_disk_switches_the_cache_off_and_what_was_there_is_still_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scores.db"
    store = FileStore(path, ROOM)
    store.put(scores(1))
    store.close()

    def prepare(connection: sqlite3.Connection) -> None:
        schema.prepare(connection)
        connection.execute("PRAGMA max_page_count = 12")

    with monkeypatch.context() as patch:
        patch.setattr(score_file, "prepare", prepare)
        store = FileStore(path, ROOM)
        store.put(scores(*range(3000)))
        until(lambda: store.stopped)
        assert store.get([key(1)]) == {}
        store.close()
    (warning,) = warnings_of(caplog)
    assert "database or disk is full" in warning
    store = FileStore(path, ROOM)
    assert store.get([key(0), key(1)]) == scores(1)
    store.close()


def test_a_file_that_another_process_blocks_delays_nobody_and_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file_store, "_PATIENCE", 0.05)
    path = tmp_path / "scores.db"
    store = FileStore(path, ROOM)
    store.put(scores(1))
    until(lambda: not store._waiting)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.put(scores(2))
    time.sleep(0.3)  # the thread has tried meanwhile
    assert store.get([key(1), key(2)]) == scores(1, 2)
    other.execute("ROLLBACK")
    until(lambda: not store._waiting)
    store.close()
    assert other.execute("SELECT count(*) FROM scores").fetchall() == [(2,)]
    other.close()
    assert warnings_of(caplog) == []


def test_scores_that_wait_for_a_blocked_file_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "_MOST_WAITING", 10)
    monkeypatch.setattr(FileStore, "_ask_for_writing", lambda _: None)
    store = FileStore(tmp_path / "scores.db", ROOM)
    for number in range(20):
        store.put(scores(number))
    assert len(store._waiting) == 10
    store.close()


def test_without_a_thread_the_scores_are_written_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise ThreadStartError("no more threads")

    monkeypatch.setattr(file_store, "start_thread", refuse)
    store = FileStore(tmp_path / "scores.db", ROOM)
    store.put(scores(1))
    store.close()
    monkeypatch.setattr(file_store, "start_thread", threads.start_thread)
    store = FileStore(tmp_path / "scores.db", ROOM)
    assert store.get([key(1)]) == scores(1)
    store.close()


def test_threads_put_and_get_at_once(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "scores.db", ROOM)
    expected, wrong = scores(*range(400)), list[object]()

    def work(start: int) -> None:
        for number in range(start, start + 100):
            store.put(scores(number))
            found = store.get([key(number), key(number - 50)])
            if key(number) not in found or not found.items() <= expected.items():
                wrong.append(number)

    running = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200, 300)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert wrong == []
    assert store.get(list(expected)) == expected
    store.close()
