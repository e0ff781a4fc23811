"""Start a real rerank server from PyPI with the demo checkpoint, and compare its scores with the engine's own.

    make remote-check        # makes an environment for each server, and does the following
    python tools/remote_check.py vllm --python .venv-vllm/bin/python --out remote-vllm.json
    python tools/remote_check.py infinity --python .venv-infinity/bin/python --out remote-infinity.json

Each server is started without the template and with it, and asked both ways, so that the probe has something to refuse.
Exits with 1 if a score differs by more than 0.001 in log-odds, or if the probe lets through what is wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch
from servers.process import running, versions

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins._records import make_record, note_circumstances, write_record
from qwen3_rerank_plugins.data.bundled import QUESTIONS, read_corpus
from qwen3_rerank_plugins.errors import RemoteTemplateError
from qwen3_rerank_plugins.remote.settings import ProtocolName, Template

PROTOCOLS: dict[str, tuple[ProtocolName, ...]] = {
    "vllm": ("vllm", "vllm-rerank", "cohere"),
    "infinity": ("infinity",),
}
BOTH: tuple[Template, ...] = ("client", "server")
RIGHT = {("vllm", False, "client"), ("vllm", True, "server"), ("infinity", True, "server")}
"""(server, started with the template, who is said to apply it) that gives the engine's own scores."""
FURTHEST = 1e-3


@dataclasses.dataclass(frozen=True)
class Trial:
    """One way to ask one server.

    Attributes:
        started_with_template: whether the server lays texts into the template.
        template, protocol: as they were passed.
        verdict: "passed", or the first sentence of the probe's refusal.
        right: whether the verdict is the one it should be.
        pairs: how many were scored; 0 where the server was refused.
        largest_difference: between the server's log-odds and the engine's.
    """

    started_with_template: bool
    template: str
    protocol: str
    verdict: str
    right: bool
    pairs: int = 0
    largest_difference: float | None = None


def main() -> None:
    """Try, record, judge."""
    parser = argparse.ArgumentParser(description="Compare a real rerank server with the engine.")
    parser.add_argument("server", choices=sorted(PROTOCOLS))
    parser.add_argument("--python", type=Path, required=True, help="the interpreter of the server's environment")
    parser.add_argument("--out", type=Path, help="file for the record")
    options = parser.parse_args()
    passages = [candidate.text for candidate in read_corpus()]
    expected = log_odds(Qwen3Reranker("demo", device="cpu", dtype="float32"), passages)
    trials = []
    for started_with_template in (False, True):
        with running(options.server, options.python, template=started_with_template) as url:
            for template in BOTH:
                for protocol in PROTOCOLS[options.server]:
                    right = (options.server, started_with_template, template) in RIGHT
                    trial = attempt(url, started_with_template, template, protocol, passages, expected, right=right)
                    print(trial)
                    trials.append(trial)
    if options.out:
        circumstances = note_circumstances("demo", torch.device("cpu"), torch.float32)
        results = {"server": options.server, "versions": versions(options.server, options.python), "trials": trials}
        write_record(options.out, make_record("remote", circumstances, results))
    raise SystemExit(not all(trial.right for trial in trials))


def attempt(
    url: str,
    started_with_template: bool,
    template: Template,
    protocol: ProtocolName,
    passages: list[str],
    expected: list[float],
    *,
    right: bool,
) -> Trial:
    """Ask the server as it should be asked, or as it should not: then the probe has to say so."""
    with Qwen3Reranker("demo", remote=url, template=template, protocol=protocol) as reranker:
        try:
            found = log_odds(reranker, passages)
        except RemoteTemplateError as error:
            verdict = str(error).partition(": ")[0].partition(". ")[0]
            return Trial(started_with_template, template, protocol, verdict, not right)
    furthest = max(abs(mine - theirs) for mine, theirs in zip(found, expected, strict=True))
    return Trial(
        started_with_template, template, protocol, "passed", right and furthest <= FURTHEST, len(found), furthest
    )


def log_odds(reranker: Qwen3Reranker, passages: list[str]) -> list[float]:
    """Of every passage for every question of `qwen3-rerank demo`, in their order."""
    return [
        document.logit
        for question in QUESTIONS
        for document in sorted(reranker.rank(question, passages), key=lambda document: document.index)
    ]


if __name__ == "__main__":
    main()
