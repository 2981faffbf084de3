"""What a service does under load: runs a second, how long they take, errors, CPU and memory.

    python benchmarks/load --url http://127.0.0.1:8080 --key KEY --workflow brief --clients 50 --seconds 60
    python benchmarks/load [--workers 2] [--database postgres] [--latency 1000]

Each client starts a run, waits for its end (`Prefer: wait`), and starts the next. Runs of a service
with keys of providers are paid. Without `--url`, a service of its own is started, with a workflow of
one call to a simulated provider that takes `--latency` milliseconds.

CPU and memory are those of the processes that listen at the port of the URL, if they run here. Behind a
proxy, `--port` names the port of the service. Memory is what each process has for itself (Pss), at the
end. Ends with 1 if a request failed.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.append(str(Path(__file__).parents[1] / "service"))
LISTENS, HERTZ = "0A", os.sysconf("SC_CLK_TCK")
MOST_SHOWN = 3


class Load:
    """The answers to some clients."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.seconds: list[float] = []
        self.errors: collections.Counter[str] = collections.Counter()

    async def run(self) -> float:
        """Send runs; returns how long that took."""
        heads = {"Prefer": "wait=300"}
        if self.given.key:
            heads["Authorization"] = f"Bearer {self.given.key}"
        connector, began = aiohttp.TCPConnector(limit=0), time.perf_counter()
        async with aiohttp.ClientSession(connector=connector, headers=heads) as session:
            clients = (self._client(session, began) for _ in range(self.given.clients))
            await asyncio.gather(*clients)
        return time.perf_counter() - began

    async def _client(self, session: aiohttp.ClientSession, began: float) -> None:
        body = {"workflow": self.given.workflow, "task": self.given.task}
        while time.perf_counter() - began < self.given.seconds:
            sent = time.perf_counter()
            try:
                async with session.post(f"{self.given.url}/api/v1/runs", json=body) as answer:
                    found = await answer.json(content_type=None)
                said = found.get("status") if answer.ok else answer.status
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                said = type(error).__name__
            if said == "completed":
                self.seconds.append(time.perf_counter() - sent)
            else:
                self.errors[str(said)] += 1
                await asyncio.sleep(0.1)  # a server that refuses is not asked as fast as possible

    def percentile(self, share: float) -> float:
        """Milliseconds within which this share of the runs ended."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[int(share * (len(ordered) - 1))] if ordered else 0.0


def listeners(port: int) -> list[int]:
    """The processes that listen at a port of this machine; Linux tells."""
    rows = [
        row.split()
        for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
        for row in (table.read_text().splitlines()[1:] if table.is_file() else [])
    ]
    sockets = {
        f"socket:[{row[9]}]"
        for row in rows
        if row[3] == LISTENS and row[1].endswith(f":{port:04X}")
    }
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(one.readlink()) in sockets for one in (process / "fd").iterdir()):
                found.append(int(process.name))
    return found


def cpu_seconds(pids: list[int]) -> float:
    """The CPU time of processes so far."""
    of_each = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(fields[11]) + int(fields[12]) for fields in of_each) / HERTZ


def megabytes(pid: int) -> float:
    """The memory of a process; what it shares with others counts in part."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:")) / 1024


@contextlib.contextmanager
def own_service(given: argparse.Namespace) -> Iterator[None]:
    """Start a service of our own, if no URL is given."""
    if given.url:
        yield
        return
    from places import ledgers, provider, service  # noqa: PLC0415 -- has the path from above

    given.workflow = "one"
    with (
        ledgers(given.database) as ((_, new),),
        provider(given.latency) as asked,
        service(asked, new(), given.workers) as started,
    ):
        given.url = started.url
        yield


def measure(given: argparse.Namespace) -> int:
    """Print the figures; returns the exit code."""
    port = given.port or urlsplit(given.url).port or 80
    asyncio.run(Load(argparse.Namespace(**vars(given) | {"clients": 4, "seconds": 1})).run())
    pids, load = listeners(port), Load(given)
    before = cpu_seconds(pids)
    wall = asyncio.run(load.run())
    used, runs = cpu_seconds(pids) - before, len(load.seconds)
    failed = sum(load.errors.values())
    print(f"{given.clients} clients for {wall:.0f} s: {runs} runs, {runs / wall:.1f} a second")
    times = (f"{name} {load.percentile(at):.0f} ms" for name, at in PERCENTILES.items())
    print(f"time of a run: {', '.join(times)}")
    kinds = "".join(f"; {n} times {kind}" for kind, n in load.errors.most_common(MOST_SHOWN))
    print(f"errors: {failed} of {runs + failed}{kinds}")
    if pids:
        memory = ", ".join(f"{megabytes(pid):.0f}" for pid in sorted(pids))
        a_run = f", {1000 * used / runs:.1f} ms a run" if runs else ""
        print(f"server: CPU {used / wall:.2f} cores{a_run}; memory in MB by process: {memory}")
    else:
        print(f"server: no process of this machine listens at port {port}, or it is another user's")
    return 1 if failed else 0


PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def main() -> int:
    """Read the flags, and measure."""
    summary, _, rest = (__doc__ or "").partition("\n")
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=rest, formatter_class=raw)
    add = parser.add_argument
    add("--url", default="", help="of a service that runs; without it, one is started")
    add("--clients", type=int, default=20, help="at once (20)")
    add("--seconds", type=float, default=20, help="for how long runs are started (20)")
    add("--key", default=os.environ.get("AIDEON_LOAD_KEY", ""), help="an API key (AIDEON_LOAD_KEY)")
    add("--workflow", default="brief", help="its name (brief)")
    add("--task", default="Heat pumps in old houses", help="of each run")
    add("--port", type=int, help="of the service behind the URL, for CPU and memory")
    own = parser.add_argument_group("the service that is started")
    own.add_argument("--workers", type=int, default=1, help="its processes (1)")
    own.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    own.add_argument("--latency", type=int, default=200, help="of a call, in milliseconds (200)")
    given = parser.parse_args()
    given.url = given.url.rstrip("/")
    with own_service(given):
        return measure(given)


if __name__ == "__main__":
    sys.exit(main())
