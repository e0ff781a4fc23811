"""A hub of one repository on this machine: a real server, which can also be as bad as a network can be."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

COMMIT = "1" * 40
Manner = Literal["well", "never answers", "stalls after the headers", "drips", "is out of order", "sends files slowly"]
PAUSE = 0.5
"""Seconds between two pieces of a file that is sent slowly."""


@contextlib.contextmanager
def serve_hub(folder: Path, repository: str, manner: Manner) -> Iterator[str]:
    """Serve a folder as a repository; yields the address."""
    over = threading.Event()

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

        def _answer(self, body: bool) -> None:
            if manner == "never answers":
                over.wait()
            elif manner == "stalls after the headers":
                self._send(b"", length=1_000_000)
                over.wait()
            elif manner == "drips":
                self._send(b"", length=1_000_000)
                while not over.wait(0.05):
                    self.wfile.write(b" ")
            elif manner == "is out of order":
                self._send(b"out of order", status=503)
            else:
                self._serve(self.path.partition("?")[0], body)

        def _serve(self, path: str, body: bool) -> None:
            files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
            if path.startswith(f"/api/models/{repository}/tree/"):
                listed = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": f"{number:040x}"}
                    for number, (name, file) in enumerate(files.items())
                ]
                self._send(json.dumps(listed).encode())
            elif path.startswith(f"/api/models/{repository}"):
                siblings = [{"rfilename": name} for name in files]
                self._send(json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode())
            elif path.startswith(start := f"/{repository}/resolve/{COMMIT}/") and path.removeprefix(start) in files:
                content = files[path.removeprefix(start)].read_bytes()
                self._send(content if body else b"", length=len(content), name=path)
            else:
                self._send(b"", status=404)

        def _send(self, content: bytes, *, status: int = 200, length: int | None = None, name: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if length is None else length))
            self.send_header("X-Repo-Commit", COMMIT)
            if name:
                self.send_header("ETag", f'"{abs(hash(name)):040x}"')
            self.end_headers()
            slow = manner == "sends files slowly" and name.endswith(".safetensors")
            step = max(1, len(content) // 6) if slow else max(1, len(content))
            for start in range(0, len(content), step):
                self.wfile.write(content[start : start + step])
                self.wfile.flush()
                if slow:
                    time.sleep(PAUSE)

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # whoever asked has gone
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
