"""A request -> ids, its long documents read the way it asks for; and the model's answers -> scores of documents.

Comes in: `RerankRequest`, the tokenizer of a checkpoint. Goes out: `Reading`, later its `Scores`.
Must not know: tensors, passes, or who waits.

A document stands for one chunk, cut if it must be; read in windows, for several, and the best of them stands for it.
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
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest
from qwen3_rerank_plugins.engine.text.windows import Span, split_into_windows
from qwen3_rerank_plugins.errors import LongDocumentError


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """What the model reads of a document at once.

    Attributes:
        document: position of the document in the request.
        text: the chunk, before anything is cut from its end.
        span: its characters in the document, if it is a window.
    """

    document: int
    text: str
    span: Span | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedRequest:
    """How the model reads a request.

    Attributes:
        request: what was asked.
        pieces: in the order of their documents.
        tokens: the ids, chunk by chunk.
    """

    request: RerankRequest
    chunks: tuple[Chunk, ...]
    tokens: TokenizedRequest

    def scores(self, log_odds: Sequence[float], rescored: Collection[int] = ()) -> Scores:
        """Return the score of each document: its best window's, or NaN if a window's score is not finite.

        Args:
            log_odds: one for each entry of `tokens.document_ids`.
            rescored: positions in `tokens.document_ids` that were scored again in float32.
        """
        count = len(self.request.documents)
        best, cut = [-math.inf] * count, [0] * count
        spans: list[Span | None] = [None] * count
        again, rescored = set[int](), frozenset(rescored)
        for chunk, document, cut_tokens in zip(
            self.chunks, self.tokens.inverse_index, self.tokens.truncated_tokens, strict=True
        ):
            found = log_odds[document]
            cut[chunk.document] += cut_tokens
            if document in rescored:
                again.add(chunk.document)
            if not math.isfinite(found) or math.isnan(best[chunk.document]):
                best[chunk.document] = math.nan  # what one window hides, no other one may decide
            elif found > best[chunk.document]:
                best[chunk.document], spans[chunk.document] = found, chunk.span
        return Scores(tuple(best), tuple(cut), tuple(spans), tuple(sorted(again)))


def encode_request(request: RerankRequest, encoder: PromptEncoder) -> EncodedRequest:
    """Tokenise a request; its documents that do not fit are cut, refused, or read in windows.

    Raises:
        NoRoomError: template, instruction and query leave no room for a document, or not enough for a window.
        LongDocumentError: documents do not fit, and the request says that this is an error.
    """
    whole = [Chunk(index, request.documents[index]) for index in request.readable]
    encoded = _encode(request, whole, encoder)
    too_long = {chunk for chunk, cut in enumerate(encoded.tokens.truncated_tokens) if cut}
    if not too_long or request.long_documents == "truncate":
        return encoded
    if request.long_documents == "error":
        raise _refusal(encoded)
    max_tokens = encoder.max_document_tokens(build_prompt(request), request.max_length)
    chunks: list[Chunk] = []
    for index, chunk in enumerate(whole):
        if index in too_long:
            windows = split_into_windows(chunk.text, max_tokens, encoder)
            chunks += (Chunk(chunk.document, chunk.text[slice(*span)], span) for span in windows)
        else:
            chunks.append(chunk)
    return _encode(request, chunks, encoder)


def _encode(request: RerankRequest, chunks: Sequence[Chunk], encoder: PromptEncoder) -> EncodedRequest:
    texts = tuple(chunk.text for chunk in chunks)
    prompt = build_prompt(dataclasses.replace(request, documents=texts))
    return EncodedRequest(request, tuple(chunks), encoder.encode(prompt, request.max_length))


def _refusal(encoded: EncodedRequest) -> LongDocumentError:
    over = {
        chunk.document: cut for chunk, cut in zip(encoded.chunks, encoded.tokens.truncated_tokens, strict=True) if cut
    }
    longest = max(over, key=lambda document: over[document])
    return LongDocumentError(
        f"{share(len(over), len(encoded.request.documents), 'document', 'does')} not fit in max_length="
        f"{encoded.request.max_length}: the longest, documents[{longest}], by {counted(over[longest], 'token')}. Raise "
        "max_length, or let them be cut (long_documents='truncate') or read in windows (long_documents='windows').",
        sorted(over),
    )
