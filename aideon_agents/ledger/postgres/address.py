"""The address of a ledger on a Postgres server: connection parameters, and a name for messages.

An address holds a password, so no message repeats it as it was given, nor the errors of libpq's
parser: those quote a piece of a password that is written wrongly.
"""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.redaction import keep_out

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORM = "postgresql://user:password@host:5432/database"
MISSING = "the ledger is on Postgres, which needs more: pip install 'aideon-agents[postgres]'"

_DEFAULTS = {
    "connect_timeout": "10",
    "application_name": "aideon-agents",
    # A server that disappears without notice is noticed within a minute, not after two hours.
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""Connection parameters that an address may override; in seconds, and the last in milliseconds."""


def names_a_server(url: str) -> bool:
    """Whether a ledger's address is meant for Postgres, even if it is not valid."""
    return url.strip().lower().startswith(("postgresql:", "postgres:", "postgresql+"))


@dataclasses.dataclass(frozen=True)
class Address:
    """One database on a server."""

    shown: str
    """The address without its password."""
    parameters: Mapping[str, str] = dataclasses.field(repr=False)
    """For libpq; they include the password."""

    @property
    def key(self) -> frozenset[tuple[str, str]]:
        """Equal for addresses with equal parameters."""
        return frozenset(self.parameters.items())

    @classmethod
    def read(cls, url: str) -> Address:
        """Read an address."""
        try:
            from psycopg import Error  # noqa: PLC0415 - an extra
            from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - as above
        except ImportError:
            raise LedgerError(MISSING) from None
        if find_spec("psycopg_pool") is None:
            raise LedgerError(MISSING)
        _, separator, rest = url.strip().partition("://")
        if _is_ambiguous(rest):
            raise LedgerError(
                "the address of the ledger is not clear: write in its user and password %40 for @,"
                f" %2F for / and %25 for %, as in {_FORM}"
            )
        try:
            given = conninfo_to_dict(f"postgresql{separator}{rest}")
        except Error:
            raise LedgerError(
                f"the address of the ledger cannot be read: write {_FORM}, with %25 for %"
            ) from None
        named = {name: str(value) for name, value in given.items() if value is not None}
        keep_out(named.get("password", ""))
        return cls(_shown(named), {**_DEFAULTS, **named})


def _is_ambiguous(rest: str) -> bool:
    """Whether the password holds an @ or / that ends it: what follows would be shown as a host.

    libpq takes everything up to the first @ as the user and the password, unless a / comes before.
    """
    beyond_host = rest.partition("/")[2]
    return rest.count("@") > 1 or ("@" in beyond_host and not rest.startswith("/"))


def _shown(named: Mapping[str, str]) -> str:
    host, port = named.get("host", ""), named.get("port", "")
    is_folder = host.startswith("/")
    hosts, ports = host.split(","), port.split(",")
    pairs = zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False)
    places = "" if is_folder else ",".join(":".join(filter(None, pair)) for pair in pairs)
    user = f"{quote(named['user'])}@" if "user" in named else ""
    database = f"/{quote(named['dbname'])}" if "dbname" in named else ""
    inside = {"host": host, **({"port": port} if port else {})} if is_folder else {}
    query = f"?{urlencode(inside, safe='/')}" if inside else ""
    return f"postgresql://{user}{places}{database}{query}"
