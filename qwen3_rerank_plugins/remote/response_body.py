"""Read the body of an answer: decompress it up to a size limit, and parse it as text or JSON.

A few compressed bytes may unpack to gigabytes. So the body is read in chunks, and its decompressed bytes are counted.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

LARGEST_ANSWER = 16 * 1024 * 1024
"""Maximum bytes of an answer after decompression. The size of its request comes on top, because some servers return the
texts."""


class UnreadableError(ValueError):
    """The body cannot be used. The message is a noun that describes it."""


async def read_body(chunks: AsyncIterator[bytes], encoding: str, most: int) -> tuple[bytes, bool]:
    """Read the body of an answer.

    Args:
        chunks: its bytes as they arrive.
        encoding: the `Content-Encoding` header.
        most: maximum bytes to return.

    Returns:
        The body, and whether it is complete.

    Raises:
        UnreadableError: its compression is neither gzip nor deflate, or it is damaged.
    """
    unpack = _unpacker(encoding)
    body = bytearray()
    async for chunk in chunks:
        body += unpack(chunk, most + 1 - len(body))
        if len(body) > most:
            return bytes(body[:most]), False
    return bytes(body), True


def text_of(body: bytes, charset: str | None) -> str:
    """Decode a body as text. An unknown charset is ignored, and invalid bytes are replaced."""
    for name in filter(None, (_marked(body), charset)):
        with contextlib.suppress(LookupError, ValueError):
            if _is_plain(name):
                return body.decode(name, "replace")
    return body.decode("utf-8-sig", "replace")


def json_of(body: bytes) -> Any:
    """Parse a body as JSON.

    Raises:
        UnreadableError: it is not JSON, or an object in it contains a name twice.
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
    """Return a function that decompresses the next chunk, up to a number of bytes."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return lambda chunk, _: chunk
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnreadableError(f"something compressed as {encoding!r:.80}, which was not asked for and is not read")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or deflate, according to the header of the data

    def unpack(chunk: bytes, limit: int) -> bytes:
        try:
            return unpacker.decompress(chunk, limit)
        except zlib.error:
            pass
        raise UnreadableError(f"something that is not {encoding}, as its Content-Encoding says")

    return unpack


def _marked(body: bytes) -> str | None:
    """Return the encoding of the byte order mark, if there is one."""
    marks = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
    marks |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    return next((name for mark, name in marks.items() if body.startswith(mark)), None)


def _is_plain(charset: str) -> bool:
    """Whether it is a plain text encoding. Those that interpret escapes would issue warnings."""
    name = codecs.lookup(charset).name
    return "escape" not in name and name not in ("idna", "punycode", "undefined")
