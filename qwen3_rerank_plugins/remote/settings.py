"""The settings of a rerank server: where it is, its protocol, and who applies the prompt template.

`RemoteSettings` is also the cache key of a connection, because equal settings share one.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins.engine.settings import (
    DEFAULT_MAX_LENGTH,
    DEFAULT_MODEL,
    EngineSettings,
    Secret,
    as_secret,
    make_plain,
    one_of,
    positive_int,
)
from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.remote.detection import Address

ProtocolName = Literal["auto", "vllm", "vllm-rerank", "sglang", "tei", "infinity", "cohere"]
Template = Literal["server", "client"]
ServerScores = Literal["auto", "probability", "logit"]

DEFAULT_TIMEOUT = 60.0
LONGEST_URL = 2000
"""Characters. Servers and proxies have similar limits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteSettings:
    """The settings of a connection to a rerank server. Equal settings share one connection.

    Attributes:
        url: of the server, with or without the path of its endpoint.
        template: who applies the model's prompt template: "server", or "client" for this package.
        model: the model's name on the server; sent if the protocol has a field for it.
        protocol: of the server; "auto" detects it.
        scores: what the server returns; "auto" requests log-odds if the protocol supports that, and expects
            probabilities otherwise.
        probe: score a few known questions at the first connection, and refuse a server whose answers show a missing,
            doubled or damaged template.
        timeout: maximum seconds of one HTTP request, from the connection to the last byte of the answer. The requests
            of a call with a timeout of its own end with that call instead.
        api_key: sent as a bearer token; never shown, pickled or logged.
        retries: how often a request is repeated after status 429 or 5xx, or a broken connection.
        requests_at_once: maximum number of concurrent requests.
        documents_per_request: maximum number of documents in one request. The server's limit may be lower.

    Raises:
        SettingsError: a value is not among those listed here.
    """

    url: str
    template: Template
    model: str = DEFAULT_MODEL
    protocol: ProtocolName = "auto"
    scores: ServerScores = "auto"
    probe: bool = True
    timeout: float = DEFAULT_TIMEOUT
    api_key: str | None = dataclasses.field(default=None, repr=False)
    retries: int = 3
    requests_at_once: int = 8
    documents_per_request: int = 32

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_key", as_secret(self.api_key))  # before an error report can show it
        make_plain(self)
        object.__setattr__(self, "url", hidden_url(self.url))
        if fault := _fault_of(self.url):
            raise SettingsError(fault)
        if not isinstance(self.model, str) or not self.model.strip():
            raise SettingsError(f"model must be a non-empty string, got {self.model!r}.")
        one_of("template", self.template, get_args(Template))
        one_of("protocol", self.protocol, get_args(ProtocolName))
        if refusal := Address(self.url).refuses(self.protocol):
            raise SettingsError(refusal)
        one_of("scores", self.scores, get_args(ServerScores))
        if not isinstance(self.probe, bool):
            raise SettingsError(f"probe must be True or False, got {self.probe!r}.")
        timeout = plain.number(self.timeout)
        if not (isinstance(timeout, float) and 0 < timeout < math.inf):
            raise SettingsError(f"timeout must be a positive number of seconds, got {self.timeout!r}.")
        object.__setattr__(self, "timeout", timeout)
        if self.api_key is not None and not (isinstance(self.api_key, str) and re.fullmatch("[!-~]+", self.api_key)):
            raise SettingsError("api_key must be None or one run of visible ASCII characters; strip its line break.")
        for name in ("retries", "requests_at_once", "documents_per_request"):
            if name != "retries" or plain.whole(self.retries) != 0:
                object.__setattr__(self, name, positive_int(name, getattr(self, name)))

    @property
    def cache_key(self) -> RemoteSettings:
        """These settings with a normalized URL. The API key is part of them, so callers never use each other's."""
        parts = urlsplit(self.url)
        same = parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), path=parts.path.rstrip("/"))
        return dataclasses.replace(self, url=same.geturl())

    @property
    def token(self) -> None:
        """None, because a server needs no hub token."""
        return

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "api_key": None}


REMOTE_OPTIONS: dict[str, Any] = {
    "protocol": "auto",
    "template": None,
    "scores": "auto",
    "probe": True,
    "api_key": None,
}
"""Options of `Qwen3Reranker` and the adapters that `remote` needs, with their defaults."""


def choose_remote(url: str | None, engine: EngineSettings, **options: Any) -> RemoteSettings | None:
    """Return the settings of a server from the options of `Qwen3Reranker`, or None for a model in this process.

    Args:
        url: the option `remote`.
        engine: settings of a model in this process. With a server, only the model's name may be set.
        options: those of `REMOTE_OPTIONS`.

    Raises:
        SettingsError: options of both kinds are mixed, or `template` is missing.
    """
    if url is None:
        if unused := [name for name, value in options.items() if value != REMOTE_OPTIONS[name]]:
            raise SettingsError(f"{_listed(unused)} is about a server, and there is none: pass remote=URL as well.")
        return None
    default = EngineSettings(model=engine.model)
    local = [field.name for field in dataclasses.fields(engine)]
    if unused := [name for name in local if getattr(engine, name) != getattr(default, name)]:
        raise SettingsError(
            f"{_listed(unused)} is for a model in this process, and remote={url!r} is a server, which has its own. "
            "Drop one of the two."
        )
    if options["template"] is None:
        raise SettingsError(
            "With remote=URL say who applies the model's prompt template: template='server' if the server was started "
            "with it, template='client' if it only joins the texts it is sent."
        )
    return RemoteSettings(url=url, model=engine.model, **options)


def remote_options(settings: RemoteSettings | None) -> dict[str, Any]:
    """Return the options that give these settings, without the API key; the defaults if there is no server."""
    options = {name: getattr(settings, name, default) for name, default in REMOTE_OPTIONS.items() if name != "api_key"}
    return {"remote": settings.url if settings else None, **options}


def unsupported_remotely(max_length: int | None, long_documents: str, on_nonfinite: str) -> str | None:
    """Return why a server cannot handle these options, or None if it can."""
    if max_length not in (None, DEFAULT_MAX_LENGTH):
        return f"max_length={max_length} counts tokens, and those are counted by the server: set its own limit."
    if long_documents == "windows":
        return "long_documents='windows' needs the model's tokenizer, which is on the server. Split long texts before."
    if on_nonfinite == "float32":
        return "on_nonfinite='float32' needs the model's weights, which are on the server. Set the server's own dtype."
    return None


def hidden_url(url: str | None) -> str | None:
    """Return a URL that may hold a password or a token as a `Secret`, and any other unchanged."""
    return Secret(url) if isinstance(url, str) and re.search("[@?#]", url) else url


def _fault_of(url: object) -> str | None:
    """Return what is wrong with a URL. The caller raises, so that no traceback holds parts of the URL."""
    if not isinstance(url, str):
        return f"remote must be a URL, got {type(url).__name__}."
    if len(url) > LONGEST_URL:
        return f"remote is {len(url):,} characters long. A URL may have {LONGEST_URL:,}."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # an invalid port, or brackets that do not match
        host, port, parts = None, None, urlsplit("")
    # characters that cannot be printed could forge lines of a terminal or a log
    if parts.scheme not in ("http", "https") or not host or port == 0 or not url.isprintable() or " " in url:
        return "remote must be a URL such as 'http://localhost:8000'."
    if parts.username is not None or parts.password is not None:
        return "remote must not carry a name or a password, which logs would show. Pass api_key=..."
    if parts.query or parts.fragment:
        return "remote must be a URL without '?' and '#': a server's address, or its endpoint's."
    known = host.isascii() or _is_international(host)
    return None if known else f"remote={url!r} has a host name that no server can have. Check its spelling."


def _is_international(host: str) -> bool:
    """Whether a host name with other letters than ASCII is valid. The HTTP client encodes it in the same way."""
    try:
        import idna  # a dependency of the HTTP client, in the extra "remote"
    except ModuleNotFoundError:
        return True  # the error about the missing extra follows
    try:
        idna.encode(host.lower())
    except (idna.IDNAError, ValueError):
        return False
    return True


def _listed(names: list[str]) -> str:
    return ", ".join(f"{name}=..." for name in names)
