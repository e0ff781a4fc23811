"""The hub token: it is sent to the hub, and shows nowhere else, not even in the local variables of a traceback."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import http.server
import importlib
import json
import logging
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, SettingsError
from tests.optional import need
from tests.sealed import run_sealed

SECRET = "hf_NeverToBeSeenAnywhere"
HOSTS = {"langchain": "langchain_core", "llama_index": "llama_index.core"}


def report(error: BaseException) -> str:
    """A traceback as some reporters of errors send it away: causes and local variables included."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


@contextlib.contextmanager
def everything_logged() -> Iterator[list[str]]:
    """Whatever any logger says meanwhile, at DEBUG."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(f"{record.getMessage()} {record.__dict__}")

    root, listener = logging.getLogger(), Listener()
    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    try:
        yield said
    finally:
        root.setLevel(level)
        root.removeHandler(listener)


@pytest.fixture(params=HOSTS)
def adapter(request: pytest.FixtureRequest) -> Callable[..., Any]:
    need(HOSTS[request.param])
    return importlib.import_module(f"qwen3_rerank_plugins.{request.param}").Qwen3Rerank  # type: ignore[no-any-return]


def test_a_report_does_show_a_local_variable() -> None:
    """Or the tests below would prove nothing."""

    def fail(token: str) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as caught:
        fail(SECRET)
    assert SECRET in report(caught.value)


SHOWN: dict[str, Callable[[Any], Any]] = {
    "repr": repr,
    "str": str,
    "format": "{0} {0!r} {0!s}".format,
    "its attributes": lambda it: repr(vars(it)),
    "a deep copy": lambda it: repr(copy.deepcopy(it)) + repr(vars(copy.deepcopy(it))),
    "a pickle": pickle.dumps,
    "an unpickled copy": lambda it: repr(vars(pickle.loads(pickle.dumps(it)))),
}


@pytest.mark.parametrize("how", SHOWN)
def test_settings_and_facade_do_not_show_it(how: str) -> None:
    reranker = Qwen3Reranker("demo", token=SECRET)
    assert reranker.settings.token == SECRET
    for it in (reranker, reranker.settings, reranker._scorer()):
        if how.endswith(("pickle", "copy")) and it not in (reranker, reranker.settings):
            continue  # an engine is a thread and weights: it is neither copied nor pickled
        shown = SHOWN[how](it)
        assert (SECRET if isinstance(shown, str) else SECRET.encode()) not in shown
    reranker.close()


def test_settings_as_a_dict_do_not_show_it_though_they_have_it() -> None:
    found = dataclasses.asdict(EngineSettings(token=SECRET))
    assert found["token"] == SECRET
    assert SECRET not in repr(found)


@pytest.mark.parametrize("how", SHOWN)
def test_an_adapter_does_not_show_it(how: str, adapter: Callable[..., Any]) -> None:
    for it in (
        adapter(model="demo", token=SECRET),
        adapter.model_validate({"model": "demo", "token": SECRET}),
        adapter(reranker=Qwen3Reranker("demo", token=SECRET)),
    ):
        assert it._reranker.settings.token == SECRET
        shown = SHOWN[how](it)
        assert (SECRET if isinstance(shown, str) else SECRET.encode()) not in shown


def test_an_adapter_does_not_serialise_it(adapter: Callable[..., Any]) -> None:
    it = adapter(model="demo", token=SECRET)
    shown = [it.model_dump(), it.model_dump(mode="json"), it.model_dump_json(), it.model_copy(deep=True).model_dump()]
    shown += [adapter.model_json_schema()]
    if hasattr(it, "to_dict"):
        shown += [it.to_dict(), it.to_json()]
    assert SECRET not in repr(shown)
    assert "token" not in it.model_dump()


def test_langchains_own_dump_does_not_show_it() -> None:
    need("langchain_core")
    from langchain_core.load import dumpd, dumps

    from qwen3_rerank_plugins.langchain import Qwen3Rerank

    compressor = Qwen3Rerank(model="demo", token=SECRET)
    assert SECRET not in repr(dumpd(compressor)) + dumps(compressor) + dumps([{"compressor": compressor}])


WRONG: list[dict[str, Any]] = [
    {"dtype": "float8"},
    {"top_n": -1},
    {"max_length": 40},
    {"instruction": 3},
    {"model": ""},
    {"max_batch_tokens": 0},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_refused_setting_of_the_facade_does_not_show_it(wrong: dict[str, Any]) -> None:
    with everything_logged() as said, pytest.raises(ValueError) as caught:
        Qwen3Reranker(**{"model": "demo", "token": SECRET, **wrong})
    assert SECRET not in report(caught.value) + repr(said)


@pytest.mark.parametrize("wrong", [*WRONG, {"nonsense": 1}], ids=str)
def test_a_refused_setting_of_an_adapter_does_not_show_it(wrong: dict[str, Any], adapter: Callable[..., Any]) -> None:
    with everything_logged() as said, pytest.raises(ValueError) as caught:
        adapter(**{"model": "demo", "token": SECRET, **wrong})
    error: Any = caught.value
    assert SECRET not in report(error) + repr(said) + repr(error.errors()) + error.json()
    for found in error.errors():  # what a validator raised is kept there, traceback and all
        if "error" in found.get("ctx", {}):
            assert SECRET not in report(found["ctx"]["error"])


def test_a_setting_that_goes_wrong_later_does_not_show_it(adapter: Callable[..., Any]) -> None:
    it = adapter(model="demo", token=SECRET)
    it.__dict__["max_length"] = 3
    with pytest.raises(SettingsError, match="at least 60") as caught:
        _ = it._reranker
    assert SECRET not in report(caught.value)


@pytest.mark.parametrize("around", ["{}\n", " {}", "{}\r\nX: y", "{}\0", "{}é"], ids=ascii)
def test_a_token_that_no_header_can_hold_is_refused_unseen(around: str) -> None:
    """The client that sends it would refuse it too, and quote it in its message."""
    with pytest.raises(SettingsError, match="one run of visible ASCII characters") as caught:
        Qwen3Reranker("someone/gated", token=around.format(SECRET))
    assert SECRET not in report(caught.value)
    with pytest.raises(SettingsError, match="token must be None or"):
        Qwen3Reranker("someone/gated", token="")


class Hub(http.server.BaseHTTPRequestHandler):
    """Fails in the way that the repository's name asks for; remembers what it was sent."""

    protocol_version = "HTTP/1.1"
    sent: list[tuple[str, str]]

    def do_GET(self) -> None:
        case = next((name for name in CASES if f"/someone/{name}" in self.path), "absent")
        self.sent.append((case, self.headers.get("Authorization", "")))
        status, code = CASES[case]
        if status is None:
            self.close_connection = True  # without a word
            return
        if case == "file" and self.path.startswith("/api/"):
            status = 200
        listing = [{"type": "file", "path": "config.json", "size": 3, "oid": "1" * 40}]
        siblings = [{"rfilename": "config.json"}]
        answer: Any = listing if "/tree/" in self.path else {"id": f"x/{case}", "sha": "0" * 40, "siblings": siblings}
        body = (json.dumps(answer) if case == "file" else "not JSON").encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


CASES: dict[str, tuple[int | None, str]] = {
    "private": (401, "RepoNotFound"),
    "gated": (403, "GatedRepo"),
    "absent": (404, "RepoNotFound"),
    "broken": (500, ""),
    "dropped": (None, ""),
    "garbage": (200, ""),
    "file": (403, ""),
}
"""What a repository of this name answers: a status, and the hub's word for it."""


@pytest.fixture
def hub() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """An endpoint on this machine, and what it was sent."""
    sent: list[tuple[str, str]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), {"sent": sent}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", sent
    server.shutdown()
    server.server_close()
    thread.join()


FAIL = """
import asyncio, logging, os, sys, traceback
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, force=True)
import huggingface_hub
huggingface_hub.logging.set_verbosity_debug()
from qwen3_rerank_plugins import Qwen3Reranker

def reranker(case):
    return Qwen3Reranker("someone/" + case, **({"token": os.environ["PASSED"]} if "PASSED" in os.environ else {}))

for case in sys.argv[1:]:
    for call in (lambda: reranker(case).rank("q", ["d"]), lambda: asyncio.run(reranker(case).arank("q", ["d"]))):
        try:
            call()
        except Exception as error:
            print("FAILED", case, type(error).__name__)
            print("".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))
"""


@pytest.mark.parametrize("how", ["passed", "in the environment"])
def test_a_failing_hub_gets_it_and_no_log_or_traceback_shows_it(
    how: str, hub: tuple[str, list[tuple[str, str]]], tmp_path: Path
) -> None:
    endpoint, sent = hub
    secret = {"PASSED": SECRET} if how == "passed" else {"HF_TOKEN": SECRET}
    done = run_sealed(FAIL, tmp_path, *CASES, sealed=False, HF_ENDPOINT=endpoint, HF_DEBUG="1", **secret)
    assert done.returncode == 0, done.stderr
    failed = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert failed == [[case, "CheckpointNotFoundError"] for case in CASES for _ in range(2)]
    assert {(case, f"Bearer {SECRET}") for case in CASES} <= set(sent), "it was not even sent"
    assert "DEBUG" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def fail_as_the_client(*_: object, **__: object) -> None:
    gone = "token and headers"
    raise OSError(len(gone))


def fail_as_the_caller() -> None:
    kept = "for a debugger"
    raise KeyError(len(kept))


def test_local_variables_of_an_error_that_the_caller_was_handling_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", fail_as_the_client)
    with pytest.raises(CheckpointNotFoundError) as caught:
        try:
            fail_as_the_caller()
        except KeyError:
            find_checkpoint(EngineSettings(model="someone/reranker"))
    error = caught.value.__cause__
    assert error is not None
    assert error.__context__ is not None
    shown = report(error)
    assert "gone = " not in shown
    assert "kept = 'for a debugger'" in shown


def test_a_measurement_in_a_process_of_its_own_has_it_in_no_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments of a process can be listed by every user of a machine."""
    need("rich")
    from qwen3_rerank_plugins.bench import load_memory as loading

    ran: list[Any] = []

    def run(command: list[str], **options: Any) -> Any:
        ran.append((command, options["input"]))
        raise InterruptedError

    monkeypatch.setattr(loading.subprocess, "run", run)
    with pytest.raises(InterruptedError):
        loading.watch_in_fresh_process(EngineSettings(model="someone/gated", token=SECRET))
    ((command, told),) = ran
    assert SECRET not in repr(command)
    assert json.loads(told)["token"] == SECRET
