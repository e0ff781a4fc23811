"""Encode a request as token IDs, and turn the log-odds of its chunks into scores of its documents.

A document is one chunk, truncated if necessary, or several windows, of which the best gives the document its score.
Documents without text have no chunk.
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
    """A whole document, or one window of it.

    Attributes:
        document: position of the document in the request.
        text: the text of the chunk before truncation.
        span: where a window starts and ends in the document, in characters; None for a whole document.
    """

    document: int
    text: str
    span: Span | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedRequest:
    """A request as token IDs.

    Attributes:
        request: the request itself.
        chunks: in the order of their documents.
        tokens: the token IDs of the chunks, in the same order.
    """

    request: RerankRequest
    chunks: tuple[Chunk, ...]
    tokens: TokenizedRequest

    def scores(self, log_odds: Sequence[float], rescored: Collection[int] = ()) -> Scores:
        """Return the score of each document: its best window's, or NaN if the score of any window is not finite.

        Args:
            log_odds: one for each entry of `tokens.document_ids`.
            rescored: positions in `tokens.document_ids` that were scored again in float32.
        """
        count = len(self.request.documents)
        best, truncated = [-math.inf] * count, [0] * count
        spans: list[Span | None] = [None] * count
        rescored_documents, rescored = set[int](), frozenset(rescored)
        for chunk, position, cut in zip(
            self.chunks, self.tokens.inverse_index, self.tokens.truncated_tokens, strict=True
        ):
            document, found = chunk.document, log_odds[position]
            truncated[document] += cut
            if position in rescored:
                rescored_documents.add(document)
            if not math.isfinite(found) or math.isnan(best[document]):
                best[document] = math.nan  # another window must not hide a score that is not finite
            elif found > best[document]:
                best[document], spans[document] = found, chunk.span
        return Scores(tuple(best), tuple(truncated), tuple(spans), tuple(sorted(rescored_documents)))


def encode_request(request: RerankRequest, encoder: PromptEncoder) -> EncodedRequest:
    """Tokenize a request. Documents that do not fit are truncated, refused, or split into windows.

    Raises:
        NoRoomError: template, instruction and query leave too few tokens for a document or a window.
        LongDocumentError: documents do not fit, and the request says that this is an error.
        RerankTimeoutError: the call of the request is late.
    """
    whole = [Chunk(index, request.documents[index]) for index in request.readable]
    encoded = _encode(request, whole, encoder)
    too_long = {chunk.document for chunk, cut in zip(whole, encoded.tokens.truncated_tokens, strict=True) if cut}
    if not too_long or request.long_documents == "truncate":
        return encoded
    if request.long_documents == "error":
        raise _refusal(encoded)
    max_tokens = encoder.max_document_tokens(build_prompt(request), request.max_length)
    chunks: list[Chunk] = []
    for chunk in whole:
        if chunk.document in too_long:
            if request.call:
                request.call.check()
            windows = split_into_windows(chunk.text, max_tokens, encoder)
            chunks += (Chunk(chunk.document, chunk.text[slice(*span)], span) for span in windows)
        else:
            chunks.append(chunk)
    return _encode(request, chunks, encoder)


def _encode(request: RerankRequest, chunks: Sequence[Chunk], encoder: PromptEncoder) -> EncodedRequest:
    texts = tuple(chunk.text for chunk in chunks)
    prompt = build_prompt(dataclasses.replace(request, documents=texts))
    checks = (request.call.check,) if request.call else ()
    return EncodedRequest(request, tuple(chunks), encoder.encode(prompt, request.max_length, *checks))


def _refusal(encoded: EncodedRequest) -> LongDocumentError:
    over = {
        chunk.document: cut for chunk, cut in zip(encoded.chunks, encoded.tokens.truncated_tokens, strict=True) if cut
    }
    longest = max(over, key=over.__getitem__)
    return LongDocumentError(
        f"{share(len(over), len(encoded.request.documents), 'document', 'does')} not fit in max_length="
        f"{encoded.request.max_length}: the longest, documents[{longest}], by {counted(over[longest], 'token')}. Raise "
        "max_length, or set long_documents='truncate' to cut such documents or 'windows' to score them in windows.",
        sorted(over),
    )
