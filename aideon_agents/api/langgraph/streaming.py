"""What a request is answered with that watches a run, or waits for its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from fastapi import Response
from fastapi.responses import StreamingResponse

from aideon_agents.access.callers import Caller
from aideon_agents.api import doors
from aideon_agents.api.langgraph.frames import HEAD, Frame, Frames
from aideon_agents.api.langgraph.shapes import Document
from aideon_agents.api.problems import Problem
from aideon_agents.errors import Conflict
from aideon_agents.serving import events, served
from aideon_agents.serving.service import Service

HEARTBEAT = 5.0
"""Seconds after which a client that waits is shown that the connection is alive."""


class Begun(NamedTuple):
    """A run that a request began, resumed or found."""

    service: Service
    caller: Caller
    run_id: str
    thread: str | None
    after: int
    """The event after which the request's own part of the run begins."""
    messages: list[Document]
    """The conversation, the run's own task at its end."""

    @property
    def path(self) -> str:
        """Where the run is found."""
        place = f"/threads/{self.thread}" if self.thread else ""
        return f"{place}/runs/{self.run_id}"


async def _frames(run: Begun, start: tuple[int, int]) -> AsyncGenerator[Frame]:
    """The frames of a run after a position, until it ends, or this process drains."""
    service, held, has_begun = run.service, 0, False
    row = served.find(service.ledger, run.run_id)
    workflow = service.workflows.get(row["workflow"]) if row else None
    graph = workflow.target.graph if workflow else None
    frames = Frames(run.run_id, run.thread, graph, run.messages)

    def behind(made: Iterable[Frame]) -> list[Frame]:
        return [one for one in made if one.at > start]

    if not run.after:
        has_begun = True
        for one in behind(frames.begin(0)):
            yield one
    async for number, kind, document in service.events(run.run_id):
        held = number if kind == events.ENDED else 0  # the end of a run that resumed is none
        made = () if held else frames.of(number, kind, document)
        for one in behind(made):
            yield one
        if not has_begun and number >= run.after:
            has_begun = True
            for one in behind(frames.begin(run.after)):
                yield one
    if held:
        shown = service.show(run.caller, run.run_id)
        for one in behind(frames.of(held, events.ENDED, shown)):
            yield one


_CANCELLING: set[asyncio.Task[None]] = set()


@contextlib.contextmanager
def _watched(run: Begun, on_disconnect: str) -> Generator[None]:
    """Cancel a run when the client has left that watches it, if the client wants that."""
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        if on_disconnect == "cancel" and not run.service.live.is_draining:
            # The request is being cancelled: what it would wait for here ends at once.
            task = asyncio.create_task(_cancelled(run))
            _CANCELLING.add(task)
            task.add_done_callback(_CANCELLING.discard)
        raise


async def _cancelled(run: Begun) -> None:
    with contextlib.suppress(Conflict):
        await run.service.cancel(run.caller, run.run_id)


def streamed(
    run: Begun,
    modes: str | Sequence[str],
    *,
    subgraphs: bool,
    on_disconnect: str,
    after: tuple[int, int] | None = None,
) -> Response:
    modes = [modes] if isinstance(modes, str) else list(modes)

    async def lines() -> AsyncGenerator[str]:
        with _watched(run, on_disconnect):
            async for one in _frames(run, after or (run.after, HEAD - 1)):
                if one.mode in ("", *modes) and (subgraphs or not one.path):
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
        service, values, has_ended = run.service, Document(), False
        with _watched(run, on_disconnect):
            while not await service.wait(run.run_id, HEARTBEAT) and not service.live.is_draining:
                yield b"\n"
            async for one in _frames(run, (run.after, HEAD - 1)):
                if one.event in ("values", "error"):
                    values = one.data if one.event == "values" else {"__error__": one.data}
                has_ended |= one.event == "end"
        yield json.dumps(values if has_ended else draining).encode()

    heads = {"Content-Location": run.path, "Location": f"{run.path}/join"}
    return StreamingResponse(parts(), headers=heads, media_type="application/json")
