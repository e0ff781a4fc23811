"""The bytes of an answer -> its body: decompressed, no larger than allowed, as text or JSON.

A server decides what it sends, and a few bytes may unpack to gigabytes. So the answer is read piece by piece, and what
comes out of the decompressor is counted.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer after decompression, besides the size of its request, whose texts some servers send back."""


class UnreadableError(ValueError):
    """The body cannot be used; the message is a noun with what is wrong about it."""


async def read_body(pieces: AsyncIterator[bytes], encoding: str, most: int) -> tuple[bytes, bool]:
    """The body of an answer.

    Args:
        pieces: its bytes as they arrive.
        encoding: the `Content-Encoding` that the server names.
        most: bytes to read at most.

    Returns:
        The body, and whether that is all of it.

    Raises:
        UnreadableError: it is compressed in another way than by gzip or deflate, or damaged.
    """
    unpack = _unpacker(encoding)
    body = bytearray()
    async for piece in pieces:
        body += unpack(piece, most + 1 - len(body))
        if len(body) > most:
            return bytes(body[:most]), False
    return bytes(body), True


def text_of(body: bytes, charset: str | None) -> str:
    """A body as text, whatever the server says about its charset."""
    for name in filter(None, (_marked(body), charset)):
        with contextlib.suppress(LookupError, ValueError):
            if _is_plain(name):
                return body.decode(name, "replace")
    return body.decode("utf-8-sig", "replace")


def json_of(body: bytes) -> Any:
    """A body as JSON.

    Raises:
        UnreadableError: it is not JSON, or an object in it has one name twice.
    """
    try:
        return json.loads(body, object_pairs_hook=_unambiguous)
    except UnreadableError:
        raise
    except RecursionError:
        reason = "something else than JSON, or JSON that is nested too deeply"
    except ValueError:
        reason = "something else than JSON"
    raise UnreadableError(reason)


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnreadableError("JSON in which an object has one name twice")
    return found


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """A function of the next bytes and of the room that is left for what they unpack to."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return lambda piece, _: piece
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnreadableError(f"something compressed as {encoding!r:.80}, which was not asked for and is not read")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either of the two, as its header says

    def unpack(piece: bytes, room: int) -> bytes:
        try:
            return unpacker.decompress(piece, room)
        except zlib.error:
            pass
        raise UnreadableError(f"something that is not {encoding}, as its Content-Encoding says")

    return unpack


def _marked(body: bytes) -> str | None:
    """The encoding that a byte order mark names."""
    marks = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
    marks |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    return next((name for mark, name in marks.items() if body.startswith(mark)), None)


def _is_plain(charset: str) -> bool:
    """Whether it is an encoding of text, and none that interprets escapes, with warnings of its own."""
    name = codecs.lookup(charset).name
    return "escape" not in name and name not in ("idna", "punycode", "undefined")
