"""What a request is answered with that watches a run, or waits for its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from fastapi import Response
from fastapi.responses import StreamingResponse

from aideon_agents.api import doors
from aideon_agents.api.langgraph.frames import HEAD, Frame, Frames
from aideon_agents.api.langgraph.shapes import Client, Document
from aideon_agents.api.problems import Problem
from aideon_agents.serving import events, served

HEARTBEAT = 5.0
"""Seconds after which a client that waits is shown that the connection is alive."""


class Begun(NamedTuple):
    """A run that a request began, resumed or found."""

    client: Client
    run_id: str
    thread: str | None
    after: int = 0
    """The event after which the request's own part of the run begins."""
    messages: Sequence[Document] = ()
    """The conversation, the run's own task at its end."""

    @property
    def path(self) -> str:
        """Where the run is found."""
        place = f"/threads/{self.thread}" if self.thread else ""
        return f"{place}/runs/{self.run_id}"


async def _frames(run: Begun) -> AsyncGenerator[Frame]:
    """The frames of a run, until it ends, or this process drains."""
    service, held = run.client.service, 0
    row = served.find(service.ledger, run.run_id)
    workflow = service.workflows.get(row["workflow"]) if row else None
    graph = workflow.target.graph if workflow else None
    frames = Frames(run.run_id, run.thread, graph, run.messages)
    if not run.after:
        for one in frames.begin(0):
            yield one
    async for number, kind, document in service.events(run.run_id):
        held = number if kind == events.ENDED else 0  # the end of a run that resumed is none
        for one in () if held else frames.of(number, kind, document):
            yield one
        if number == run.after:
            for one in frames.begin(number):
                yield one
    if not held or service.is_open(run.run_id):
        return
    shown = service.show(run.client.caller, run.run_id)
    if held == run.after:  # a waiting run that was cancelled has no event more
        yield frames.end(held, shown)
    for one in frames.of(held, events.ENDED, shown):
        yield one


@contextlib.contextmanager
def _watched(run: Begun, on_disconnect: str) -> Generator[None]:
    """Cancel a run when the client has left that watches it, if the client wants that."""
    service = run.client.service
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        # The request is being cancelled: nothing can be waited for here.
        if on_disconnect == "cancel" and not service.live.is_draining:
            served.want(service.ledger.database, run.run_id, "cancel", if_is="run")
            service.live.interrupt(run.run_id)
        raise


def streamed(
    run: Begun,
    modes: str | Sequence[str],
    on_disconnect: str,
    *,
    subgraphs: bool,
    after: tuple[int, int] | None = None,
) -> Response:
    """The frames of a run that a client wants, those after a position."""
    modes = [modes] if isinstance(modes, str) else list(modes)
    start = after or (run.after, HEAD - 1)

    async def lines() -> AsyncGenerator[str]:
        with _watched(run, on_disconnect):
            async for one in _frames(run):
                is_wanted = one.mode in ("", *modes) and (subgraphs or not one.path)
                if is_wanted and one.at > start:
                    yield one.encode(run.run_id)

    query = urlencode({"stream_mode": modes, "stream_subgraphs": subgraphs}, doseq=True)
    heads = {"Content-Location": run.path, "Location": f"{run.path}/stream?{query}"}
    return doors.events(lines(), heads, _failed)


def _failed(problem: Problem) -> str:
    document = json.dumps({"error": problem.code, "message": problem.detail})
    return f"event: error\ndata: {document}\n\n"


def waited(run: Begun, on_disconnect: str) -> Response:
    """The state that a run ends with. Blank lines before it keep the connection alive."""
    text = f"run {run.run_id} continues in another process: join it there"
    draining: Document = {"__error__": {"error": "draining", "message": text}}

    async def parts() -> AsyncGenerator[bytes]:
        service, last = run.client.service, dict[str, Document]()
        with _watched(run, on_disconnect):
            while not await service.wait(run.run_id, HEARTBEAT) and not service.live.is_draining:
                yield b"\n"
            async for one in _frames(run):
                if one.at > (run.after, HEAD - 1):
                    last[one.event] = one.data
        values = {"__error__": last["error"]} if "error" in last else last.get("values", {})
        yield json.dumps(values if "end" in last else draining).encode()

    heads = {"Content-Location": run.path, "Location": f"{run.path}/join"}
    return StreamingResponse(parts(), headers=heads, media_type="application/json")
