"""The command as a process: it listens, serves `remote=` and other clients, and ends without losing a request."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwen3_rerank_plugins import Qwen3Reranker, errors
from tests.serve.conftest import DOCUMENTS, QUERY, near

ROOT = Path(__file__).parents[2]
KEY = "sk-0123"


class Process:
    """`qwen3-rerank serve` with the demo checkpoint, on a free port.

    Attributes:
        url: of the server.
        said: lines of stderr so far.
    """

    def __init__(self, *arguments: str, **environment: str) -> None:
        command = [sys.executable, "-m", "qwen3_rerank_plugins.cli", "serve", "--device", "cpu", "--port", "0"]
        self.said: list[str] = []
        self._process = subprocess.Popen(
            [*command, *arguments],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        assert self._process.stderr is not None
        self.said.append(self._process.stderr.readline())
        found = re.search(r"listening at (\S+),", self.said[0])
        assert found, self.said[0] + self._process.stderr.read()
        self.url = found[1]
        self._reader = threading.Thread(target=lambda: self.said.extend(self._process.stderr or []))
        self._reader.start()

    def wait_until_ready(self) -> Process:
        while httpx.get(f"{self.url}/health").status_code != 200:
            time.sleep(0.05)
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self._process.wait(timeout=120)
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    process = Process("--model", "demo", QWEN3_RERANK_API_KEY=KEY).wait_until_ready()
    yield process
    assert process.stop() == 0 or sys.platform == "win32"  # where a process is only ended by force
    assert not [line for line in process.said if "Traceback" in line or QUERY in line or KEY in line]


@pytest.mark.parametrize("path", ["", "/v1", "/v1/rerank", "/v2/rerank", "/rerank", "/score", "/v1/score"])
def test_remote_detects_and_probes_the_server(server: Process, demo: Qwen3Reranker, path: str) -> None:
    with Qwen3Reranker("demo", remote=server.url + path, template="server", api_key=KEY) as remote:
        ranked = remote.rank(QUERY, DOCUMENTS)
        instructed = remote.rank(QUERY, DOCUMENTS, instruction="Retrieve passages about physics")
    assert [(one.index, one.logit) for one in ranked] == [
        (one.index, near(one.logit)) for one in demo.rank(QUERY, DOCUMENTS)
    ]
    expected = demo.rank(QUERY, DOCUMENTS, instruction="Retrieve passages about physics")
    assert [one.logit for one in instructed] == near([one.logit for one in expected])


@pytest.mark.parametrize("protocol", ["vllm", "vllm-rerank", "tei", "infinity", "cohere"])
def test_remote_speaks_every_protocol_of_the_server(server: Process, demo: Qwen3Reranker, protocol: Any) -> None:
    options: Any = {"remote": server.url, "template": "server", "protocol": protocol, "api_key": KEY}
    with Qwen3Reranker("demo", **options) as remote:
        ranked = remote.rank(QUERY, DOCUMENTS)
    assert [one.score for one in ranked] == near([one.score for one in demo.rank(QUERY, DOCUMENTS)])


def test_remote_says_that_the_key_is_wrong(server: Process) -> None:
    with (
        Qwen3Reranker("demo", remote=server.url, template="server", api_key="sk-other") as remote,
        pytest.raises(errors.RemoteRefusedError, match="another api_key"),
    ):
        remote.rank(QUERY, DOCUMENTS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_requests_that_have_arrived_are_answered_before_the_end(number: int) -> None:
    process = Process("--model", "demo").wait_until_ready()
    documents = [f"{document} {index}" for index in range(150) for document in DOCUMENTS]
    body = {"query": QUERY, "documents": documents}

    def ask(_: int) -> int:
        answer = httpx.post(f"{process.url}/v1/rerank", json=body, timeout=120)
        assert len(answer.json()["results"]) == len(documents)
        return answer.status_code

    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(ask, index) for index in range(4)]
        while "qwen3_rerank_requests_in_progress 4.0" not in httpx.get(f"{process.url}/metrics").text:
            assert not any(answer.done() for answer in answers), "the requests are too small for this test"
        code = process.stop(number)
        assert [answer.result() for answer in answers] == [200] * 4
    assert code == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(process.url)


def test_a_model_that_is_not_there_ends_the_process_with_one_line() -> None:
    process = Process("--model", "./nowhere")
    assert process.wait() == 2
    assert "nowhere" in process.said[-1]
    assert process.said[-1].startswith("qwen3-rerank: ")
    assert not [line for line in process.said if "Traceback" in line]
