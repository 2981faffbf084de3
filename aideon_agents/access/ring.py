"""The key ring: `id2:base64,id1:base64` in AIDEON_KEY_RING, or the same in a file that it names.

The first key is used for what is new; the others read what was made before. Rows hold the id of their
key, so a ring can be given a new first key at any time.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import TYPE_CHECKING

from aideon_agents.errors import UserError
from aideon_agents.ledger.redaction import keep_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

_BYTES = 32
_FEWEST = 12
"""Different bytes in a key: 32 random ones have at least 20, and a repeated word has fewer."""
_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_HOW = 'make one with `python -c "import base64, os; print(base64.b64encode(os.urandom(32)).decode())"`'
_RESERVED = "sha256"
"""Begins the digests of the audit log that no ring made."""


def read(given: SecretStr | None) -> Mapping[str, bytes]:
    """The keys of a ring by id, the one in use first; empty: there is no ring.

    An error names the place of a wrong key, never the key.
    """
    text = given.get_secret_value().strip() if given else ""
    if text and ":" not in text:
        try:
            text = Path(text).read_text("utf-8")
        except (OSError, ValueError):  # not repeated: it may be a key
            raise UserError(
                f"AIDEON_KEY_RING is neither ID:BASE64 nor the name of a file that can be read; {_HOW}"
            ) from None
    found: dict[str, bytes] = {}
    for place, part in enumerate(
        filter(None, map(str.strip, text.replace("\n", ",").split(","))), 1
    ):
        where = f"AIDEON_KEY_RING: key {place}"
        ring_id, colon, encoded = part.partition(":")
        if not colon or not _ID.fullmatch(ring_id) or ring_id in {*found, _RESERVED}:
            raise UserError(f"{where} must be ID:BASE64, each with an id of its own; {_HOW}")
        keep_out(encoded)
        try:
            key = base64.b64decode(encoded.translate(str.maketrans("-_", "+/")), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != _BYTES or len(set(key)) < _FEWEST or key.isascii():
            raise UserError(f"{where} ({ring_id}) is not 32 random bytes in base64: {_HOW}")
        found[ring_id] = key
    return found
