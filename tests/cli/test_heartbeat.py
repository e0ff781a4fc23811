"""Long work that no terminal shows: a line every ten seconds, and none for short work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest

from qwen3_rerank_plugins.cli import heartbeat
from qwen3_rerank_plugins.cli.heartbeat import Progress, beat
from qwen3_rerank_plugins.cli.output import Screen


@pytest.fixture(autouse=True)
def _every_ten_seconds(monkeypatch: pytest.MonkeyPatch, _no_progress: None) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", 10.0)


def lines(progress: Progress, shares: list[float]) -> list[str]:
    """What is said if a share of the work is done in each ten seconds, and then all of it is over."""
    now = 0.0
    said: list[str] = []
    left = list(shares)

    def wait(seconds: float) -> bool:
        nonlocal now
        if not left:
            return True
        now += seconds
        progress.advance(left.pop(0))
        return False

    beat(progress.describe, said.append, wait, lambda: now)
    return said


def test_every_ten_seconds_a_line_says_how_far_it_is_and_how_long_it_will_take() -> None:
    assert lines(Progress("Ranking", 40), [10, 10, 20]) == [
        "Ranking: 25%, 10 of 40, 0:00:10, about 0:00:30 left",
        "Ranking: 50%, 20 of 40, 0:00:20, about 0:00:20 left",
        "Ranking: 100%, 40 of 40, 0:00:30",
    ]


def test_without_a_known_end_it_says_what_is_done() -> None:
    assert lines(Progress("Ranking", None), [0, 3]) == ["Ranking: 0:00:10", "Ranking: 3 done, 0:00:20"]
    assert lines(Progress("Reranking", 1), [0.25]) == ["Reranking: 25%, 0:00:10, about 0:00:30 left"]


def test_short_work_says_nothing() -> None:
    assert lines(Progress("Ranking", 40), []) == []


def test_a_stream_that_is_gone_ends_the_lines_and_not_the_work() -> None:
    def say(line: str) -> None:
        raise BrokenPipeError

    waits: list[float] = []
    beat(lambda elapsed: "", say, lambda seconds: bool(waits.append(seconds)), lambda: 0.0)
    assert waits == [10.0]


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (lambda screen: screen.waiting("Loading a model"), "qwen3-rerank: Loading a model: 0:00:00"),
        (lambda screen: screen.progress("Ranking", 40), "qwen3-rerank: Ranking: 0%, 0 of 40, 0:00:00"),
        (lambda screen: screen.steps("Measuring"), "qwen3-rerank: Measuring: 0:00:00"),
    ],
)
def test_every_kind_of_work_has_its_lines_on_stderr(
    work: Callable[[Screen], object],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", 0.001)
    found = ""
    patience = time.monotonic() + 60
    with work(Screen()):  # type: ignore[attr-defined]
        while says not in found and time.monotonic() < patience:
            time.sleep(0.01)
            captured = capsys.readouterr()
            found += captured.err
            assert captured.out == ""
    assert says in found


def test_where_a_terminal_shows_a_bar_there_are_no_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "EVERY", 0.001)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    screen = Screen()
    with screen.progress("Ranking", 2) as advance:
        time.sleep(0.05)
        advance(1)
    assert "qwen3-rerank: Ranking" not in capsys.readouterr().err
