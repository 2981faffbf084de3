"""Downloads of what a caller names by a URL, from public addresses only.

Without this, a caller could let the service read what only its own network can reach, such as the
metadata of a cloud. The address that is connected to is the one that was checked: a name that
resolves to another address the second time gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.resolver import ThreadedResolver

from aideon_agents.errors import InputError, shown

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from aiohttp.abc import ResolveResult

_SECONDS = 10.0
_INSTEAD = "send the file itself as a data: URI"
_PIECE = 64 * 1024
_OK = 200
MOVED = frozenset({301, 302, 303, 307, 308})
_INSIDE = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
"""IPv6 addresses that a gateway of the network translates to IPv4 ones."""


class _PrivateAddressError(InputError):
    def __init__(self, host: str) -> None:
        super().__init__(f"{shown(host)} is not on the public internet: {_INSTEAD}")


class _StatusError(InputError):
    def __init__(self, why: str, status: int) -> None:
        super().__init__(why)
        self.status = status


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if inner is not None:
            return is_public(str(inner))
        if any(ip in one for one in _INSIDE):
            return False
    return ip.is_global and not ip.is_multicast


class _Checked(ThreadedResolver):
    """Resolves names, and refuses one with any address that is not allowed."""

    def __init__(self, allows: Callable[[str], bool]) -> None:
        super().__init__()
        self._allows = allows

    async def resolve(
        self, host: str, port: int = 0, family: Any = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        if not found or not all(self._allows(one["host"]) for one in found):
            raise _PrivateAddressError(host)
        return found


async def download(
    url: str,
    most: int,
    *,
    allows: Callable[[str], bool] = is_public,
    tls: ssl.SSLContext | bool = True,
) -> bytes:
    """What is at an https URL, at most so many bytes; `allows`: which addresses may be asked.

    Raises InputError, which says what is wrong with it. Redirects are not followed.
    """
    data = bytearray()
    await download_to(data.extend, url, most, allows=allows, tls=tls)
    return bytes(data)


async def download_to(
    take: Callable[[bytes], object],
    url: str,
    most: int,
    *,
    seconds: float = _SECONDS,
    allows: Callable[[str], bool] = is_public,
    tls: ssl.SSLContext | bool = True,
    proxy: Mapping[str, Any] | None = None,
    redirects: int = 0,
) -> None:
    """As `download`, piece by piece; `redirects`: how many are followed, each checked like the URL.

    `proxy` has aiohttp's arguments for a proxy, which then is the one to look names up and to decide.
    """
    host = _host_of(url)
    try:
        is_allowed = allows(host)
    except ValueError:  # a name, which the resolver looks up
        is_allowed = True
    if not is_allowed:
        raise _PrivateAddressError(host)
    resolver = None if proxy else _Checked(allows)
    options: Any = proxy or {}
    connector = aiohttp.TCPConnector(resolver=resolver, ssl=tls, use_dns_cache=False)
    try:
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession(connector=connector) as session,
            session.get(url, allow_redirects=False, **options) as answer,
        ):
            if redirects and answer.status in MOVED:
                url = urljoin(url, answer.headers.get("Location", ""))
            elif answer.status != _OK:
                why = f"it answers with the status {answer.status}, and must answer with 200"
                raise _StatusError(f"nothing can be read from {shown(host)}: {why}", answer.status)
            else:
                await _taken(answer.content, take, most, host)
                return
    except TimeoutError:
        why = f"it was not read within {seconds:g} s: {_INSTEAD}"
        raise InputError(f"nothing can be read from {shown(host)}: {why}") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        why = f"{type(error).__name__}: check the URL, or {_INSTEAD}"
        raise InputError(f"nothing can be read from {shown(host)}: {why}") from None
    known: Any = {"allows": allows, "tls": tls, "proxy": proxy, "redirects": redirects - 1}
    await download_to(take, url, most, seconds=seconds, **known)


async def _taken(
    content: aiohttp.StreamReader, take: Callable[[bytes], object], most: int, host: str
) -> None:
    size = 0
    async for piece in content.iter_chunked(_PIECE):
        size += len(piece)
        if size > most:
            raise InputError(f"what is at {shown(host)} has more than {most:,} bytes")
        take(piece)


def _host_of(url: str) -> str:
    """The host of a URL that may be read."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or parts.scheme.lower() != "https":
        raise InputError("the URL must begin with https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise InputError(f"the URL of {shown(host)} must not have a user or a password in it")
    return host
