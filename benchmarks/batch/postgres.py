"""What workers ask of Postgres: ways to the server and flushes for each item, and calls a second.

First, items of three calls run by one worker, plain and with states kept: statements that reach the
server (several may travel together), transactions, and how often it waits for its disk. Then
processes that do nothing but admit and settle calls against one budget, and the same with
`synchronous_commit` off, which a ledger's address may say. The ledger's transactions share one
lock, so this is the most that all workers together can do.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from crashes import CALLS, MODELS
from workers import Starting, serving

from aideon_agents import Ledger
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.testing import SimulatedProvider

if TYPE_CHECKING:
    import argparse

HERE = Path(__file__).parent
QUICK = "&options=-csynchronous_commit%3Doff"


def options(parser: argparse.ArgumentParser) -> None:
    """What can be said about this measurement."""
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--processes", default="1,2,4,8")
    parser.add_argument("--seconds", type=float, default=5.0)


def measure(given: argparse.Namespace) -> bool:
    """Print the figures; there is no bound on them."""
    with serving(log_statement="all") as url:
        for words in ([], ["--checkpoint"], ["--checkpoint", "--budget", "100"]):
            _items(url, given.items, words)
    with serving() as url:
        for how, address in (("", url), (", synchronous_commit off", url + QUICK)):
            for processes in map(int, given.processes.split(",")):
                _calls(address, processes, given.seconds, how)
    return True


def _items(url: str, items: int, words: list[str]) -> None:
    """Run items by one worker, and count what reaches the server."""
    log = Path(url.partition("host=")[2]) / "log"
    with (
        tempfile.TemporaryDirectory() as name,
        SimulatedProvider(announce=False) as provider,
        Ledger.from_url(url) as ledger,
    ):
        folder = Path(name)
        (folder / "three_nodes.py").write_bytes((HERE / "three_nodes.py").read_bytes())
        lines = (json.dumps({"task": f"{uuid4()} {number}."}) for number in range(items))
        (folder / "items.jsonl").write_text("\n".join(lines), "utf-8")
        start = Starting(folder, provider, url)
        batch = start(
            *("batch", "three_nodes.py", "items.jsonl", "-o", "out.jsonl", "--json"),
            *("--engine", "distributed", *MODELS, *words),
        )
        queued = "SELECT COUNT(*) AS n FROM procrastinate_jobs"
        while not _is_queued(ledger, queued, items):
            time.sleep(0.2)
        before, logged = _counts(ledger), _statements(log)
        began = time.monotonic()
        worker = start("worker", "--max-concurrency", "20")
        most = 0
        while batch.poll() is None:
            time.sleep(0.25)
            (row,) = ledger.select(_CONNECTIONS)
            most = max(most, int(row["n"]))
        wall = time.monotonic() - began
        worker.send_signal(signal.SIGTERM)
        worker.wait()
        time.sleep(2)  # the server adds up its figures from time to time
        after, statements = _counts(ledger), _statements(log) - logged
        commits, flushes = (later - was for later, was in zip(after, before, strict=True))
    told = " ".join(words) or "plain"
    print(
        f"{told}: per item of {CALLS} calls {statements / items:.0f} ways to the server, "
        f"{commits / items:.0f} transactions, {flushes / items:.1f} flushes; "
        f"{items / wall:.0f} items/s with one worker, start-up included, log on; "
        f"connections, follower and this one included, at most {most}"
    )


def _is_queued(ledger: Ledger, sql: str, items: int) -> bool:
    made = ledger.select("SELECT to_regclass('procrastinate_jobs') AS t")[0]["t"]
    return made is not None and ledger.select(sql)[0]["n"] == items


def _counts(ledger: Ledger) -> tuple[int, int]:
    (commits,) = ledger.select(
        "SELECT xact_commit AS n FROM pg_stat_database WHERE datname = current_database()"
    )
    (flushes,) = ledger.select("SELECT SUM(fsyncs) AS n FROM pg_stat_io WHERE object = 'wal'")
    return int(commits["n"]), int(flushes["n"])


def _statements(log: Path) -> int:
    with log.open(encoding="utf-8", errors="replace") as lines:
        return sum("LOG:  statement:" in line or "LOG:  execute " in line for line in lines)


def _calls(url: str, processes: int, seconds: float, how: str) -> None:
    """Admit and settle calls from some processes at once, all against one budget."""
    with Ledger.from_url(url) as ledger:
        ledger.set_budget("day", "1000000")
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        made = sum(pool.starmap(_admit, [(url, seconds)] * processes))
    print(f"{processes} processes{how}: {made / seconds:.0f} calls/s on one budget")


def _admit(url: str, seconds: float) -> int:
    """Admit, begin and settle one call after another; returns how many."""
    made = 0
    with Ledger.from_url(url) as ledger:
        run_id = ledger.start_run(Run(workflow="admitting"))
        budget = ledger.run_budget(run_id)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            call_id = str(uuid4())
            at = now()
            row = Call(
                call_id=call_id,
                run_id=run_id,
                node_path="text",
                role="creative",
                provider="together",
                requested_model="m",
                started_at=utc_text(at),
            )
            place = budget.dimensions("text", "together", at)
            if ledger.budgets.take(call_id, place, 1000, row=row) is not None:
                raise RuntimeError("a call was refused")
            ledger.budgets.unsent.pop(call_id, None)
            ledger.finish_call(call_id, CallEnd(status="ok", duration_ms=1, cost_nanousd=900))
            made += 1
    return made


_CONNECTIONS = "SELECT COUNT(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
