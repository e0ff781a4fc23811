"""A server's URL as users have it -> the URLs to ask.

Comes in: the address of a server, of its API's version, or of its endpoint. Goes out: the URL of a path there.
Must not know: HTTP, dialects.
"""

from __future__ import annotations


class Address:
    """A server's URL, with or without the path of its endpoint.

    Attributes:
        base: the part that all paths share.
    """

    def __init__(self, url: str) -> None:
        url = url.rstrip("/")
        self._endpoint = url if url.endswith(("/rerank", "/score")) else None
        self.base = url.rpartition("/")[0] if self._endpoint else url

    def of(self, path: str) -> str:
        """The URL of a path; a version that the base ends with already is not repeated."""
        base = self.base
        version, slash, rest = path.partition("/")
        if slash and base.endswith(f"/{version}"):
            return f"{base}/{rest}"
        return f"{base}/{path}"

    def endpoint(self, path: str) -> str:
        """Where to ask for scores: where the user says, else where the dialect has it."""
        return self._endpoint or self.of(path)
