"""The loop of a process that is measured: it reads how often to work, and prints the CPU seconds.

It is imported by every participant, also in environments without this package.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable

SYSTEM = "You are brief."
QUESTION = "Say something about heat pumps."


def serve(make: Callable[[str], Awaitable[Callable[[], Awaitable[object]]]]) -> None:
    """Make the work for the server whose address is the first argument, and do it as asked."""
    asyncio.run(_serve(make, sys.argv[1]))


async def _serve(
    make: Callable[[str], Awaitable[Callable[[], Awaitable[object]]]], address: str
) -> None:
    work = await make(address)
    for _ in range(10):
        await work()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        gc.collect()
        begun = time.process_time()
        for _ in range(int(line)):
            await work()
        print(time.process_time() - begun, _memory(), flush=True)


def _memory() -> int:
    """The most memory that this process has used, in KiB. Not getrusage, which counts its parent."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - also without pathlib
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
