"""A cancellation and a time limit are obeyed, whatever a request waits for.

The servers here wait for ever, so whatever comes to an end has not waited for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import uuid

import pytest

from aideon_agents import Ledger, Settings, arun, astream, executor

MODEL = "together:openai/gpt-oss-120b"
CHUNK = {"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: "


class Slow:
    """A server that waits for ever in one phase of a request."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.reached = asyncio.Event()
        self.over = threading.Event()

    async def serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self.phase in {"tls", "sending"}:
                await reader.readexactly(1)
                self.reached.set()
                await asyncio.sleep(3600)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            if self.phase == "body":
                writer.write(HEAD + b'application/json\r\nContent-Length: 500\r\n\r\n{"choices":')
            if self.phase == "stream":
                writer.write(HEAD + b"text/event-stream\r\n\r\n")
            self.reached.set()
            while self.phase == "stream":
                writer.write(f"data: {json.dumps(CHUNK)}\n\n".encode())
                await writer.drain()
                await asyncio.sleep(0.002)
            await asyncio.sleep(3600)

    @contextlib.asynccontextmanager
    async def running(self, monkeypatch):
        """The address of its server."""
        if self.phase == "dns":
            loop = asyncio.get_running_loop()

            def look_up(*_, **__):
                loop.call_soon_threadsafe(self.reached.set)
                self.over.wait(120)
                return []

            monkeypatch.setattr(socket, "getaddrinfo", look_up)
            yield f"http://{uuid.uuid4().hex}.example/v1"  # a lookup is kept for some seconds
            self.over.set()
            return
        if self.phase == "connect":
            with (
                socket.create_server(("127.0.0.1", 0), backlog=0) as full,
                contextlib.ExitStack() as open_,
            ):
                for _ in range(4):
                    waiting = open_.enter_context(socket.socket())
                    waiting.settimeout(0)
                    waiting.connect_ex(full.getsockname())
                self.reached.set()  # nobody sees a connection that nobody accepts
                yield f"http://127.0.0.1:{full.getsockname()[1]}/v1"
            return
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        yield f"{'https' if self.phase == 'tls' else 'http'}://127.0.0.1:{port}/v1"
        server.close()


def settings(address):
    return Settings(together_api_key="key", together_base_url=address)


UNSENT = ("dns", "connect", "tls")
PHASES = pytest.mark.parametrize("phase", [*UNSENT, "sending", "head", "body", "stream"])


def arguments(phase):
    """A node and a task that reach a phase; a large body is not sent at once."""
    if phase == "sending":
        return executor(model="together:m"), "word " * 2_500_000  # a model of unknown size
    return executor(model=MODEL), "Heat pumps."


async def begun(phase, monkeypatch, ledger, address, slow, **options):
    """A run as a task, which has reached its phase."""

    async def run():
        node, task = arguments(phase)
        given = {"settings": settings(address), "ledger": ledger, **options}
        if phase != "stream":
            return await arun(node, task, **given)
        async for event in astream(node, task, **given):
            last = event
        return last.result

    running = asyncio.create_task(run())
    await slow.reached.wait()
    while not any(ledger.calls(one.run_id) for one in ledger.runs()):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)  # so that it waits for what comes next
    return running


def check_rows(ledger, phase, status):
    (row,) = ledger.calls(ledger.runs()[0].run_id)
    assert row.status == status
    # What was never sent costs nothing; of what was sent nobody knows.
    assert row.cost_nanousd == (0 if phase in UNSENT else None)


@PHASES
async def test_a_cancelled_run_ends(phase, monkeypatch, tmp_path):
    slow = Slow(phase)
    with Ledger(tmp_path / "ledger.db") as ledger:
        async with slow.running(monkeypatch) as address:
            running = await begun(phase, monkeypatch, ledger, address, slow)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        check_rows(ledger, phase, "cancelled")


@PHASES
async def test_a_time_limit_ends_a_run(phase, monkeypatch, tmp_path, pass_time):
    slow = Slow(phase)
    with Ledger(tmp_path / "ledger.db") as ledger:
        async with slow.running(monkeypatch) as address:
            # Less than the time for which a connection is waited for.
            running = await begun(phase, monkeypatch, ledger, address, slow, timeout=9)
            pass_time(9)
            assert (await running).status == "stopped"
        check_rows(ledger, phase, "cancelled")


LOOKS_UP_SLOWLY = """
import pathlib, socket, time
def getaddrinfo(*_, **__):
    pathlib.Path("looks-up").touch()
    time.sleep(600)
socket.getaddrinfo = getaddrinfo
"""


@pytest.mark.parametrize("phase", ["stream", "dns"])
@pytest.mark.parametrize("by", ["timeout", "interrupt"])
async def test_the_command_ends(phase, by, monkeypatch, tmp_path):
    slow = Slow(phase)
    async with slow.running(monkeypatch) as address:
        if phase == "dns":  # in the other process
            (tmp_path / "sitecustomize.py").write_text(LOOKS_UP_SLOWLY)
        limit = ["--timeout", "2"] if by == "timeout" else []
        arguments = ["run", "brief", "--task", "Heat pumps.", "--stream", *limit]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "aideon_agents", *arguments),
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(tmp_path),
                "TOGETHER_API_KEY": "key",
                "TOGETHER_BASE_URL": address,
                "AIDEON_LEDGER": str(tmp_path / "ledger.db"),
                "NO_PROXY": "*",
            },
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        if by == "interrupt":
            while (
                not (tmp_path / "looks-up").exists()
                if phase == "dns"
                else not slow.reached.is_set()
            ):
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGINT)
        said = (await asyncio.wait_for(process.communicate(), 100))[1].decode()
    assert process.returncode == (130 if by == "interrupt" else 3), said
