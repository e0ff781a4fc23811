"""Nothing of what libraries show while a model loads in a thread; no stderr, however broken, that stops a load."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import are_progress_bars_disabled
from tqdm.auto import tqdm
from transformers.utils import logging as transformers

from qwen3_rerank_plugins import Qwen3Reranker, close_all
from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.engine.loading.quiet import quiet_libraries
from tests.sealed import run_sealed

pytestmark = pytest.mark.slow


def draw(stream: io.StringIO) -> None:
    for _ in tqdm(range(3), file=stream, disable=False):
        pass


def in_a_new_thread(call: Callable[[], Any]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def test_bars_of_the_loading_thread_are_not_drawn_and_those_of_others_are() -> None:
    inside, beside, after = io.StringIO(), io.StringIO(), io.StringIO()
    made = tqdm.__init__
    with quiet_libraries():
        draw(inside)
        in_a_new_thread(lambda: draw(beside))
        assert list(transformers.tqdm(range(3))) == [0, 1, 2]
    draw(after)
    assert inside.getvalue() == ""
    assert "3/3" in beside.getvalue()
    assert "3/3" in after.getvalue()
    assert tqdm.__init__ is made


def test_what_somebody_else_does_to_bars_meanwhile_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from tqdm.std import tqdm as plain

    def theirs(bar: Any, *_: Any, **__: Any) -> None:
        raise AssertionError("not to be called")

    monkeypatch.setattr(plain, "__init__", plain.__init__)
    with quiet_libraries():
        plain.__init__ = theirs
    assert plain.__init__ is theirs


def test_remarks_of_libraries_stand_in_our_log_and_those_of_other_threads_where_they_belong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    library = logging.getLogger("transformers")
    library.addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG, "qwen3_rerank_plugins"), quiet_libraries():
            logging.getLogger("transformers.modeling_utils").warning("%d weights are new", 3)
            in_a_new_thread(lambda: logging.getLogger("transformers.other").warning("of somebody else"))
        library.warning("afterwards")
    finally:
        library.removeHandler(handler)
    assert seen == ["of somebody else", "afterwards"]
    assert "while loading, transformers.modeling_utils says: 3 weights are new" in caplog.messages


def test_a_load_draws_nothing_and_changes_no_setting_of_the_libraries(capfd: pytest.CaptureFixture[str]) -> None:
    def settings() -> Any:
        return (
            transformers.get_verbosity(),
            transformers.is_progress_bar_enabled(),
            are_progress_bars_disabled(),
            [list(handler.filters) for handler in logging.getLogger("transformers").handlers],
        )

    before = settings()
    close_all()
    with Qwen3Reranker("demo", device="cpu") as reranker:
        reranker.rank("a query", ["a document"])
    assert settings() == before
    assert capfd.readouterr().err == ""


def test_a_handler_that_fails_stops_nobody_and_a_mistake_of_ours_is_still_one() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("I/O operation on closed file")

    handler = Broken()
    logging.getLogger("qwen3_rerank_plugins").addHandler(handler)
    try:
        logger.warning("%d documents", 3)
        with pytest.raises(TypeError, match="not all arguments converted"):
            logger.warning("documents", 3)
    finally:
        logging.getLogger("qwen3_rerank_plugins").removeHandler(handler)


_START = """
import os, signal, sys
def dead_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 2)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
def full_disk():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
class Raising:
    def __init__(self, error):
        self.error = error
    def write(self, text):
        raise self.error
    def flush(self):
        raise self.error
def nothing():
    sys.stderr = None
def closed():
    sys.stderr = open(os.devnull, "w")
    sys.stderr.close()
def raising():
    sys.stderr = Raising(RuntimeError("the log is gone"))
def unreachable():
    os.close(2)
"""
_LOAD = """
import json
from qwen3_rerank_plugins import Qwen3Reranker, close_all
found = []
for break_stderr in {breaking}:
    break_stderr()
    with Qwen3Reranker("demo", device="cpu", max_length=100) as reranker:  # cuts, and warns of it
        found.append([one.logit for one in reranker.rank("a query", ["a document", "long " * 500])])
    close_all()
print(json.dumps(found))
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize(
    "breaking",
    [("lambda: None", "full_disk", "nothing", "closed", "raising", "dead_pipe"), ("unreachable",), ("nothing",)],
)
def test_a_model_loads_and_ranks_whatever_becomes_of_stderr(breaking: tuple[str, ...], tmp_path: Path) -> None:
    program = _START + _LOAD.format(breaking=f"[{', '.join(breaking)}]")
    done = run_sealed(program, tmp_path, sealed=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(breaking)
    assert all(scores == found[0] for scores in found)
