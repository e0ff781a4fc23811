"""Servers that misbehave below HTTP: a function gets each connection's socket and does with it what it wants."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator

Handle = Callable[[socket.socket, threading.Event], None]
"""What becomes of a connection; the event is set when the test is over."""
SCORES = json.dumps({"results": [{"index": 0, "relevance_score": 0.5}]}).encode()


@contextlib.contextmanager
def listening(handle: Handle) -> Iterator[str]:
    """A server that does one thing with each connection; its address."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            handle(connection, over)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join(5)


def read_request(connection: socket.socket) -> bytes:
    """The whole request, its body included; empty if the client has left."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := connection.recv(65536)):
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(connection: socket.socket, *headers: bytes, status: bytes = b"200 OK", body: bytes = SCORES) -> None:
    """One whole answer, after which the server hangs up."""
    read_request(connection)
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), b"Connection: close", *headers]
    connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)


def always(*headers: bytes, status: bytes = b"200 OK", body: bytes = SCORES) -> Handle:
    """The same answer to each request."""
    return lambda connection, _: answer(connection, *headers, status=status, body=body)


def dripping(start: bytes, drop: bytes, *, reads: bool = True) -> Handle:
    """A server that sends a little every now and then, and never ends."""

    def handle(connection: socket.socket, over: threading.Event) -> None:
        if reads:
            read_request(connection)
        connection.sendall(start)
        while not over.wait(0.05):
            connection.sendall(drop)

    return handle


def silent(connection: socket.socket, over: threading.Event) -> None:
    """A server that takes the request and says nothing."""
    read_request(connection)
    over.wait()


def half_closed(connection: socket.socket, over: threading.Event) -> None:
    """A server that will send nothing, and says so, but does not hang up."""
    connection.shutdown(socket.SHUT_WR)
    over.wait()


def pouring(start: bytes, piece: bytes) -> Handle:
    """A server that sends as fast as it can, and never ends."""

    def handle(connection: socket.socket, over: threading.Event) -> None:
        read_request(connection)
        connection.sendall(start)
        while not over.is_set():
            connection.sendall(piece)

    return handle


HEAD = b"HTTP/1.1 200 OK\r\n"
ENDLESS: dict[str, Handle] = {
    "a body that drips": dripping(HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
    "a body without a length that drips": dripping(HEAD + b"\r\n", b" "),
    "chunks that drip": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "headers that drip": dripping(HEAD, b"X-More: 1\r\n"),
    "a status line that drips": dripping(b"HTTP/1.1 200 ", b"O"),
    "interim answers for ever": dripping(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "an error page that drips": dripping(b"HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "nothing at all": silent,
    "nothing, without reading": lambda connection, over: over.wait() and None,
}
"""What never ends, and is slow enough never to be too large."""
