"""The end of the interpreter, forks, and calls that a handler interrupts: nothing hangs, and nothing is printed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine import local
from qwen3_rerank_plugins.engine.concurrency import lifetime
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.errors import ClosedError
from tests.optional import need

pytestmark = pytest.mark.slow

LIMIT = 540
"""Seconds after which a program has hung."""


def run(program: str, *arguments: str, **variables: str) -> tuple[str, str, int]:
    """What a program of its own prints, and its exit code; a hang is shown by where each of its threads stands."""
    guard = f"import faulthandler; faulthandler.dump_traceback_later({LIMIT}, exit=True)\n"
    done = subprocess.run(
        [sys.executable, "-c", guard + program, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT + 30,
        check=False,
        env={**os.environ, **variables},
    )
    # a bar that was drawn before the program ended says nothing about how it ended
    said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("Loading weights")]
    return done.stdout.strip(), "\n".join(said), done.returncode


_MAKE = {
    "one model": "Qwen3Reranker('demo')",
    "replicas": "Qwen3Reranker('demo', devices=['cpu', 'cpu'])",
    "a server": "Qwen3Reranker('m', remote='http://localhost:1', template='server', protocol='cohere', probe=False)",
}
_FIRST_CALL_AT_THE_END = """
import asyncio, atexit, sys, threading
from concurrent.futures import ThreadPoolExecutor
from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import ClosedError

reranker = {make}
ways = {{
    "rank": lambda: reranker.rank("q", ["text"]),
    "arank": lambda: asyncio.run(reranker.arank("q", ["text"])),
    "warmup": reranker.warmup,
}}

def ask():
    for name, way in ways.items():
        try:
            way()
        except ClosedError as error:
            print(name, str(error)[:26])

{when}
"""
_WHEN = {
    "in a thread": "threading.Thread(target=lambda: (threading.main_thread().join(), ask())).start()",
    "in a handler at exit": "atexit.register(ask)",
}


@pytest.mark.parametrize("when", _WHEN)
@pytest.mark.parametrize("make", _MAKE)
def test_a_first_call_after_the_main_thread_has_returned_is_refused_quietly(make: str, when: str) -> None:
    if make == "a server":
        need("httpx")
    out, err, code = run(_FIRST_CALL_AT_THE_END.format(make=_MAKE[make], when=_WHEN[when]))
    said = "The interpreter is exiting"
    assert (out.splitlines(), err, code) == ([f"{name} {said}" for name in ("rank", "arank", "warmup")], "", 0)


_EMBED_AT_THE_END = """
import asyncio, sys, threading
from qwen3_rerank_plugins.errors import ClosedError
from qwen3_rerank_plugins.langchain.embeddings import Qwen3Embeddings

embeddings = Qwen3Embeddings(model=sys.argv[1])

def ask():
    threading.main_thread().join()
    for way in (lambda: embeddings.embed_query("a"), lambda: asyncio.run(embeddings.aembed_query("a"))):
        try:
            way()
        except ClosedError as error:
            print(str(error)[:26])

threading.Thread(target=ask).start()
"""


def test_a_first_embedding_after_the_main_thread_has_returned_is_refused_quietly(embedding_checkpoint: Path) -> None:
    need("sentence_transformers")
    need("langchain_core")
    out, err, code = run(_EMBED_AT_THE_END, str(embedding_checkpoint))
    assert (out.splitlines(), err, code) == (["The interpreter is exiting"] * 2, "", 0)


_STAGE_AT_THE_END = """
import threading
from qwen3_rerank_plugins.errors import ClosedError
from qwen3_rerank_plugins.ray import Qwen3Rerank

stage = Qwen3Rerank("demo")

def ask():
    threading.main_thread().join()
    try:
        stage({"query": ["q"], "documents": [["text"]]})
    except ClosedError as error:
        print(str(error)[:26])

threading.Thread(target=ask).start()
"""


def test_a_first_batch_of_a_ray_stage_after_the_main_thread_has_returned_is_refused_quietly() -> None:
    need("ray")
    out, _, code = run(_STAGE_AT_THE_END)
    assert (out, code) == ("The interpreter is exiting", 0)


_END_IN_A_LOAD = """
import sys, threading, time
from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.request import make_request

how, module = sys.argv[1:]
reranker = Qwen3Reranker("demo", devices=["cpu", "cpu"] if how == "replicas" else None)

class Reached:
    \"\"\"Tells that the load has come as far as importing a module.\"\"\"
    here = threading.Event()
    def find_spec(self, name, *_):
        if name == module:
            self.here.set()

sys.meta_path.insert(0, Reached())
def ask():
    reranker._scorer().submit(make_request("q", ["text"], None))
if how == "a daemon":
    threading.Thread(target=ask, daemon=True).start()
else:
    ask()
Reached.here.wait(120)
"""


@pytest.mark.parametrize("module", ["torch.export", "transformers.models.qwen3.modeling_qwen3"])
@pytest.mark.parametrize("how", ["main", "a daemon", "replicas"])
def test_a_program_that_ends_while_a_model_loads_prints_nothing(how: str, module: str) -> None:
    assert run(_END_IN_A_LOAD, how, module) == ("", "", 0)


_FORKS = """
import os, signal, sys, threading, time
from qwen3_rerank_plugins import Qwen3Reranker
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()
documents = ["Gravity pulls. " * 20, "The capital of China is Beijing."]
parent = Qwen3Reranker("demo")
if sys.argv[1] == "warm":
    parent.warmup()
over = threading.Event()

def work():
    while not over.is_set():
        parent.rank("capital of China?", documents)

workers = [threading.Thread(target=work) for _ in range(2)]
for worker in workers:
    worker.start()
for number in range(int(sys.argv[2])):
    time.sleep(float(sys.argv[3]) * (number % 7))
    child = os.fork()
    if child == 0:
        signal.alarm(400)  # ends a child that hangs
        reranker = parent if number % 2 else Qwen3Reranker("demo")
        right = reranker.rank("capital of China?", documents)[0].index == 1
        parent.close()
        os._exit(0 if right else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
over.set()
for worker in workers:
    worker.join()
"""


@pytest.mark.parametrize(
    ("state", "forks", "pause"), [("warm", 24, "0.005"), ("cold", 8, "0.2")], ids=["a warm parent", "a loading parent"]
)
def test_a_child_of_any_moment_ranks_with_a_new_reranker_and_with_an_inherited_one(
    state: str, forks: int, pause: str
) -> None:
    out, err, code = run(_FORKS, state, str(forks), pause, PYTHONWARNINGS="ignore::DeprecationWarning")
    assert (out.split(), code) == (["0"] * forks, 0), err


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_no_process_is_forked_while_a_tokenizer_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library makes some of its state at the first use, and a child would wait for ever for what is half made."""
    begun, made = threading.Event(), threading.Event()

    def make_slowly(*arguments: Any) -> PromptEncoder:
        begun.set()
        time.sleep(0.5)
        encoder = PromptEncoder(*arguments)
        made.set()
        return encoder

    monkeypatch.setattr(local, "PromptEncoder", make_slowly)
    with Qwen3Reranker("demo", max_batch_tokens=4321) as reranker:
        call = threading.Thread(target=reranker.rank, args=("q", ["a", "b"]))
        call.start()
        assert begun.wait(LIMIT)
        child = os.fork()
        if child == 0:
            os._exit(0 if made.is_set() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        call.join()


_FORK_OF_OTHERS = """
import os, signal, sys
from qwen3_rerank_plugins.langchain.embeddings import Qwen3Embeddings

embeddings = Qwen3Embeddings(model=sys.argv[1])
before = embeddings.embed_query("a")
child = os.fork()
if child == 0:
    signal.alarm(400)
    again = [one.embed_query("a") for one in (embeddings, Qwen3Embeddings(model=sys.argv[1]))]
    os._exit(0 if again == [before, before] else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_embeds_with_an_inherited_model_as_with_a_new_one(embedding_checkpoint: Path) -> None:
    need("sentence_transformers")
    need("langchain_core")
    out, err, code = run(_FORK_OF_OTHERS, str(embedding_checkpoint), PYTHONWARNINGS="ignore::DeprecationWarning")
    assert (out, code) == ("0", 0), err


_INTERRUPTED = """
import sys, threading
from qwen3_rerank_plugins import Qwen3Reranker, close_all, _registry as registry
from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.scheduling.loaded_engine import LoadedEngine
from qwen3_rerank_plugins.errors import ClosedError

# an engine that loads at once, as it is closed and loaded hundreds of times
LocalScorer._load_alone = lambda self, *_: LoadedEngine(lambda requests, plan: [0.0] * plan.document_count, 1000)
OURS = ("_registry", "reranker", "engine.submission", "engine.local", "engine.scheduling.scheduler")
OURS += ("engine.concurrency.lifetime", "engine.concurrency.threads")
CODE = {f"qwen3_rerank_plugins.{name}" for name in OURS}
CODE |= {"threading", "concurrent.futures._base", "weakref", "_weakrefset", "contextlib"}  # all that takes a lock

class Handler:
    \"\"\"Acts before the Nth bytecode of a call, as a signal handler or a finalizer may.\"\"\"
    def __init__(self, left, act):
        self.left, self.act = left, act
    def __call__(self, frame, event, _):
        if frame.f_globals.get("__name__") not in CODE:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                self.act()
        return self

def rank(reranker, handler):
    sys.settrace(handler)
    try:
        reranker.rank("q", ["a", "b"])
    except ClosedError:
        pass
    finally:
        sys.settrace(None)

def begin():
    close_all()
    reranker, other = Qwen3Reranker("demo"), Qwen3Reranker("demo")
    for one in (reranker, other) if sys.argv[1] == "warm" else ():
        one.rank("q", ["a"])
    return reranker, other

counter = Handler(-1, None)
rank(begin()[0], counter)
length = -1 - counter.left
for number in range(1, length, int(sys.argv[2])):
    reranker, other = begin()
    def act():
        reranker.close()
        (close_all, other.close, Qwen3Reranker("demo", max_batch_tokens=99).close)[number % 3]()
    rank(reranker, Handler(number, act))  # which may be over before that bytecode: how long it waits is not fixed
    reranker.close()
    other.close()
    assert registry._entries == {}, (number, registry._entries)
print(length > 1000, registry._lock.acquire(blocking=False))
for thread in threading.enumerate():
    if thread.name == "qwen3-rerank-closing":
        thread.join()
print([thread.name for thread in threading.enumerate()])
"""


@pytest.mark.parametrize(("state", "step"), [("warm", 17), ("cold", 67)])
def test_a_handler_may_close_rerankers_before_any_bytecode_of_a_call(state: str, step: int) -> None:
    """Some of thousands, as each of them loads anew. A lock that the call holds then would block for ever."""
    out, err, code = run(_INTERRUPTED, state, str(step))
    assert (out.splitlines(), code) == (["True True", "['MainThread']"], 0), err


_SIGNALS = """
import signal
from qwen3_rerank_plugins import Qwen3Reranker, close_all
from qwen3_rerank_plugins.errors import ClosedError
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()
current = []

class Finalized:
    def __del__(self):
        current[-1].close()

def handle(*_):
    if current:
        Finalized()
        close_all()

signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.037)
ends = set()
for number in range(60):
    current.append(Qwen3Reranker("demo"))
    try:
        for _ in range(5):
            current[-1].rank("capital of China?", ["Gravity pulls.", "The capital of China is Beijing."])
        ends.add("answer")
    except ClosedError:
        ends.add("closed")
signal.setitimer(signal.ITIMER_REAL, 0)
close_all()
print(ends <= {"answer", "closed"})
"""


def test_signals_and_finalizers_that_close_in_the_middle_of_real_calls_leave_no_call_waiting() -> None:
    out, err, code = run(_SIGNALS)
    assert (out, code) == ("True", 0), err


def test_what_is_closed_from_inside_a_call_is_closed_by_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class NoThread:
        def __init__(self, **_: object) -> None:
            pass

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    with lifetime.inside_a_call(), monkeypatch.context() as patched:
        patched.setattr(lifetime.threading, "Thread", NoThread)
        lifetime.run_outside(lambda: closed.append("late"))
        assert closed == [], "not on a thread that may hold locks"
    lifetime.run_outside(lambda: closed.append("now"))
    assert closed == ["now", "late"]


def test_an_error_is_closed_at_exit_only_at_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError), lifetime.closed_at_exit():
        raise KeyError("of its own")
    monkeypatch.setattr(lifetime, "_ending", True)
    with pytest.raises(ClosedError, match="interpreter is exiting") as caught, lifetime.closed_at_exit():
        raise KeyError("pools are shut down")
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(ClosedError), lifetime.loading_alone():
        pass
