"""The process that serves the application: one socket, one event loop, and a graceful end."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.reranker import Qwen3Reranker
from qwen3_rerank_plugins.serve.app import create_app
from qwen3_rerank_plugins.serve.settings import ServeSettings


def run_server(
    reranker: Qwen3Reranker,
    settings: ServeSettings,
    on_listening: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until the process gets SIGINT or SIGTERM, then finish the requests that have arrived.

    Args:
        reranker: that ranks all requests; it is closed at the end.
        settings: of the server.
        on_listening: called with the URL once the port is open. The model is still being loaded then.

    Raises:
        SettingsError: the address cannot be used.
        RerankError: a model cannot be loaded.
    """
    failures: list[Exception] = []

    def stop(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    app = create_app(reranker, settings, on_failure=stop)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    server = uvicorn.Server(config)
    with _listen(settings.host, settings.port) as listener:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        on_listening(f"http://{host}:{listener.getsockname()[1]}")
        with _stopping(server):
            server.run(sockets=[listener])
    if failures:
        raise failures[0]


@contextlib.contextmanager
def _stopping(server: uvicorn.Server) -> Iterator[None]:
    """Let a signal only stop the server. Once stopped, uvicorn sends itself the signal again, for earlier handlers."""
    if threading.current_thread() is not threading.main_thread():  # no other thread may set handlers
        yield
        return

    def stop(*_: object) -> None:
        server.should_exit = True

    earlier = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    """Open the port.

    Raises:
        SettingsError: the host is not one of this machine, or the port is taken or reserved.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"Port {port} of {host} cannot be opened: {error.strerror or error}. Choose others with --host and --port."
        ) from None
