"""Who is running a run, so that a run whose process is gone reads as crashed.

A process id alone is no proof: it is given to another process later. So a run keeps the process's
start as well, where the system tells it (`/proc`), together with the boot that it counts from.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import socket
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STATE, _START = 0, 19
"""Fields of `/proc/<pid>/stat` after the process's name, which may itself hold blanks."""


@dataclasses.dataclass(frozen=True)
class Process:
    """One process on one machine."""

    host: str
    pid: int
    start: str | None
    """Boot id and start tick; None where the system has no `/proc`."""


def this_process() -> Process:
    """The process that asks."""
    return _known(os.getpid())


@functools.lru_cache(maxsize=1)
def _known(pid: int) -> Process:
    """A process that lives for as long as it asks; every row names it, and /proc is slow."""
    return Process(host=socket.gethostname(), pid=pid, start=_start(pid))


def is_gone(process: Process) -> bool:
    """Whether a process has surely ended. False for another machine's: nobody here can know."""
    if process.host != socket.gethostname() or os.name != "posix":
        return False
    if process.start is not None:
        return _start(process.pid) != process.start
    try:
        os.kill(process.pid, 0)
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
