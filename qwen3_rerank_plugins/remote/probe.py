"""Is the template there, once and whole? Known questions, and what the answers give away.

Comes in: a server at its first connection. Goes out: nothing, or an error that names what is wrong.
Must not know: how the server is asked.

Two things are looked at. That a relevant document is told from an irrelevant one, with a probability on either side of
one half: without the template both come out alike. And how scores move as one text is cut in two at different places: a
server that only joins what it is sent gives one score to all cuts of a text, one that has a template does not.
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
"""One text in four pieces. Between two digits a Qwen tokenizer always cuts, so that all ways to join them give the same
tokens; and there is no white space at the cuts, which some servers take away."""
_NOISE, _SHARE = 0.05, 0.02
"""Log-odds that are the same although they differ: by what 16 bits and other company in a batch make of them, at least
the first, and up to this share of what lies between relevant and irrelevant."""


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """The log-odds of the known questions.

    Attributes:
        relevant, irrelevant: of the two documents.
        cuts: of one text, cut at different places into query and document: the server applies the template. Or of the
            relevant and the irrelevant prompt, each cut at two places: this side does.
        bare_ends: of the relevant and the irrelevant prompt with the line breaks at its end, and without; only where
            this side applies the template.
        instructed: of the two documents under another instruction; only where one can be sent.
    """

    relevant: float
    irrelevant: float
    cuts: tuple[tuple[float, ...], ...]
    bare_ends: tuple[tuple[float, float], ...] = ()
    instructed: tuple[float, float] | None = None

    @property
    def drops_instructions(self) -> bool:
        """Whether the server takes an instruction, and scores as if it had not."""
        if self.instructed is None:
            return False
        pairs = zip(self.instructed, (self.relevant, self.irrelevant), strict=True)
        return all(self.alike(pair) for pair in pairs)

    def alike(self, scores: Sequence[float]) -> bool:
        """Whether they are the same but for noise."""
        return max(scores) - min(scores) <= max(_NOISE, _SHARE * abs(self.relevant - self.irrelevant))


async def check_server(server: Server, template: Template) -> Evidence:
    """Ask, and judge.

    Raises:
        RemoteTemplateError: the template is missing, doubled or damaged, or this is no reranker.
    """
    evidence = await (_ask_plainly(server) if template == "server" else _ask_in_the_template(server))
    if fault := find_fault(evidence, template):
        raise RemoteTemplateError(f"{fault} Pass probe=False to take its scores as they are.")
    return evidence


def find_fault(evidence: Evidence, template: Template) -> str | None:
    """What the evidence shows to be wrong, with what to do about it; None if nothing."""
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


async def _ask_plainly(server: Server) -> Evidence:
    """For a server that lays texts into the template: send them as they are."""
    pair = _pair("server")
    relevant, irrelevant = await server.log_odds(pair)
    cuts = [
        RequestTexts("".join(_ONE_TEXT[:place]), ("".join(_ONE_TEXT[place:]),), pair.instruction) for place in (1, 2, 3)
    ]
    found = [(await server.log_odds(cut))[0] for cut in cuts]
    instructed = None
    if server.takes_instructions:
        first, second = await server.log_odds(dataclasses.replace(pair, instruction=OTHER_INSTRUCTION))
        instructed = first, second
    return Evidence(relevant, irrelevant, (tuple(found),), (), instructed)


async def _ask_in_the_template(server: Server) -> Evidence:
    """For one that only joins them: cut prompts elsewhere, and leave out the line breaks at their ends."""
    pair = _pair("client")
    bare = tuple(half.rstrip() for half in pair.documents)
    relevant, irrelevant, bare_relevant, bare_irrelevant = await server.log_odds(
        dataclasses.replace(pair, documents=(*pair.documents, *bare))
    )
    # behind the first control token and before the second: every tokenizer cuts there, and there is no white space
    text_indices = (pair.query.index(">") + 1, pair.query.index("<", 1))
    cuts = [
        RequestTexts(pair.query[:place], tuple(pair.query[place:] + half for half in pair.documents))
        for place in text_indices
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
