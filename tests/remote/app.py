"""A small rerank server: a bare ASGI application that speaks every dialect, and fails in whatever way it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import uvicorn

from qwen3_rerank_plugins.engine.ranking import probability
from qwen3_rerank_plugins.remote.protocols import PROTOCOLS

Score = Callable[[str, str, str | None], float]
"""(query, document, instruction) -> log-odds, with the texts as they arrived."""
OWNERS = {"vllm": "vllm", "vllm-rerank": "vllm", "sglang": "sglang", "infinity": "infinity"}


@dataclasses.dataclass
class Reply:
    """What goes back over the wire."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


Fault = Callable[[Reply], Reply | None]
"""What becomes of one reply; None hangs up without a word."""


def status(code: int, body: bytes = b'{"error": "so it is"}', **headers: str) -> Fault:
    return lambda _: Reply(code, body, {name.replace("_", "-"): value for name, value in headers.items()})


def raw(body: bytes) -> Fault:
    return lambda _: Reply(200, body)


def edited(edit: Callable[[Any], Any]) -> Fault:
    """The right answer with a change; an edit that returns None has changed it in place."""

    def change(reply: Reply) -> Reply:
        answer = json.loads(reply.body)
        changed = edit(answer)
        return Reply(200, json.dumps(answer if changed is None else changed).encode())

    return change


def hang_up(_: Reply) -> None:
    return None


def shared_words(query: str, document: str, _: str | None) -> float:
    """The words that both have in common, as `OverlapScorer` counts them."""
    return len(set(query.lower().split()) & set(document.lower().split())) - 1.5


class RerankApp:
    """One server. What it was asked, and by how many at once, is kept for the tests.

    Args:
        dialect: which one it speaks.
        score: what it thinks of a pair.
        key: the only one that it lets in.
        delay: seconds before each answer.

    Attributes:
        largest_batch: more documents in one request are refused, as Text Embeddings Inference does it.
        published_batch: what its `/info` says about that; `largest_batch` where nothing else is set.
    """

    def __init__(
        self, dialect: str = "cohere", score: Score = shared_words, *, key: str | None = None, delay: float = 0.0
    ) -> None:
        self.dialect = dialect
        self.score = score
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.most_at_once = 0
        self.hung_up = 0
        self.largest_batch: int | None = None
        self.published_batch: object = None
        self._key = key
        self._delay = delay
        self._now = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        content = b""
        while True:
            message = await receive()
            content += message.get("body", b"")
            if not message.get("more_body"):
                break
        reply: Reply | None = self._about(scope["path"])
        if self._key and dict(scope["headers"]).get(b"authorization") != f"Bearer {self._key}".encode():
            reply = Reply(401, b'{"error": "who are you?"}')
        elif scope["method"] == "POST":
            reply = await self._answer(scope["path"], json.loads(content), receive)
        if reply is None:  # a response that ends too early drops the connection
            await send({"type": "http.response.start", "status": 200, "headers": []})
            return
        headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _answer(self, path: str, body: Any, receive: Any) -> Reply | None:
        self.paths.append(path)
        self.bodies.append(body)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            if self._delay and await _gone_within(self._delay, receive):
                self.hung_up += 1
                return None
            reply = self._refuse_batch(body) or Reply(200, json.dumps(self._results(body)).encode())
            fault = self.faults.popleft() if self.faults else self.always
            return fault(reply) if fault else reply
        finally:
            self._now -= 1

    def _refuse_batch(self, body: Any) -> Reply | None:
        many = len(body[PROTOCOLS[self.dialect].documents])
        if self.largest_batch is None or many <= self.largest_batch:
            return None
        said = f"batch size {many} > maximum allowed batch size {self.largest_batch}"
        return Reply(422, json.dumps({"error": said, "error_type": "Validation"}).encode())

    def _results(self, body: Any) -> Any:
        dialect = PROTOCOLS[self.dialect]
        instruction = body.get(dialect.instruction) if dialect.instruction else None
        found = [self.score(body[dialect.query], document, instruction) for document in body[dialect.documents]]
        asked = dialect.logits is not None and all(body.get(name) == value for name, value in dialect.logits.items())
        numbers = found if asked else [probability(log_odds) for log_odds in found]
        results = [{"index": index, dialect.score: number} for index, number in enumerate(numbers)]
        results.sort(key=lambda result: -result[dialect.score])  # as most servers do
        return {dialect.results: results} if dialect.results else results

    def _about(self, path: str) -> Reply:
        """What it says of itself, where its kind does."""
        if path == "/v1/models" and self.dialect in ("vllm", "vllm-rerank", "sglang"):
            about: Any = {"object": "list", "data": [{"id": "m", "owned_by": OWNERS[self.dialect]}]}
        elif path == "/models" and self.dialect == "infinity":
            about = {"object": "list", "data": [{"id": "m", "owned_by": "infinity"}]}
        elif path == "/info" and self.dialect == "tei":
            about = {"model_id": "m", "max_client_batch_size": self.published_batch or self.largest_batch or 32}
        else:
            return Reply(404, b"not here")
        return Reply(200, json.dumps(about).encode())


async def _gone_within(seconds: float, receive: Any) -> bool:
    """Whether the client hangs up before so many seconds are over."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


@contextlib.contextmanager
def serving(app: Any, port: int = 0) -> Iterator[str]:
    """The application on a real socket of this machine; its address."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", loop="asyncio", http="h11")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", port))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        listener.close()


def closed_port() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def texts_of(app: RerankApp) -> list[Sequence[str]]:
    """The documents of each request, as they were sent."""
    return [body[PROTOCOLS[app.dialect].documents] for body in app.bodies]
