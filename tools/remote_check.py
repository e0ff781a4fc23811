"""Start a real rerank server from PyPI with the demo checkpoint, and compare its scores with the engine's.

    make remote-check        # makes an environment for each server and runs the following
    python tools/remote_check.py vllm --python .venv-vllm/bin/python --out remote-vllm.json
    python tools/remote_check.py infinity --python .venv-infinity/bin/python --out remote-infinity.json

Each server is started with and without the template, and asked as if it had the template and as if it had none, so that
the probe must refuse some combinations. Exits with 1 if a score differs by more than 0.001 in log-odds, or if the probe
accepts a wrong combination.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
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
"""(server, started with the template, value of `template`) that gives the engine's scores."""
TOLERANCE = 1e-3
"""In log-odds."""


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One combination of a server and the options to ask it.

    Attributes:
        started_with_template: whether the server applies the template.
        template: the option of the reranker.
        protocol: the option of the reranker.
        verdict: "passed", or the first sentence of the probe's error.
        right: whether the verdict is correct.
        pairs: number of scored pairs; 0 if the probe refused the server.
        largest_difference: largest difference between the server's log-odds and the engine's.
    """

    started_with_template: bool
    template: str
    protocol: str
    verdict: str
    right: bool
    pairs: int = 0
    largest_difference: float | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask the server in every combination, write the record, and exit with 0 if all verdicts are right."""
    parser = argparse.ArgumentParser(description="Compare a real rerank server with the engine.")
    parser.add_argument("server", choices=sorted(PROTOCOLS))
    parser.add_argument("--python", type=Path, required=True, help="Python interpreter of the server's environment")
    parser.add_argument("--out", type=Path, help="file for the record")
    options = parser.parse_args(arguments)
    passages = [candidate.text for candidate in read_corpus()]
    expected = log_odds(Qwen3Reranker("demo", device="cpu", dtype="float32"), passages)
    attempts = []
    for started_with_template in (False, True):
        with running(options.server, options.python, template=started_with_template) as url:
            for template in BOTH:
                for protocol in PROTOCOLS[options.server]:
                    right = (options.server, started_with_template, template) in RIGHT
                    made = attempt(url, started_with_template, template, protocol, passages, expected, right=right)
                    print(made)
                    attempts.append(made)
    if options.out:
        circumstances = note_circumstances("demo", torch.device("cpu"), torch.float32)
        results = {"server": options.server, "versions": versions(options.server, options.python), "trials": attempts}
        write_record(options.out, make_record("remote", circumstances, results))
    raise SystemExit(not all(made.right for made in attempts))


def attempt(
    url: str,
    started_with_template: bool,
    template: Template,
    protocol: ProtocolName,
    passages: list[str],
    expected: list[float],
    *,
    right: bool,
) -> Attempt:
    """Score all pairs. If the combination is not `right`, the probe must refuse it."""
    with Qwen3Reranker("demo", remote=url, template=template, protocol=protocol) as reranker:
        try:
            found = log_odds(reranker, passages)
        except RemoteTemplateError as error:
            verdict = str(error).partition(": ")[0].partition(". ")[0]
            return Attempt(started_with_template, template, protocol, verdict, not right)
    largest = max(abs(ours - theirs) for ours, theirs in zip(found, expected, strict=True))
    return Attempt(
        started_with_template, template, protocol, "passed", right and largest <= TOLERANCE, len(found), largest
    )


def log_odds(reranker: Qwen3Reranker, passages: list[str]) -> list[float]:
    """Return the log-odds of every passage for every question of `qwen3-rerank demo`, in their order."""
    return [log_odds for question in QUESTIONS for log_odds in reranker.log_odds(question, passages)]


if __name__ == "__main__":
    main()
