"""Somebody else's server: where it is, what it speaks, and who applies the prompt template.

`RemoteSettings` is also the identity of a connection: equal settings share one.
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
"""Characters. Servers and proxies refuse longer ones, at lengths of their own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteSettings:
    """Everything that decides how a server is asked; two equal settings share one connection.

    Attributes:
        url: where the server is, with or without the path of its endpoint.
        template: who applies the model's prompt template: the "server", or this side, the "client".
        model: the name under which the server knows the model; sent where its protocol has a field for it.
        protocol: what the server speaks; "auto" asks the server what it is.
        scores: what the server's numbers are; "auto" asks for log-odds where the protocol can, and takes them for
            probabilities where it cannot.
        probe: ask a few known questions at the first connection, and refuse a server whose answers show that the
            template is missing, doubled or damaged.
        timeout: seconds that one request to the server may take, from the connection to the last byte of the answer.
        api_key: sent as a bearer token; never shown, pickled or logged.
        retries: how often a request is sent again after status 429 or 5xx, or a broken connection.
        requests_at_once: most requests that the server is sent at the same time.
        documents_per_request: most documents in one request; servers have limits of their own.

    Raises:
        SettingsError: a value is outside of what is listed here.
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
        object.__setattr__(self, "api_key", as_secret(self.api_key))  # before anything fails, and shows itself
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
        if not _is_duration(timeout := plain.number(self.timeout)):
            raise SettingsError(f"timeout must be a positive number of seconds, got {self.timeout!r}.")
        object.__setattr__(self, "timeout", timeout)
        if self.api_key is not None and not (isinstance(self.api_key, str) and re.fullmatch("[!-~]+", self.api_key)):
            raise SettingsError("api_key must be None or one run of visible ASCII characters; strip its line break.")
        for name in ("retries", "requests_at_once", "documents_per_request"):
            if name != "retries" or plain.whole(self.retries) != 0:
                object.__setattr__(self, name, positive_int(name, getattr(self, name)))

    @property
    def cache_key(self) -> RemoteSettings:
        """These settings with one spelling of the URL. The key is part of it: callers never use each other's."""
        parts = urlsplit(self.url)
        same = parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), path=parts.path.rstrip("/"))
        return dataclasses.replace(self, url=same.geturl())

    @property
    def token(self) -> None:
        """There is no hub behind a server."""
        return

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "api_key": None}


WORDS: dict[str, Any] = {
    "protocol": "auto",
    "template": None,
    "scores": "auto",
    "probe": True,
    "timeout": DEFAULT_TIMEOUT,
    "api_key": None,
}
"""The words of the facade and the adapters that go with `remote`, and what they say where nothing was said."""


def choose_remote(url: str | None, engine: EngineSettings, **words: Any) -> RemoteSettings | None:
    """The server's settings from the facade's words, or None for a model in this process.

    Args:
        url: `remote` in the user's words.
        engine: settings of a model in this process; beside a server only the model's name makes sense.
        words: those of `WORDS`.

    Raises:
        SettingsError: words of both kinds are mixed, or it is not said who applies the template.
    """
    if url is None:
        if unused := [name for name, value in words.items() if value != WORDS[name]]:
            raise SettingsError(f"{_listed(unused)} is about a server, and there is none: pass remote=URL as well.")
        return None
    default = EngineSettings(model=engine.model)
    local = [field.name for field in dataclasses.fields(engine)]
    if unused := [name for name in local if getattr(engine, name) != getattr(default, name)]:
        raise SettingsError(
            f"{_listed(unused)} is for a model in this process, and remote={url!r} is a server, which has its own. "
            "Drop one of the two."
        )
    if words["template"] is None:
        raise SettingsError(
            "With remote=URL say who applies the model's prompt template: template='server' if the server was started "
            "with it, template='client' if it only joins the texts it is sent."
        )
    return RemoteSettings(url=url, model=engine.model, **words)


def remote_options(settings: RemoteSettings | None) -> dict[str, Any]:
    """The facade's words that give these settings, but for the key; without a server, those that say nothing."""
    words = {name: getattr(settings, name, default) for name, default in WORDS.items() if name != "api_key"}
    return {"remote": settings.url if settings else None, **words}


def unsupported_remotely(max_length: int | None, long_documents: str, on_nonfinite: str) -> str | None:
    """Why a request cannot be asked of a server; None if it can."""
    if max_length not in (None, DEFAULT_MAX_LENGTH):
        return f"max_length={max_length} counts tokens, and those are counted by the server: set its own limit."
    if long_documents == "windows":
        return "long_documents='windows' needs the model's tokenizer, which is on the server. Split long texts before."
    if on_nonfinite == "float32":
        return "on_nonfinite='float32' needs the model's weights, which are on the server. Set the server's own dtype."
    return None


def hidden_url(url: str | None) -> str | None:
    """A URL that may hold a password or a token, as a `Secret`; any other as it is."""
    return Secret(url) if isinstance(url, str) and re.search("[@?#]", url) else url


def _fault_of(url: object) -> str | None:
    """What is wrong with a URL. Whoever raises it has none of its parts in a local variable."""
    if not isinstance(url, str):
        return f"remote must be a URL, got {type(url).__name__}."
    if len(url) > LONGEST_URL:
        return f"remote is {len(url):,} characters long. A URL may have {LONGEST_URL:,}."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number or too large, brackets that do not match
        host, port, parts = None, None, urlsplit("")
    # whatever cannot be printed would forge lines of a terminal or a log
    if parts.scheme not in ("http", "https") or not host or port == 0 or not url.isprintable() or " " in url:
        return "remote must be a URL such as 'http://localhost:8000'."
    if parts.username is not None or parts.password is not None:
        return "remote must not carry a name or a password, which logs would show. Pass api_key=..."
    if parts.query or parts.fragment:
        return "remote must be a URL without '?' and '#': a server's address, or its endpoint's."
    known = host.isascii() or _is_international(host)
    return None if known else f"remote={url!r} has a host name that no server can have. Check its spelling."


def _is_international(host: str) -> bool:
    """Whether a host name in letters beyond ASCII is one. It is looked up as the HTTP client will write it."""
    try:
        import idna  # comes with the HTTP client, of the extra `remote`
    except ModuleNotFoundError:
        return True  # the missing extra is the error that comes next
    try:
        idna.encode(host.lower())
    except (idna.IDNAError, ValueError):
        return False
    return True


def _is_duration(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _listed(names: list[str]) -> str:
    return ", ".join(f"{name}=..." for name in names)
