"""A request -> ids, its long documents read the way it asks for; and the model's answers -> scores of documents.

Comes in: `RerankRequest`, the tokenizer of a checkpoint. Goes out: `Reading`, later its `Scores`.
Must not know: tensors, passes, or who waits.

A document stands for one piece, cut if it must be; read in windows, for several, and the best of them stands for it.
Documents with nothing to read stand for none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence

from qwen3_rerank_plugins._plurals import counted, share
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenisedRequest
from qwen3_rerank_plugins.engine.text.windows import Span, cut_windows
from qwen3_rerank_plugins.errors import LongDocumentError


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """What the model reads of a document at once.

    Attributes:
        document: position of the document in the request.
        text: the piece, before anything is cut from its end.
        span: its characters in the document, if it is a window.
    """

    document: int
    text: str
    span: Span | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """How the model reads a request.

    Attributes:
        request: what was asked.
        pieces: in the order of their documents.
        tokens: the ids, piece by piece.
    """

    request: RerankRequest
    pieces: tuple[Piece, ...]
    tokens: TokenisedRequest

    def scores(self, tails: Sequence[float], rescored: Collection[int] = ()) -> Scores:
        """The scores of tails -> those of documents: the best window's, or NaN if one of them is not finite.

        Args:
            tails: the log-odds of `tokens.tails`.
            rescored: tails whose log-odds were computed a second time, in float32.
        """
        count = len(self.request.documents)
        log_odds, cut = [-math.inf] * count, [0] * count
        spans: list[Span | None] = [None] * count
        again, rescored = set[int](), frozenset(rescored)
        for piece, tail, cut_tokens in zip(self.pieces, self.tokens.tail_of, self.tokens.truncated_tokens, strict=True):
            found, best = tails[tail], log_odds[piece.document]
            cut[piece.document] += cut_tokens
            if tail in rescored:
                again.add(piece.document)
            if not math.isfinite(found) or math.isnan(best):
                log_odds[piece.document] = math.nan  # what one window hides, no other one may decide
            elif found > best:
                log_odds[piece.document], spans[piece.document] = found, piece.span
        return Scores(tuple(log_odds), tuple(cut), tuple(spans), tuple(sorted(again)))


def read_documents(request: RerankRequest, encoder: PromptEncoder) -> Reading:
    """Tokenise a request; its documents that do not fit are cut, refused, or read in windows.

    Raises:
        NoRoomError: template, instruction and query leave no room for a document, or not enough for a window.
        LongDocumentError: documents do not fit, and the request says that this is an error.
    """
    whole = [Piece(index, request.documents[index]) for index in request.readable]
    reading = _tokenise(request, whole, encoder)
    too_long = {piece for piece, cut in enumerate(reading.tokens.truncated_tokens) if cut}
    if not too_long or request.long_documents == "truncate":
        return reading
    if request.long_documents == "error":
        raise _refusal(reading)
    room = encoder.room(build_prompt(request), request.max_length)
    pieces: list[Piece] = []
    for index, piece in enumerate(whole):
        if index in too_long:
            windows = cut_windows(piece.text, room, encoder)
            pieces += (Piece(piece.document, piece.text[slice(*span)], span) for span in windows)
        else:
            pieces.append(piece)
    return _tokenise(request, pieces, encoder)


def _tokenise(request: RerankRequest, pieces: Sequence[Piece], encoder: PromptEncoder) -> Reading:
    texts = tuple(piece.text for piece in pieces)
    prompt = build_prompt(dataclasses.replace(request, documents=texts))
    return Reading(request, tuple(pieces), encoder.encode(prompt, request.max_length))


def _refusal(reading: Reading) -> LongDocumentError:
    over = {
        piece.document: cut for piece, cut in zip(reading.pieces, reading.tokens.truncated_tokens, strict=True) if cut
    }
    longest = max(over, key=lambda document: over[document])
    return LongDocumentError(
        f"{share(len(over), len(reading.request.documents), 'document', 'does')} not fit in max_length="
        f"{reading.request.max_length}: the longest, documents[{longest}], by {counted(over[longest], 'token')}. Raise "
        "max_length, or let them be cut (long_documents='truncate') or read in windows (long_documents='windows').",
        sorted(over),
    )
