"""The file of scores: all processes find what one has written, its size is held, and no damage becomes a score."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.score_cache.schema import ENTRY_BYTES, LOG_BYTES, from_value, to_value
from qwen3_rerank_plugins.engine.score_cache.score_file import ScoreFile
from qwen3_rerank_plugins.engine.score_cache.store import CachedScore
from tests.engine.score_cache.keys import key, score, scores

ROOM = 1000 * ENTRY_BYTES


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 9), max_size=4), st.lists(st.integers(0, 9), max_size=4), st.booleans()),
        max_size=12,
    ),
    st.integers(1, 8),
)
def test_it_answers_as_a_dictionary_that_forgets_what_was_not_used_for_longest(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[list[int], list[int], bool]], most: int
) -> None:
    file = ScoreFile(tmp_path_factory.mktemp("cache") / "scores.db", most * ENTRY_BYTES)
    order: list[int] = []  # the reference: the last one was used last
    for written, used, reopened in operations:
        file.write(scores(*written), [key(one) for one in dict.fromkeys(used)])
        touched = [one for one in dict.fromkeys(used) if one in order and one not in written]
        order = [one for one in order if one not in touched] + touched
        order = (order + [one for one in dict.fromkeys(written) if one not in order])[-most:]
        if reopened:
            file.close()
        assert file.read([key(one) for one in range(10)]) == scores(*order)
        assert file.count() == len(order)
    file.close()


def test_what_was_written_is_there_after_closing_and_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    file = ScoreFile(path, ROOM)
    file.write(scores(*range(700)), [])
    program = (
        "import sys; from pathlib import Path\n"
        "from qwen3_rerank_plugins.engine.score_cache.score_file import ScoreFile\n"
        "from tests.engine.score_cache.keys import key, scores\n"
        "assert ScoreFile(Path(sys.argv[1]), 10**6).read([key(n) for n in range(701)]) == scores(*range(700))"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert file.read([key(699), key(700)]) == scores(699)
    file.close()
    assert file.read([key(699), key(700)]) == scores(699)
    file.close()


def test_a_score_keeps_every_bit_and_its_mark(tmp_path: Path) -> None:
    file = ScoreFile(tmp_path / "scores.db", ROOM)
    values = [-0.0, 5e-324, 1.7976931348623157e308, -3.3333332538604736, 1e-45]
    given = {key(number): CachedScore(value, number == 2) for number, value in enumerate(values)}
    file.write(given, [])
    found = file.read(list(given))
    assert [(one.log_odds.hex(), one.rescored) for one in found.values()] == [
        (one.log_odds.hex(), one.rescored) for one in (given[key] for key in found)
    ]
    assert len(found) == len(values)
    file.close()


def test_the_file_stays_near_its_limit_whatever_is_written_and_used(tmp_path: Path) -> None:
    path, limit = tmp_path / "scores.db", 2 * 2**20
    file = ScoreFile(path, limit)
    for start in range(0, 60_000, 500):
        used = [key(one) for one in range(max(0, start - 5000), start, 7)]
        file.write(scores(*range(start, start + 500)), used)
    assert limit / 2 < path.stat().st_size <= limit * 1.05
    assert (tmp_path / "scores.db-wal").stat().st_size <= 2 * LOG_BYTES
    assert file.read([key(59_999)]) == scores(59_999)
    file.close()


def test_a_lower_limit_shrinks_the_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    file = ScoreFile(path, 2**30)
    file.write(scores(*range(20_000)), [])
    file.close()
    large = path.stat().st_size
    file = ScoreFile(path, 2**16)
    file.write(scores(20_000), [])
    file.close()
    assert path.stat().st_size < large / 10
    assert file.read([key(0), key(20_000)]) == scores(20_000)
    file.close()


@pytest.mark.slow
def test_two_processes_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from qwen3_rerank_plugins.engine.score_cache.score_file import ScoreFile\n"
        "from tests.engine.score_cache.keys import key, scores\n"
        "file, start = ScoreFile(Path(sys.argv[1]), 2**24, patience=60), int(sys.argv[2])\n"
        "for number in range(start, start + 80):\n"
        "    file.write(scores(number), [key(number - 1)])\n"
        "    assert file.read([key(number)]) == scores(number)\n"
    )
    path = tmp_path / "scores.db"
    running = [subprocess.Popen([sys.executable, "-c", program, str(path), str(start)]) for start in (0, 50, 1000)]
    assert [process.wait() for process in running] == [0, 0, 0]
    numbers = [*range(130), *range(1000, 1080)]
    file = ScoreFile(path, 2**24)
    assert file.read([key(number) for number in range(1400)]) == scores(*numbers)
    file.close()
    counted = sqlite3.connect(path)
    assert counted.execute("SELECT count FROM entries").fetchall() == [(len(numbers),)]
    counted.close()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "scores.db"
    file = ScoreFile(path, ROOM)
    file.write(scores(*range(150)), [])
    file.close()
    return path.read_bytes()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**20), st.integers(1, 400), st.integers(1, 255), st.booleans())
def test_damaged_bytes_never_become_a_score(
    good: bytes, tmp_path_factory: pytest.TempPathFactory, start: int, count: int, change: int, halved: bool
) -> None:
    damaged = bytearray(good)
    for position in range(start % len(good), min(len(good), start % len(good) + count)):
        damaged[position] ^= change
    path = tmp_path_factory.mktemp("damaged") / "scores.db"
    path.write_bytes(damaged[: len(good) // 2] if halved else damaged)
    file = ScoreFile(path, ROOM)
    try:
        found = file.read([key(number) for number in range(150)])
    except sqlite3.Error:
        found = {}
    file.close()
    assert found.items() <= scores(*range(150)).items()


def test_a_value_of_another_key_or_with_a_changed_bit_is_no_score() -> None:
    value = to_value(key(1), score(1))
    assert from_value(key(1), value) == score(1)
    assert from_value(key(2), value) is None
    for position in range(len(value)):
        changed = bytearray(value)
        changed[position] ^= 1
        assert from_value(key(1), bytes(changed)) is None
    assert from_value(key(1), to_value(key(1), CachedScore(float("nan"), False))) is None
    assert from_value(key(1), None) is None


def test_a_digest_is_found_for_its_signature_only(tmp_path: Path) -> None:
    file = ScoreFile(tmp_path / "scores.db", ROOM)
    file.remember_digest("weights", "size 1", b"one")
    file.remember_digest("weights", "size 2", b"two")
    assert (file.digest("weights", "size 1"), file.digest("weights", "size 2")) == (None, b"two")
    file.close()


def test_a_file_that_another_process_has_replaced_is_not_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    first = ScoreFile(path, ROOM)
    first.write(scores(1), [])
    path.rename(tmp_path / "away")
    second = ScoreFile(path, ROOM)
    second.write(scores(2), [])
    assert first.move_aside() is None
    assert first.read([key(1), key(2)]) == scores(2)
    assert second.move_aside() == tmp_path / "scores.db.damaged"
    assert second.read([key(2)]) == {}
    first.close()
    second.close()
