"""A Python process without a network: an audit hook, there before anything is imported, refuses connections and counts.

Native code could connect without an audit event; whatever the hub's client fetches, it asks for from Python first.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

NETWORK = (
    *("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"),
    *("socket.sendto", "socket.sendmsg", "socket.bind"),
)
_SEAL = """
import os, sys
_log = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def _refuse_and_note(event, arguments):
    if event == "socket.bind" and arguments[1] == ("::1", 0):
        raise OSError("no IPv6")  # urllib3 tries as it is imported, and reaches nobody by it
    if event in {network!r}:
        os.write(_log, ("network\\t%s %s\\n" % (event, arguments)).encode())
        raise ConnectionRefusedError("this process is sealed: " + event)
    if event == "os.putenv":
        os.write(_log, b"variable\\t" + os.fsencode(arguments[0]) + b"\\n")
    if event == "open" and isinstance(arguments[0], str):
        os.write(_log, b"opened\\t" + os.fsencode(arguments[0]) + b"\\n")
sys.addaudithook(_refuse_and_note)
"""


@dataclasses.dataclass(frozen=True)
class Sealed:
    """What a sealed process did.

    Attributes:
        attempts: to reach the network, each refused.
        variables: names of the environment variables that it set.
        opened: files that it opened from Python.
    """

    returncode: int
    stdout: str
    stderr: str
    attempts: list[str]
    variables: list[str]
    opened: list[str]


def run_sealed(program: str, folder: Path, *arguments: str, sealed: bool = True, **environment: str) -> Sealed:
    """Run a program without a network, at home in `folder`, and without the caller's own settings of the hub.

    With `sealed=False` it may connect, and nothing is noted.
    """
    log = folder / "log"
    log.write_bytes(b"")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    done = subprocess.run(
        [sys.executable, "-c", (_SEAL.format(log=str(log), network=NETWORK) if sealed else "") + program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**inherited, "HF_HOME": str(folder / "home"), **environment},
    )
    notes: dict[str, list[str]] = {"network": [], "variable": [], "opened": []}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        kind, _, what = line.partition("\t")
        notes.setdefault(kind, []).append(what)
    return Sealed(done.returncode, done.stdout, done.stderr, notes["network"], notes["variable"], notes["opened"])
