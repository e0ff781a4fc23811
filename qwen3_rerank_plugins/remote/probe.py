"""Check that a server applies the prompt template exactly once and undamaged, by scoring known questions.

The probe checks two things. First, a relevant document must get a probability above one half, and an irrelevant one
below; without the template, both get about the same. Second, one text is split into query and document at several
positions: a server that only joins its inputs gives all splits the same score, and a server with a template does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from qwen3_rerank_plugins.data.sanity import IRRELEVANT, QUESTION, RELEVANT
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.errors import RemoteTemplateError
from qwen3_rerank_plugins.remote.server import Server
from qwen3_rerank_plugins.remote.settings import Template
from qwen3_rerank_plugins.remote.texts import RequestTexts, request_texts

OTHER_INSTRUCTION = "Given a question, retrieve timetables and news about trains, and nothing that answers the question"
_ONE_TEXT = ("1", "2 How do bees make honey? 3", "4 Bees make honey from nectar. 5", "6")
"""One text in four parts. A Qwen tokenizer always splits between two digits, so every way to join the parts gives the
same tokens. There is no white space at the cuts, because some servers strip it."""
_NOISE, _SHARE = 0.05, 0.02
"""Noise in log-odds, from 16 bits and different batches: the larger of an absolute difference, and a share of the
difference between relevant and irrelevant."""


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """The log-odds of the known questions.

    Attributes:
        relevant, irrelevant: of the two documents.
        cuts: if the server applies the template, of one text, split into query and document at three positions. If the
            client does, of the relevant and of the irrelevant prompt, each split at two positions.
        bare_ends: of the relevant and of the irrelevant prompt, each with the line breaks at its end and without; empty
            if the server applies the template.
        instructed: of the two documents with another instruction; None if the protocol has no field for it.
    """

    relevant: float
    irrelevant: float
    cuts: tuple[tuple[float, ...], ...]
    bare_ends: tuple[tuple[float, float], ...] = ()
    instructed: tuple[float, float] | None = None

    @property
    def drops_instructions(self) -> bool:
        """Whether the protocol has a field for the instruction and the scores do not depend on it."""
        if self.instructed is None:
            return False
        pairs = zip(self.instructed, (self.relevant, self.irrelevant), strict=True)
        return all(self.alike(pair) for pair in pairs)

    def alike(self, scores: Sequence[float]) -> bool:
        """Whether the scores are equal except for noise."""
        return max(scores) - min(scores) <= max(_NOISE, _SHARE * abs(self.relevant - self.irrelevant))


async def check_server(server: Server, template: Template) -> Evidence:
    """Score the known questions and return their log-odds.

    Raises:
        RemoteTemplateError: the template is missing, doubled or damaged, or the model is not a reranker.
    """
    evidence = await (_probe_server_template(server) if template == "server" else _probe_client_template(server))
    if fault := find_fault(evidence, template):
        raise RemoteTemplateError(f"{fault} Pass probe=False to take its scores as they are.")
    return evidence


def find_fault(evidence: Evidence, template: Template) -> str | None:
    """Return what is wrong and the remedy, or None if nothing is wrong."""
    joined = all(evidence.alike(cut) for cut in evidence.cuts)
    if template == "server" and joined:
        return (
            "The server applies no template: it gives one text the same score however it is cut into query and "
            "document. Start it with the model's template, or have it applied on this side: template='client'."
        )
    if template == "client" and not joined:
        return (
            "The server puts something of its own around the texts or between them, so that the template would be "
            "there twice. Pass template='server', or start the server without a template."
        )
    if evidence.bare_ends and all(evidence.alike(pair) for pair in evidence.bare_ends):
        return (
            "The server takes white space from the ends of texts, and with it the last line break of the template: "
            "its scores would be those of another prompt. Serve a checkpoint that brings the template along, and pass "
            "template='server'."
        )
    if evidence.relevant <= 0 or evidence.irrelevant >= 0:
        return (
            "The server does not tell a relevant document from an irrelevant one (log-odds "
            f"{evidence.relevant:.2f} and {evidence.irrelevant:.2f}; the first should be above 0, the second below). "
            "Its template is not the model's, or its numbers are on another scale (scores=...), or these are not the "
            "weights of a reranker."
        )
    return None


async def _probe_server_template(server: Server) -> Evidence:
    """Probe a server that applies the template."""
    pair = _pair("server")
    relevant, irrelevant = await server.log_odds(pair)
    cuts = [RequestTexts("".join(_ONE_TEXT[:cut]), ("".join(_ONE_TEXT[cut:]),), pair.instruction) for cut in (1, 2, 3)]
    found = [(await server.log_odds(cut))[0] for cut in cuts]
    instructed = None
    if server.takes_instructions:
        first, second = await server.log_odds(dataclasses.replace(pair, instruction=OTHER_INSTRUCTION))
        instructed = first, second
    return Evidence(relevant, irrelevant, (tuple(found),), (), instructed)


async def _probe_client_template(server: Server) -> Evidence:
    """Probe a server that only joins its inputs: split prompts elsewhere, and omit the line breaks at their ends."""
    pair = _pair("client")
    bare = tuple(half.rstrip() for half in pair.documents)
    relevant, irrelevant, bare_relevant, bare_irrelevant = await server.log_odds(
        dataclasses.replace(pair, documents=(*pair.documents, *bare))
    )
    # after the first control token and before the second: every tokenizer splits there, and there is no white space
    positions = (pair.query.index(">") + 1, pair.query.index("<", 1))
    cuts = [
        RequestTexts(pair.query[:cut], tuple(pair.query[cut:] + half for half in pair.documents)) for cut in positions
    ]
    found = [await server.log_odds(cut) for cut in cuts]
    return Evidence(
        relevant,
        irrelevant,
        tuple(zip(*found, strict=True)),
        ((relevant, bare_relevant), (irrelevant, bare_irrelevant)),
    )


def _pair(template: Template) -> RequestTexts:
    return request_texts(make_request(QUESTION, [RELEVANT, IRRELEVANT], None), template)
