"""A cancellation and a time limit are obeyed, whatever a request waits for.

The servers here wait for ever, so whatever comes to an end has not waited for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import threading
import uuid

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from yarl import URL

from aideon_agents import (
    Budget,
    Context,
    CostHandler,
    Ledger,
    Settings,
    arun,
    astream,
    errors,
    executor,
    parallel,
    sequential,
)
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models, transport

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
            if self.phase == "busy":
                writer.write(BUSY)
                await writer.drain()
                self.reached.set()
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
PHASES = pytest.mark.parametrize(
    ("phase", "stream"),
    [*itertools.product([*UNSENT, "sending", "head", "body"], [False, True]), ("stream", True)],
)


def arguments(phase):
    """A node and a task that reach a phase; a large body is not sent at once."""
    if phase == "sending":
        return executor(model="together:m"), "word " * 2_500_000  # a model of unknown size
    return executor(model=MODEL), "Heat pumps."


async def begun(phase, monkeypatch, ledger, address, slow, *, stream, **options):
    """A run as a task, which has reached its phase."""

    async def run():
        node, task = arguments(phase)
        given = {"settings": settings(address), "ledger": ledger, **options}
        if not stream:
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
async def test_a_cancelled_run_ends(phase, stream, monkeypatch, tmp_path):
    slow = Slow(phase)
    with Ledger(tmp_path / "ledger.db") as ledger:
        async with slow.running(monkeypatch) as address:
            running = await begun(phase, monkeypatch, ledger, address, slow, stream=stream)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        check_rows(ledger, phase, "cancelled")


@PHASES
async def test_a_time_limit_ends_a_run(phase, stream, monkeypatch, tmp_path, pass_time):
    slow = Slow(phase)
    with Ledger(tmp_path / "ledger.db") as ledger:
        async with slow.running(monkeypatch) as address:
            # Less than the time for which a connection is waited for.
            running = await begun(
                phase, monkeypatch, ledger, address, slow, stream=stream, timeout=9
            )
            pass_time(9)
            assert (await running).status == "stopped"
        check_rows(ledger, phase, "cancelled")


@PHASES
@pytest.mark.parametrize("deep", [False, True], ids=["node", "nested"])
async def test_a_failing_branch_ends_what_the_others_wait_for(
    phase, stream, deep, monkeypatch, tmp_path
):
    slow = Slow(phase)
    with Ledger(tmp_path / "ledger.db") as ledger:
        async with slow.running(monkeypatch) as address:
            node, task = arguments(phase)

            async def fail(_):
                await slow.reached.wait()
                while not any(ledger.calls(one.run_id) for one in ledger.runs()):
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)  # so that it waits for what comes next
                raise ValueError("this branch fails")

            graph = parallel(sequential(sequential(node)) if deep else node, fail)
            # The model that takes a large body has no price, so it is not asked under a budget.
            budget = None if phase == "sending" else 1
            given = {"settings": settings(address), "ledger": ledger, "budget": budget}
            if stream:
                async for event in astream(graph, task, **given):
                    last = event
                result = last.result
            else:
                result = await arun(graph, task, **given)
        assert result.status == "failed"
        assert result.cost.complete == (phase in UNSENT)
        check_rows(ledger, phase, "cancelled")
        if phase in UNSENT:
            assert held_and_spent(ledger) == (0, 0)


BUSY = b"HTTP/1.1 429 Busy\r\nConnection: close\r\nRetry-After: 15\r\nContent-Length: 0\r\n\r\n"


def held_and_spent(ledger):
    (row,) = ledger.select(
        "SELECT sum(held_nanousd) AS held, sum(spent_nanousd) AS spent FROM accounts"
    )
    return row["held"], row["spent"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("by", ["cancel", "timeout"])
@pytest.mark.parametrize("waits_for", ["slot", "money", "pause"])
async def test_what_waits_for_its_turn_costs_nothing(
    waits_for, by, *, stream, monkeypatch, tmp_path, pass_time
):
    slow = Slow("busy" if waits_for == "pause" else "head")
    number = 1 if waits_for == "pause" else 3
    with Ledger(tmp_path / "ledger.db") as ledger:
        async with slow.running(monkeypatch) as address:
            many = 1 if waits_for == "slot" else 8
            given = {
                "settings": Settings(
                    together_api_key=f"{waits_for} {by} {stream}",
                    together_base_url=address,
                    model_concurrency=many,
                ),
                "ledger": ledger,
                "timeout": 9 if by == "timeout" else None,
                "budget": "0.0015" if waits_for == "money" else 1,  # one fits, and two do not
            }
            graph = parallel(*(executor(f"e{nth}", model=MODEL) for nth in range(number)))

            async def run():
                if not stream:
                    return await arun(graph, "Heat pumps.", **given)
                async for event in astream(graph, "Heat pumps.", **given):
                    last = event
                return last.result

            running = asyncio.create_task(run())
            await slow.reached.wait()
            await asyncio.sleep(0.1)  # so that the others wait
            if by == "cancel":
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
            else:
                pass_time(9)
                assert (await running).status == "stopped"
        (row,) = ledger.calls(ledger.runs()[0].run_id)
        if waits_for == "pause":
            assert (row.status, row.cost_nanousd) == ("error", 0)
            assert held_and_spent(ledger) == (0, 0)
        else:  # the one that was sent
            assert (row.status, row.cost_nanousd) == ("cancelled", None)
            (hold,) = ledger.select(
                "SELECT amount_nanousd, status FROM holds WHERE status != 'released'"
            )
            assert hold["status"] == "unknown"


class Waits(AsyncCallbackHandler):
    """A handler of a caller that waits for ever before a request."""

    def __init__(self):
        self.reached = asyncio.Event()

    async def on_chat_model_start(self, *_, **__):
        self.reached.set()
        await asyncio.sleep(3600)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("by", ["cancel", "timeout", "branch"])
async def test_what_a_handler_of_the_caller_holds_back_costs_nothing(
    server, by, *, stream, tmp_path, pass_time
):
    waits = Waits()

    async def fail(_):
        await waits.reached.wait()
        raise ValueError("this branch fails")

    node = executor(model=MODEL)
    graph = parallel(node, fail) if by == "branch" else sequential(node)
    context = Context(models=Models(settings(server.url)), stream=stream)
    with Ledger(tmp_path / "ledger.db") as ledger:
        run_id = ledger.start_run(Run(workflow="cancelled"), Budget(1))
        handler = CostHandler(ledger, run_id=run_id)
        config = {"callbacks": [handler, waits]}
        work = graph.ainvoke({"task": "Heat pumps."}, config, context=context)
        running = asyncio.create_task(asyncio.wait_for(work, 9))
        reached = asyncio.create_task(waits.reached.wait())
        await asyncio.wait([running, reached], return_when=asyncio.FIRST_COMPLETED)
        if by == "cancel":
            running.cancel()
        elif by == "timeout":
            pass_time(9)
        with pytest.raises((asyncio.CancelledError, TimeoutError, ValueError, errors.RunError)):
            await running
        handler.settle_cancelled()
        check_rows(ledger, "connect", "cancelled")
        assert held_and_spent(ledger) == (0, 0)
    assert server.asked == []


async def test_what_was_booked_as_not_sent_is_not_sent_later(server):
    server.answers = [{"choices": []}]
    sending = {"sent": False}
    with pytest.raises(asyncio.CancelledError):
        await transport.post(URL(server.url), b"{}", {}, "it", sending)
    sent = {}
    answer = await transport.post(URL(server.url), b"{}", {}, "it", sent)
    answer.close()
    assert (sent, len(server.asked)) == ({"sent": True}, 1)


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
