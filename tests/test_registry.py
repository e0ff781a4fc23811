"""One engine per settings and process."""

from __future__ import annotations

import dataclasses
import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins import close_all
from qwen3_rerank_plugins.engine.settings import EngineSettings

SETTINGS = EngineSettings(model="demo", max_batch_tokens=4321)


class User:
    """Anybody who uses an engine."""


def test_equal_settings_get_one_engine_also_from_many_threads_at_once() -> None:
    users = [User() for _ in range(32)]
    with ThreadPoolExecutor(32) as pool:
        engines = set(pool.map(lambda user: id(registry.acquire(SETTINGS, user)), users))
    assert len(engines) == 1
    close_all()


def test_another_token_is_not_another_engine() -> None:
    user = User()
    with_token = EngineSettings(model="demo", max_batch_tokens=4321, token="hf_secret")
    assert registry.acquire(SETTINGS, user) is registry.acquire(with_token, user)
    close_all()


def test_a_token_that_comes_later_reaches_an_engine_that_could_not_load_without_it() -> None:
    first, second = User(), User()
    gated = EngineSettings(model="someone/gated")
    registry.acquire(gated, first)
    scorer = registry.acquire(dataclasses.replace(gated, token="hf_secret"), second)
    assert scorer._settings.token == "hf_secret"
    assert registry.acquire(gated, first)._settings.token == "hf_secret"
    close_all()


def test_an_engine_outlives_users_that_were_forgotten_and_closes_with_the_last_that_says_so() -> None:
    one, other = User(), User()
    engine = registry.acquire(SETTINGS, one)
    del one
    gc.collect()
    assert registry.acquire(SETTINGS, other) is engine
    registry.release(SETTINGS, other)
    assert registry.acquire(SETTINGS, other) is not engine
    close_all()


def test_releasing_what_was_never_acquired_takes_no_engine_from_others() -> None:
    user, stranger = User(), User()
    engine = registry.acquire(SETTINGS, user)
    registry.release(SETTINGS, stranger)
    registry.release(dataclasses.replace(SETTINGS, max_batch_tokens=1234), stranger)
    assert registry.acquire(SETTINGS, user) is engine
    close_all()


@pytest.mark.slow
def test_while_the_interpreter_exits_no_engine_is_made_any_more() -> None:
    """Whoever still asks then is a daemon thread, or a cleanup like this one, which runs after the package's own."""
    program = """
import atexit

def ask():
    try:
        reranker.rank("question", ["text"])
    except ClosedError as error:
        print(error)

atexit.register(ask)
from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import ClosedError

reranker = Qwen3Reranker("demo")
reranker.warmup()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("The interpreter is exiting")
