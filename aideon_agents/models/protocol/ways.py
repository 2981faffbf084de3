"""How an address is reached: the proxy and the certificates that the environment names.

What is wrong with them is the caller's mistake. It is no failure of a provider, which was sent nothing.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import ipaddress
import os
import ssl
import urllib.request
from typing import Any

import aiohttp
import certifi
from yarl import URL

from aideon_agents import errors
from aideon_agents.settings import NO_KEY

WANTS_PASSWORD = 407
"""The status of a proxy that wants a user and a password."""

_PROXY_VARIABLES = ("{scheme}_proxy", "{SCHEME}_PROXY", "all_proxy", "ALL_PROXY")


def proxy_for(origin: URL) -> dict[str, Any]:
    """Aiohttp's arguments for the proxy that the environment names for an origin; empty: there is none.

    Raises UserError, which names the variable, for an address that cannot be used.
    """
    named = _proxy_named_for(origin)
    if named is None:
        return {}
    variable, value = named
    with contextlib.suppress(ValueError):
        proxy = URL(value if "://" in value else f"http://{value}")
        if proxy.scheme in {"http", "https"} and proxy.host:
            return _through(proxy)
    raise errors.UserError(
        f"the proxy in {variable} cannot be used: set an address such as "
        f"http://host:3128, or unset it (SOCKS is not supported)"
    )


def _proxy_named_for(origin: URL) -> tuple[str, str] | None:
    """The variable that names a proxy for an origin, and its value; None: there is none."""
    host = f"{origin.host}:{origin.port}"
    if urllib.request.proxy_bypass_environment(host):  # type: ignore[attr-defined] # not in the stubs
        return None
    for name in _PROXY_VARIABLES:
        variable = name.format(scheme=origin.scheme, SCHEME=origin.scheme.upper())
        if value := os.environ.get(variable, "").strip():
            return variable, value
    return None


def is_loopback(host: str) -> bool:
    """Whether the numeric address of a host is of this machine alone."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def check_way(address: str) -> None:
    """Raise UserError, which names the variable, if the proxy or the certificates cannot be used."""
    with contextlib.suppress(ValueError):  # an address that is none is found where it is asked
        origin = URL(address).origin()
        proxy_for(origin)
        if origin.scheme == "https":
            tls_context()


def _through(proxy: URL) -> dict[str, Any]:
    bare = proxy.with_user(None)
    if proxy.user is None:
        return {"proxy": bare}
    # aiohttp makes Proxy-Authorization of it, for requests and for tunnels.
    return {"proxy": bare, "proxy_headers": {"Authorization": _basic(proxy)}}


def below(base: str, path: str) -> URL:
    """An address below a base URL, with its query; the user and password go into a header."""
    address, mark, query = base.partition("?")
    return URL(f"{address.rstrip('/')}/{path}{mark}{query}").with_user(None)


def authorization(base: str, key: str) -> str:
    """The header for a key; a server that needs none gets the user and password in its base URL."""
    address = URL(base)
    return f"Bearer {key}" if address.user is None or key != NO_KEY else _basic(address)


def _basic(address: URL) -> str:
    login = f"{address.user}:{address.password or ''}"
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def tls_context() -> ssl.SSLContext:
    """The process's TLS settings: SSL_CERT_FILE and SSL_CERT_DIR if set, else certifi's certificates.

    Raises UserError, which names the variable, if the certificates cannot be read.
    """
    return _tls_context(os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", ""))


@functools.lru_cache(maxsize=4)
def _tls_context(file: str, folder: str) -> ssl.SSLContext:
    try:
        if folder:
            os.scandir(folder).close()  # OpenSSL ignores a folder that is not there
        if file or folder:
            return ssl.create_default_context(cafile=file or None, capath=folder or None)
        return ssl.create_default_context(cafile=certifi.where())
    except OSError as error:
        variable = "SSL_CERT_DIR" if folder and error.filename == folder else "SSL_CERT_FILE"
        raise errors.UserError(
            f"the certificates in {variable} cannot be read ({error.strerror or error}): "
            f"name a {'folder' if variable == 'SSL_CERT_DIR' else 'PEM file'}, or unset it"
        ) from None


def behind_proxy(error: aiohttp.ClientError, asked: str, url: URL) -> str:
    """What was asked; with the variable that names its proxy if that could not be reached."""
    if not isinstance(error, aiohttp.ClientProxyConnectionError):
        return asked
    variable, _ = _proxy_named_for(url.origin()) or ("the environment", "")
    return f"{asked}, behind the proxy in {variable},"


def refused_by_proxy(status: int, url: URL, asked: str) -> errors.AideonError:
    """The error for a proxy that does not let a request through; the provider knows nothing of it."""
    variable, address = _proxy_named_for(url.origin()) or ("the environment", "")
    if status != WANTS_PASSWORD:
        why = f"the proxy answered {status}, see {variable}"
        return errors.Transient(f"{asked} cannot be reached ({why})", billed=False)
    refused = errors.UserError(
        f"the proxy in {variable} does not take the user and password in its address (407): "
        "correct them"
        if "@" in address
        else f"the proxy in {variable} wants a user and a password (407): "
        "write them into its address, http://USER:PASSWORD@HOST:PORT"
    )
    refused.billed = False  # type: ignore[attr-defined] # the row of the call says so
    return refused
