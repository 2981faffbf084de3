"""Seals the keys of providers for the ledger: each with a key of its own, which the ring seals.

AES-256-GCM covers where a row is (its table, id, owner and provider) as well, so a row that is copied to
another user cannot be opened there. This is the one module that uses `cryptography`, an extra that is
imported only when a key is sealed or opened.
"""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, NamedTuple

from aideon_agents.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.ledger.database import Row

_NONCE = 12
_KEY = 32

NO_RING = (
    "keys of providers are stored sealed, and no ring is set: set AIDEON_KEY_RING to ID:BASE64 of 32"
    " random bytes, or use the environment's keys"
)


class Sealed(NamedTuple):
    """A secret as a row holds it; texts in Base64."""

    ring_id: str
    wrapped: str
    """The key of the row, sealed with the ring's."""
    sealed: str
    """The secret, sealed with the key of the row."""


def seal(ring: Mapping[str, bytes], place: tuple[str, ...], secret: str) -> Sealed:
    """Seal a secret for a place with the first key of the ring."""
    if not ring:
        raise Conflict(NO_RING)
    ring_id, key = next(iter(ring.items()))
    own = os.urandom(_KEY)
    return Sealed(ring_id, _sealed(key, place, own), _sealed(own, place, secret.encode()))


def opened(ring: Mapping[str, bytes], place: tuple[str, ...], row: Row) -> str | None:
    """The secret in a row; None: its key is not in the ring, or it was changed or belongs elsewhere."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

    key = ring.get(row["ring_id"])
    if key is None:
        return None
    try:
        own = _opened(key, place, row["wrapped"])
        return _opened(own, place, row["sealed"]).decode()
    except (InvalidTag, ValueError):
        return None


def resealed(ring: Mapping[str, bytes], place: tuple[str, ...], row: Row) -> Sealed | None:
    """A row sealed with the first key of the ring; None: it cannot be opened."""
    secret = opened(ring, place, row)
    return None if secret is None else seal(ring, place, secret)


def _sealed(key: bytes, place: tuple[str, ...], content: bytes) -> str:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra

    nonce = os.urandom(_NONCE)
    covered = nonce + AESGCM(key).encrypt(nonce, content, _bound_to(place))
    return base64.b64encode(covered).decode()


def _opened(key: bytes, place: tuple[str, ...], text: str) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra

    covered = base64.b64decode(text, validate=True)
    return AESGCM(key).decrypt(covered[:_NONCE], covered[_NONCE:], _bound_to(place))


def _bound_to(place: tuple[str, ...]) -> bytes:
    """A place as bytes, different for different ones."""
    return json.dumps(place, ensure_ascii=False).encode()
