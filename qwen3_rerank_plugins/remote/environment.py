"""The environment variables for connections to servers: proxies and certificates.

They are read for one server when its connection is made, so that an error can name the variable.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import ipaddress
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from qwen3_rerank_plugins.errors import SettingsError

_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_FILES: dict[str, Callable[[Path], bool]] = {"SSL_CERT_FILE": Path.is_file, "SSL_CERT_DIR": Path.is_dir}


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy for a server. It can read plain http.

    Attributes:
        variable: the environment variable that names the proxy.
        url: of the proxy; may contain a name and a password.
        secrets: the parts of the URL that must not be shown.
    """

    variable: str
    url: str = dataclasses.field(repr=False)
    secrets: tuple[str, ...] = dataclasses.field(repr=False)


def find_proxy(url: str) -> Proxy | None:
    """Return the proxy for a server, or None if the connection is direct.

    Raises:
        SettingsError: the variable's value is not a usable proxy.
    """
    server = urlsplit(url)
    found = getproxies()
    kind = next((kind for kind in (server.scheme, "all") if found.get(kind)), None)
    if kind is None or _is_excepted(server.hostname or "", server.port, found.get("no", "")):
        return None
    variable = _variable(kind)
    address = found[kind].strip()
    address = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(address)
        sound = bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        sound = False
    sound = sound and address.isprintable() and " " not in address
    if not sound or parts.scheme not in _PROXY_SCHEMES or not (parts.hostname or "").isascii():
        raise SettingsError(
            f"{variable} is not the URL of a proxy such as http://host:port. (Its value may hold a password and is not "
            f"shown.) Correct it, unset it, or add the server to NO_PROXY."
        )
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise SettingsError(
            f"{variable} names a SOCKS proxy, which needs another package: pip install 'httpx[socks]'. Or unset it, or "
            "add the server to NO_PROXY."
        )
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Proxy(variable, address, (f"{name}:{password}", password) if password else ())


def certificates(make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return the SSL context, with the certificates that the environment names.

    Args:
        make: makes the context from the environment.

    Raises:
        SettingsError: a variable names an unusable file or folder.
    """
    for variable, exists in _FILES.items():
        if (value := os.environ.get(variable)) and not exists(Path(value)):
            raise _unusable(variable, "there is no such file" if exists is Path.is_file else "there is no such folder")
    try:
        return make()
    except (OSError, ValueError) as error:  # SSL errors are OSErrors
        key_log = os.environ.get("SSLKEYLOGFILE")
        variable = next((name for name in _FILES if os.environ.get(name)), "SSL_CERT_FILE")
        if key_log and getattr(error, "filename", None) == key_log:
            variable = "SSLKEYLOGFILE"
        reason = str(error)
    raise _unusable(variable, reason)


def _unusable(variable: str, reason: str) -> SettingsError:
    value = os.environ.get(variable)
    return SettingsError(f"{variable}={value!r:.200} cannot be used: {reason}. Correct it, or unset it.")


def _variable(kind: str) -> str:
    """Return the name of the variable that is set; lowercase takes precedence over uppercase."""
    names = (f"{kind}_proxy", f"{kind}_proxy".upper())
    return next((name for name in names if name in os.environ), "The proxy in the settings of this system")


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    """Whether `NO_PROXY` lists the server, as a name, a domain, an address or a range of addresses."""
    address = _address(host)
    for entry in filter(None, map(str.strip, exceptions.split(","))):
        if entry == "*":
            return True
        if "/" in entry and "://" not in entry:
            if address and _is_in(address, entry):
                return True
            continue
        name, only_port = _name_and_port(entry)
        if only_port not in (None, port):
            continue
        if address is not None:
            if _address(name) == address:
                return True
        elif host == name or host.endswith(f".{name}"):
            return True
    return False


def _name_and_port(entry: str) -> tuple[str, int | None]:
    if _address(entry):
        return entry, None  # an IPv6 address contains colons
    try:
        parts = urlsplit(entry if "://" in entry else f"//{entry}")
        return (parts.hostname or "").removeprefix("*").removeprefix("."), parts.port
    except ValueError:
        return entry, None


Addresses = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(host: str) -> Addresses | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_in(address: Addresses, entry: str) -> bool:
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    raise SettingsError(
        f"{_variable('no')} holds {entry!r:.100}, which is no range of addresses such as 10.0.0.0/8 or fd00::/8."
    )
