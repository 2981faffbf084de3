"""A ledger on the server, workers in this process and in others, and batches that they run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path

import pytest
import warm

from aideon_agents import Ledger, Settings, tasks
from aideon_agents.batch.distributed import worker as working
from aideon_agents.batch.distributed.worker import Worker
from aideon_agents.batch.running import BatchRunning

ROOT = Path(__file__).parents[3]
HASTY = (
    "import sys\n"
    "from aideon_agents.batch.distributed import jobs\n"
    "jobs.HEARTBEAT_EVERY, jobs.GONE_AFTER = 0.3, 3.0\n"
    "from aideon_agents.__main__ import main\n"
    "sys.exit(main())\n"
)
"""The command line, with shorter times until a worker counts as gone."""


@pytest.fixture
def server(postgres_url, monkeypatch):
    """The address of a ledger on the server, which the environment names."""
    monkeypatch.setenv("AIDEON_LEDGER", postgres_url)
    monkeypatch.setenv("AIDEON_USER", "ada")
    return postgres_url


@pytest.fixture
def ledger(server):
    with Ledger.from_url(server) as opened:
        yield opened


@pytest.fixture
def batch(ledger):
    """A batch about to be run by workers; it is rehearsed unless a provider is at hand."""

    def made(items, target="two.py", out="out.jsonl", **options) -> BatchRunning:
        found = tasks.load(target)
        told = {"ledger": ledger, "rehearse": "settings" not in options} | options
        return BatchRunning(
            found.graph,
            items,
            out,
            engine="distributed",
            target=target,
            target_hash=found.content_hash,
            workflow=found.name,
            **told,
        )

    return made


@pytest.fixture
async def worker(server, monkeypatch):
    """Starts workers in this process; they check more often than usual."""
    monkeypatch.setattr(working, "_CHECK_EVERY", 0.05)
    monkeypatch.setattr(working, "_RETRY_AFTER", 0.1)
    monkeypatch.setattr(working, "_PAUSE", 0.1)
    started = []

    def start(at_once=10, tell=print, **settings) -> Worker:
        made = Worker(Settings(ledger=server, **settings), at_once, tell)
        started.append((made, asyncio.create_task(made.work())))
        return made

    yield start
    for made, _ in started:
        made.cut_off()
    for _, task in started:
        await asyncio.wait_for(task, 20)


@pytest.fixture
def until():
    """Waits for something to be so."""

    async def wait(is_so, seconds=30):
        async with asyncio.timeout(seconds):
            while not is_so():
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def queued(ledger):
    """Returns the jobs in the queue."""

    def found():
        if ledger.select("SELECT to_regclass('procrastinate_jobs') AS t")[0]["t"] is None:
            return []
        return ledger.select("SELECT * FROM procrastinate_jobs ORDER BY id")

    return found


@pytest.fixture
def start(folder, server, monkeypatch):
    """Starts a command in a process of its own; those left over are killed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "80")
    started = []

    def run(*words: str, **more: str) -> subprocess.Popen[str]:
        process = warm.Process(
            ["-c", HASTY, *words],
            cwd=folder,
            env=os.environ | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()
