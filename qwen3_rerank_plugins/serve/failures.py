"""The errors of the server: which status each has, and its JSON as each protocol's clients read it.

Sources: the error bodies of Cohere (`message`), Jina (`detail`), Text Embeddings Inference (`error` and `error_type`)
and OpenAI (`error` with `message`, `type` and `code`), which vLLM shares. Clients of `/rerank` speak one of the first
three, so its errors carry the fields of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qwen3_rerank_plugins import errors

_STATUSES: Sequence[tuple[type[errors.RerankError], int]] = (
    (errors.RerankTimeoutError, 504),
    (errors.OverloadedError, 429),
    (errors.RequestError, 422),
    (errors.SettingsError, 422),  # of an option in the request
    (errors.RemoteError, 502),
    (errors.CheckpointError, 503),
    (errors.ClosedError, 503),
    (errors.ThreadStartError, 503),
)
_TEI_TYPES = {429: "Overloaded", 503: "Unhealthy"}
_OPENAI_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_OPENAI_PATHS = ("score", "embeddings", "models")
_FAILED = 500
RETRY_SECONDS = 5
"""What a client is told to wait while the model is loaded or the server stops."""


class Failure(Exception):  # noqa: N818  it is the failure of a request, and no error of this package
    """A request that gets no result.

    Attributes:
        status: of the HTTP answer.
        message: what happened and what to do; never any text of the request.
        retry_after: seconds after which the client should try again; None if that would not help.
    """

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that go with the status."""
        found = {} if self.retry_after is None else {"Retry-After": str(max(1, math.ceil(self.retry_after)))}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})

    def body(self, path: str, request_id: str) -> dict[str, Any]:
        """Return the JSON for the clients of an endpoint."""
        if path.rpartition("/")[2] in _OPENAI_PATHS:
            kind = _OPENAI_TYPES.get(self.status, "server_error" if self.status >= _FAILED else "invalid_request_error")
            return {"error": {"message": self.message, "type": kind, "param": None, "code": self.status}}
        return {
            "id": request_id,
            "message": self.message,
            "detail": self.message,
            "error": self.message,
            "error_type": _TEI_TYPES.get(self.status, "Backend" if self.status >= _FAILED else "Validation"),
        }


def failure_of(error: errors.RerankError) -> Failure:
    """Return the failure of a request that ended with an error of this package."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), _FAILED)
    retry_after = error.retry_after if isinstance(error, errors.OverloadedError) else None
    return Failure(status, str(error), RETRY_SECONDS if status == 503 else retry_after)


def malformed(found: Sequence[Mapping[str, Any]]) -> Failure:
    """Return the failure of a body that does not fit its model.

    Args:
        found: pydantic's errors. Only the place and the message of each are used, because the others quote the body.
    """
    if any(one["type"] == "json_invalid" for one in found):
        return Failure(400, "The body is not JSON.")
    told = "; ".join(f"{_place(one['loc'])}: {one['msg']}" for one in found[:5])
    more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
    return Failure(422, f"The body does not fit. {told}{more}.")


def _place(location: Sequence[str | int]) -> str:
    """Return where an error is, such as "documents[3]", without the names of models and types."""
    parts = [part for part in location[1:] if isinstance(part, int) or part.isidentifier()]
    shown = ""
    for part in parts:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif part not in ("str", "dict", "rerank", "tei"):
            shown += f".{part}" if shown else part
    return shown or "body"
