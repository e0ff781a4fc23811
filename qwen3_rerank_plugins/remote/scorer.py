"""The scorer of a rerank server: it connects, probes the server and sends requests, behind the `Scorer` protocol."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from concurrent.futures import Future

from qwen3_rerank_plugins.engine.call import Call
from qwen3_rerank_plugins.engine.concurrency.lifetime import closed_at_exit, refuse_at_exit
from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION, RerankRequest, make_request
from qwen3_rerank_plugins.engine.scorer import Scores, blank_scores, check_process
from qwen3_rerank_plugins.engine.usage import Stats
from qwen3_rerank_plugins.errors import ClosedError, NonFiniteScoreError, RequestError, RerankError
from qwen3_rerank_plugins.remote.client import HttpClient
from qwen3_rerank_plugins.remote.event_loop import BackgroundLoop
from qwen3_rerank_plugins.remote.probe import check_server
from qwen3_rerank_plugins.remote.redaction import Redaction
from qwen3_rerank_plugins.remote.server import Server
from qwen3_rerank_plugins.remote.settings import RemoteSettings, unsupported_remotely
from qwen3_rerank_plugins.remote.texts import RequestTexts, request_texts


class RemoteScorer:
    """A model on a rerank server. Nothing is sent before the first request. Equal settings should share one scorer.

    Canceling a future drops the requests that were not sent, and closes the connections of those that were.

    Args:
        settings: of the connection.
    """

    def __init__(self, settings: RemoteSettings) -> None:
        self._settings = settings
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        self._closing = asyncio.Event()  # the same, for coroutines that wait on the loop
        self._loop: BackgroundLoop | None = None
        self._client: HttpClient | None = None
        self._connecting: asyncio.Task[Server] | None = None  # from here on, used on the loop only
        self._waiting = 0
        self._calls = self._documents = 0
        self._drops_instructions = False

    def submit(self, request: RerankRequest) -> Future[Scores]:
        """See `Scorer.submit`.

        Raises:
            ClosedError: the scorer was closed, or belongs to the parent of this process.
            RequestError: the request needs a model in this process.
        """
        check_process(self._process, "connection")
        if self._loop is None:
            refuse_at_exit()
        if refusal := unsupported_remotely(request.max_length, request.long_documents, request.on_nonfinite):
            raise RequestError(refusal)
        texts = request_texts(request, self._settings.template)  # on the caller's thread, because it may take long
        with self._lock:
            self._calls += 1
            self._documents += len(request.documents)
            if self._closed:
                raise ClosedError("This connection was closed meanwhile. Ask again to connect anew.")
            if not request.readable:
                return blank_scores(request)
            if self._loop is None:
                self._loop = BackgroundLoop("qwen3-rerank-remote")
            return self._loop.submit(self._score(request.instruction, texts, request.call))

    def warmup(self) -> None:
        """Connect, and detect and probe the server."""
        self.submit(make_request("warm up", ["warm up"], None)).result()

    def stats(self) -> Stats:
        """Return what was asked so far. The tokens and the queue are the server's."""
        return Stats(self._calls, self._documents)

    def renew_token(self, token: str | None) -> None:
        """Do nothing, because a server needs no hub token; see `RemoteSettings.token`."""

    def close(self) -> None:
        """See `Scorer.close`. Requests have `timeout` seconds to finish; then their callers get `ClosedError`.

        Requests that wait for another attempt fail at once, and later failures are not retried.
        """
        if os.getpid() != self._process:
            return
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call(self._closing.set)
            loop.stop(self._disconnect(), self._settings.timeout)

    async def _score(self, instruction: str, texts: RequestTexts, call: Call | None) -> Scores:
        """Return the scores of a request, or raise an error that shows no local variables of this package."""
        failure: RerankError
        try:
            with closed_at_exit():
                server = await self._connection()
                self._check_instruction(instruction, server)
                return _scores(texts, await server.log_odds(texts, call))
        except asyncio.CancelledError:
            if not self._closing.is_set() or (call is not None and call.late):  # nobody would read the other error
                raise
            failure = ClosedError("This connection was closed before the server had answered. Make a new one.")
        except Exception as error:
            redaction = self._client.redaction if self._client else Redaction([self._settings.api_key])
            failure = redaction.error(error)
        try:
            raise failure
        finally:
            del failure  # it holds this frame

    async def _connection(self) -> Server:
        """Return the server, detected and probed once. Concurrent callers share one attempt and its result."""
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())
        connecting = self._connecting
        self._waiting += 1
        try:
            return await asyncio.shield(connecting)  # canceling one caller does not cancel the others
        finally:
            self._waiting -= 1
            if not self._waiting and not connecting.done():
                connecting.cancel()  # the last caller was canceled
            if connecting is self._connecting and (connecting.cancelling() or _has_failed(connecting)):
                self._connecting = None  # the next request tries again

    async def _connect(self) -> Server:
        if self._client is None:
            self._client = HttpClient(self._settings, self._closing)
        server = await Server.find(self._client, self._settings)
        if self._settings.probe:
            evidence = await check_server(server, self._settings.template)
            self._drops_instructions = evidence.drops_instructions
        return server

    def _check_instruction(self, instruction: str, server: Server) -> None:
        """Refuse an instruction that the server would silently drop. The template contains the default one anyway."""
        if self._settings.template == "client" or instruction == DEFAULT_INSTRUCTION:
            return
        remedy = "Apply the template on this side, with template='client', or leave the instruction out."
        if not server.takes_instructions:
            raise RequestError(f"The protocol {server.protocol!r} has no field for an instruction. {remedy}")
        if self._drops_instructions:
            raise RequestError(
                "The server ignores the instruction: it is too old to pass it on, or its template does not contain it. "
                f"{remedy}"
            )

    async def _disconnect(self) -> None:
        if self._client is not None:
            await self._client.close()


def _has_failed(task: asyncio.Task[Server]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _scores(texts: RequestTexts, found: tuple[float, ...]) -> Scores:
    log_odds = tuple(-math.inf if index is None else found[index] for index in texts.text_indices)
    broken = [
        document
        for document, index in enumerate(texts.text_indices)
        if index is not None and not math.isfinite(log_odds[document])
    ]
    if broken:
        raise NonFiniteScoreError(
            f"The server gave no finite score for {len(broken)} of {len(log_odds)} documents (positions "
            f"{', '.join(map(str, broken[:10]))}{', ...' if broken[10:] else ''}). Its model overflows. Start it with "
            "a dtype that does not, bfloat16 or float32.",
            broken,
        )
    return Scores(log_odds, (0,) * len(log_odds))
