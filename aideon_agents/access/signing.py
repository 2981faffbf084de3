"""Addresses of files that are valid for a while without a key, because they are signed.

They are signed with the first key of the ring. Without a ring, a key beside the ledger is made for it,
which the processes of one machine share.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from typing import TYPE_CHECKING

from aideon_agents.access import ring

if TYPE_CHECKING:
    from pathlib import Path

    from aideon_agents.ledger.store import Ledger
    from aideon_agents.settings import Settings

SECONDS = 3600
"""How long an address is valid."""
_FILE = "signing.key"
_PURPOSE = b"addresses of artifacts"


def signature(settings: Settings, ledger: Ledger, name: str, expires: int) -> str:
    """The signature of the address of a file that is valid until a Unix time."""
    keys = ring.read(settings.key_ring)
    key = next(iter(keys.values()), None) or _own(ledger.database.folder / _FILE)
    derived = hmac.digest(key, _PURPOSE, hashlib.sha256)
    return hmac.new(derived, f"{name}:{expires}".encode(), hashlib.sha256).hexdigest()


def query(settings: Settings, ledger: Ledger, name: str) -> str:
    """What follows the path of a file in its signed address."""
    expires = int(time.time()) + SECONDS
    return f"expires={expires}&signature={signature(settings, ledger, name, expires)}"


def is_signed(
    settings: Settings, ledger: Ledger, name: str, expires: int | None, given: str | None
) -> bool:
    """Whether an address is signed, and is still valid."""
    if given is None or expires is None or not time.time() <= expires <= time.time() + SECONDS:
        return False
    made = signature(settings, ledger, name, expires)
    return hmac.compare_digest(made.encode(), given.encode())


def _own(path: Path) -> bytes:
    """The key in a file, which is made once: of two processes the first one's counts."""
    while not path.exists():
        partial = path.with_name(f"{_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
        partial.touch(0o600)
        partial.write_bytes(secrets.token_bytes(32))
        try:
            os.link(partial, path)
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    return path.read_bytes()
