"""What identifies a row: its time, the id of its run, and the process that wrote it.

Times are ISO-8601 in UTC, with milliseconds and `Z`. All texts have the same length, so that
comparing them as text compares them as times, and the first ten characters are the UTC day by which
budgets and reports count.

Run ids are ULIDs, which sort by time: 48 bits of milliseconds and 80 random bits, in Crockford's
base 32. Ids made by one process always grow, also within a millisecond.

A run whose process is gone reads as crashed. A process id alone is no proof, because the system
gives it to another process later. So a run keeps the start of its process as well, where the system
has it (`/proc`), together with the boot that it counts from.
"""

from __future__ import annotations

import functools
import os
import secrets
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger.forks import renewed

if TYPE_CHECKING:
    from collections.abc import Mapping


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def utc_text(moment: datetime) -> str:
    """The text that a row holds for a time."""
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return known.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 26
_BITS = 5


class _RunIds:
    def __init__(self) -> None:
        self.after_fork()
        self._last = 0
        renewed.add(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()

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


_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STATE, _START = 0, 19
"""Fields of `/proc/<pid>/stat` after the process's name, which may itself hold blanks."""


def this_process() -> Mapping[str, Any]:
    """The process that calls this, as rows name it: its host, pid and process_start.

    process_start is the boot id and the start tick; None where the system has no `/proc`.
    """
    return _known(os.getpid())


@functools.lru_cache(maxsize=1)
def _known(pid: int) -> Mapping[str, Any]:
    """Cached, because every row names this process and reading /proc is slow."""
    return {"host": socket.gethostname(), "pid": pid, "process_start": _start(pid)}


def is_gone(row: Mapping[str, Any]) -> bool:
    """Whether the process that a row names has ended. False on another machine: it is unknown."""
    pid, start = row["pid"], row["process_start"]
    if row["host"] != socket.gethostname() or os.name != "posix":
        return False
    if start is not None:
        return _start(pid) != start
    try:
        os.kill(pid, 0)
    except OSError as refused:
        return isinstance(refused, ProcessLookupError)
    return False


def _start(pid: int) -> str | None:
    """When a process began; None when it is gone, a zombie, or the system has no `/proc`."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = _BOOT.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    after_name = fields.rpartition(")")[2].split()
    return None if after_name[_STATE] in "ZX" else f"{boot}:{after_name[_START]}"
