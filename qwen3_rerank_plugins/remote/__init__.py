"""Reranking on a rerank server, through the same `Scorer` protocol as a local model. Needs the extra "remote".

- `settings`: where the server is, and who applies the prompt template.
- `texts`: a request as texts that are safe to send. `protocols`: the JSON of each kind of server.
- `client`: HTTP and retries, with `environment` (proxies and certificates), `fair_queue` (order of the requests),
  `response_body` (decompression and JSON), `failures` (errors) and `redaction` (no secrets in messages and logs).
- `detection`: URLs, and the protocol of a server. `server`: batches and log-odds. `probe`: checks the template.
- `event_loop`: the thread that all of this runs on. `scorer`: the public `RemoteScorer`.
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
