"""A forked child has no connection of its parent, and the parent goes on with a new one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
import warnings
from pathlib import Path

import pytest

from qwen3_rerank_plugins.engine.score_cache.connection import Connection, transaction
from qwen3_rerank_plugins.engine.score_cache.schema import ENTRY_BYTES
from qwen3_rerank_plugins.engine.score_cache.score_file import ScoreFile
from tests.engine.score_cache.keys import key, scores


def open_files(path: Path) -> list[str]:
    """The descriptors of this process that lead to a database or to its log."""
    found: list[str] = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists the folder is closed already
            target = str(descriptor.readlink())
            found += [target] if target.startswith(str(path)) else []
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_inherits_no_descriptor_of_the_file_and_both_can_write(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    file = ScoreFile(path, 1000 * ENTRY_BYTES, patience=30)
    file.write(scores(1), [])
    file.read([key(1)])
    assert open_files(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn about threads of other tests
        child = os.fork()
    if child == 0:
        code = 1
        try:
            inherited = open_files(path)
            file.write(scores(2), [])
            code = 2 if inherited else 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    file.write(scores(3), [])
    assert file.read([key(number) for number in range(5)]) == scores(1, 2, 3)
    file.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_waits_for_a_statement_that_runs(tmp_path: Path) -> None:
    connection = Connection(tmp_path / "scores.db", lambda _: None, 1)
    inside, go_on = threading.Event(), threading.Event()
    states: list[str] = []

    def work() -> None:
        with connection.use():
            inside.set()
            go_on.wait(30)
            states.append("used")

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(30)
    threading.Timer(0.2, go_on.set).start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(0 if states == ["used"] and connection._opened is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    thread.join()
    connection.close()


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "some.db", isolation_level=None)
    connection.execute("CREATE TABLE numbers (number)")
    with pytest.raises(ValueError, match="no"), transaction(connection):
        connection.execute("INSERT INTO numbers VALUES (1)")
        raise ValueError("no")
    assert connection.execute("SELECT * FROM numbers").fetchall() == []
    connection.close()
