"""The most memory that a process has had, on Linux.

`getrusage` does not tell: what it says of a new process is never less than what its parent had.
"""

from __future__ import annotations

from pathlib import Path


def peak_kb(process: int | str) -> int:
    """The most memory that a process has had so far, in KiB.

    Args:
        process: Its id, or `self`.

    Returns:
        0 when it has ended.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
