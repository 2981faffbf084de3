"""What is measured, as processes: a provider, `aideon serve`, and a database."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aideon_agents.testing import Fault, Rate, SimulatedProvider

if TYPE_CHECKING:
    from collections.abc import Generator
    from multiprocessing.connection import Connection

ROOT = Path(__file__).parents[2]
MODEL = "openai/gpt-oss-120b"
RATE = Rate(150, 600)
"""Of the model, in nano-dollars a token, written down once more: the bill shares no code with the ledger."""
WORKFLOW = f"""
from aideon_agents import creative, sequential
graph = sequential(creative("draft", model="together:{MODEL}", max_tokens=64))
"""
ENDPOINT = "/api/v1/runs"


class Provider:
    """A simulated provider in a process of its own, which takes some milliseconds for each answer."""

    def __init__(self, url: str, pipe: Connection) -> None:
        self.url = url
        self._pipe = pipe

    def bill(self) -> tuple[int, int]:
        """The requests that it answered, and their price in nano-dollars."""
        self._pipe.send("bill")
        return self._pipe.recv()


@contextlib.contextmanager
def provider(latency_ms: int) -> Generator[Provider]:
    """A provider until the end of the block."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_provide, args=(its, latency_ms))
    process.start()
    its.close()
    try:
        yield Provider(ours.recv(), ours)
    finally:
        ours.send("end")
        process.join()


def _provide(pipe: Connection, latency_ms: int) -> None:
    faults = Fault("delay", seconds=latency_ms / 1000) if latency_ms else ()
    with SimulatedProvider(announce=False, faults=faults, rates={MODEL: RATE}) as started:
        pipe.send(started.base_url)
        while pipe.recv() == "bill":
            pipe.send((started.bill.requests, started.bill.nanousd or 0))


@contextlib.contextmanager
def ledgers(databases: str) -> Generator[list[tuple[str, Any]]]:
    """For each database, its name and what gives the address of an empty ledger."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as until_end:
        found: list[tuple[str, Any]] = []
        for database in databases.split(","):
            if database == "sqlite":
                found.append(
                    (database, lambda: f"sqlite:///{tempfile.mkdtemp(dir=name)}/ledger.db")
                )
            else:
                server = until_end.enter_context(_postgres())
                found.append((database, server.new_schema))
        yield found


@contextlib.contextmanager
def _postgres() -> Generator[Any]:
    """The tests' Postgres, as one that keeps what is committed."""
    spec = importlib.util.spec_from_file_location("serving", ROOT / "tests" / "conftest.py")
    if spec is None or spec.loader is None:
        raise RuntimeError("the tests are not there")
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory(prefix="aideon-postgres-") as folder:
        server = module.PostgresServer(folder)
        try:
            server.start(fsync="on", max_connections="200", shared_buffers="128MB")
            yield server
        finally:
            server.stop()


class Service:
    """`aideon serve` in processes of its own."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def cpu_seconds(self) -> float:
        """The CPU time of all its processes so far, in Python and in the kernel."""
        ours = [self.process.pid, *(pid for pid in self.workers() if pid != self.process.pid)]
        of_each = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in ours]
        ticks = sum(int(fields[11]) + int(fields[12]) for fields in of_each)
        return ticks / os.sysconf("SC_CLK_TCK")

    def workers(self) -> list[int]:
        """The process ids of its workers; one worker is the process itself."""
        listed = subprocess.run(
            ["/bin/ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        found = [int(line.split()[0]) for line in listed.splitlines() if "spawn_main" in line]
        return found or [self.process.pid]


@contextlib.contextmanager
def service(asked: Provider, ledger: str, workers: int) -> Generator[Service]:
    """The service until the end of the block."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "one.py").write_text(WORKFLOW, "utf-8")
        known = {
            "AIDEON_LEDGER": ledger,
            "TOGETHER_API_KEY": "key",
            "TOGETHER_BASE_URL": asked.url,
            "AIDEON_USER": "ada",
            "AIDEON_MODEL_CONCURRENCY": "512",
            "PYTHONPATH": str(ROOT),
        }
        words = ["serve", "--workflow", "one=one.py", "--port", "0", "--workers", str(workers)]
        process = subprocess.Popen(
            [sys.executable, "-m", "aideon_agents", *words],
            cwd=folder,
            env=os.environ | known,
            stderr=subprocess.PIPE,
            text=True,
        )
        stderr: Any = process.stderr
        begun = re.search(r"http://\S+", first := stderr.readline())
        if not begun:
            raise RuntimeError(first + stderr.read())
        reading = threading.Thread(target=lambda: [None for _ in stderr], daemon=True)
        reading.start()  # a full pipe would stop the service
        try:
            yield Service(process, begun[0])
        finally:
            process.terminate()
            process.wait()
            reading.join()
