"""What the doors for other clients have in common: errors in their own form, and streams."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from aideon_agents.access import hosts
from aideon_agents.api import problems
from aideon_agents.api.problems import Problem
from aideon_agents.errors import Conflict
from aideon_agents.models import pictures
from aideon_agents.models.pictures.kinds import LARGEST

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping

    from aideon_agents.access.callers import Caller
    from aideon_agents.serving.service import Service

T = TypeVar("T")

_SILENCE = 10.0
"""Seconds without an event after which a stream sends a comment, for the proxies between."""
_LOOK = 1.0
"""Seconds between two looks at whether a client is still there."""
_GONE = 499
BAD_REQUEST, _INVALID = 400, 422


def route_class(
    answer: Callable[[Problem, str | None], Response], to_door: Callable[[Problem], Problem]
) -> type[APIRoute]:
    """A class of routes whose errors are answered in a door's form."""

    class Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handled(request: Request) -> Response:
                try:
                    return await handle(request)
                except Exception as error:  # noqa: BLE001 - clients know no other form
                    return answer(to_door(problems.of(error, request)), request_id(request))

            return handled

    return Route


def as_bad_request(problem: Problem) -> Problem:
    """The same, with 400 for what is invalid: neither the documents nor OpenAI know 422."""
    if problem.status == _INVALID:
        problem.status = BAD_REQUEST
    return problem


def request_id(request: Request) -> str | None:
    """The id of a request, as its answer has it."""
    return getattr(request.state, "request_id", None)


async def picture(url: str) -> dict[str, Any]:
    """A picture as a part of a message: its bytes, so that no server of the network is sent the URL."""
    if url[:5].lower() == "data:":
        found = pictures.of_data_uri(url)
    else:
        found = pictures.of_bytes(await hosts.download(url, LARGEST))
    text = base64.b64encode(pictures.content(found)).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{found.mime};base64,{text}"}}


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which is cancelled when the client has closed the connection."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK)
            if not task.done() and await request.is_disconnected():
                raise Problem(_GONE, "client_gone", "the client has closed the connection")
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def begun(request: Request, source: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """A source whose first piece is there: an error before it has a status of its own."""
    first = await unless_gone(request, anext(source))  # type: ignore[arg-type] - it is a coroutine

    async def pieces() -> AsyncGenerator[T]:
        async with contextlib.aclosing(source):
            yield first
            async for piece in source:
                yield piece

    return pieces()


def events(
    lines: AsyncGenerator[str], heads: Mapping[str, str], failed: Callable[[Problem], str]
) -> StreamingResponse:
    """Lines as server-sent events. An error on the way is the last of them, as `failed` writes it."""
    return StreamingResponse(_events(lines, failed), media_type="text/event-stream", headers=heads)


async def _events(
    lines: AsyncGenerator[str], failed: Callable[[Problem], str]
) -> AsyncGenerator[str]:
    following: asyncio.Future[str] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(lines))
            done, _ = await asyncio.wait({following}, timeout=_SILENCE)
            if not done:
                yield ": waiting\n\n"
                continue
            line, following = following.result(), None
            yield line
    except StopAsyncIteration:
        return
    except Exception as error:  # noqa: BLE001 - the status is sent already
        yield failed(problems.of(error))
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await lines.aclose()


@contextlib.contextmanager
def watched(service: Service, caller: Caller, run_id: str) -> Generator[None]:
    """Cancel a run where the block is left early, because the client that watches the run has gone."""
    try:
        yield
    except (GeneratorExit, asyncio.CancelledError):
        if not service.live.is_draining:
            # What is awaited here ends at once.
            task = asyncio.ensure_future(_cancelled(service, caller, run_id))
            _CANCELLING.add(task)
            task.add_done_callback(_CANCELLING.discard)
        raise


_CANCELLING = set[asyncio.Future[None]]()


async def _cancelled(service: Service, caller: Caller, run_id: str) -> None:
    with contextlib.suppress(Conflict):
        await service.cancel(caller, run_id)


def data(document: Any) -> str:
    """A document as a server-sent event without a name."""
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"


DONE = "data: [DONE]\n\n"
"""What follows the last document of a stream."""
