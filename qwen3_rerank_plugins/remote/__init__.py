"""Reranking on somebody else's server, behind the same seam. Needs the extra `remote`.

One idea a file, from the ground up: `address` (what a URL's path says), `settings` (where, and who applies the
template), `spelling` (text that spells no control token), `wording` (what is sent), `dialects` (how each server words
it), `answers` (a server's numbers -> log-odds), `redaction` (what may be shown of a server's words), `surroundings`
(proxies and certificates), `turns` (whose request is next), `body` (bytes -> JSON, within a limit), `client` (HTTP; the
extra's door), `detection` (which dialect), `server` (texts -> log-odds), `probe` (is the template there, once?), `loop`
(the thread that waits), `scorer` (all of it behind the seam).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qwen3_rerank_plugins.remote.settings import RemoteSettings

if TYPE_CHECKING:
    from qwen3_rerank_plugins.remote.scorer import RemoteScorer as RemoteScorer

__all__ = ["RemoteScorer", "RemoteSettings"]


def __getattr__(name: str) -> Any:
    if name != "RemoteScorer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qwen3_rerank_plugins.remote.scorer import RemoteScorer

    return RemoteScorer
