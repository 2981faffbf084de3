"""Run ids that sort by time: 48 bits of milliseconds and 80 bits of chance, in Crockford's base 32.

That is a ULID. Ids made by one process always grow, also within a millisecond, so that the newest
run is the greatest id.
"""

from __future__ import annotations

import secrets
import threading
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 26
_BITS = 5


class _RunIds:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def mint(self) -> str:
        """A new run id: 26 characters, greater than every one this process made before."""
        fresh = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
        with self._lock:
            number = self._last = max(fresh, self._last + 1)
        shifts = range((_LENGTH - 1) * _BITS, -1, -_BITS)
        return "".join(_ALPHABET[number >> shift & 31] for shift in shifts)


new_run_id = _RunIds().mint


def those_from(start: str) -> dict[str, str]:
    """The first and the last id that may begin with some characters, as a statement's values."""
    return {"first": start, "last": start.ljust(_LENGTH, _ALPHABET[-1])}
