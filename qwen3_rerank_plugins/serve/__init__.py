"""An HTTP server over one `Qwen3Reranker`, for web workers, other languages and other machines.

It needs the extra `serve`. Importing this package only checks that the extra is installed; FastAPI and the server are
imported when the application is made.

- `settings`: addresses, keys and limits. `app`: the application. `server`: the process that runs it.
- `ranking_service`: what all endpoints share. `document_limit`: `max_tokens_per_doc`. `readiness`: loading.
- `endpoints/rerank`: `/rerank` of Cohere, Jina, vLLM and Text Embeddings Inference. `endpoints/score`: `/score` of
  vLLM. `endpoints/openai`: `/v1/models` and `/v1/embeddings`. `endpoints/pages`: `/health`, `/metrics` and the page.
- `failures`: the errors, as each protocol's clients read them.
- `guard`: API key, origin and size of a request. `request_log`: ids, the log and response headers. `metrics`: numbers.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from qwen3_rerank_plugins.errors import MissingExtraError

if TYPE_CHECKING:
    from qwen3_rerank_plugins.serve.app import create_app as create_app
    from qwen3_rerank_plugins.serve.settings import ServeSettings as ServeSettings

for _package in ("fastapi", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(_package) is None:
        raise MissingExtraError(_package.replace("_", "-"), "serve")

__all__ = ["ServeSettings", "create_app"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "create_app":
        from qwen3_rerank_plugins.serve.app import create_app

        return create_app
    from qwen3_rerank_plugins.serve.settings import ServeSettings

    return ServeSettings
