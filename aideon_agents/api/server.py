"""The processes of `aideon serve`: one socket, several workers, and an end that loses nothing.

The first SIGTERM or Ctrl-C drains: no request is taken any more, and runs stop where no node is in
progress. The second one ends the process at once; what it had in progress is adopted by another.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import socket
import time
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

import uvicorn

from aideon_agents.api.app import create_app
from aideon_agents.errors import InputError, RunError
from aideon_agents.ledger.store import Ledger
from aideon_agents.serving.service import Service
from aideon_agents.serving.workflows import Workflows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.process import BaseProcess

    from aideon_agents.settings import Settings

_INTERRUPTED = 130
_SHORT = 5.0
"""Seconds within which the end of a new worker means that none can work."""
_REQUESTS_END = 10
"""Seconds for requests in progress once the process drains."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Serving:
    """What every worker is given."""

    settings: Settings
    workflows: Mapping[str, str]
    """Addresses by name."""
    is_local: bool
    """Whether only this machine can reach the address."""
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    rehearse: bool = False


class _Server(uvicorn.Server):
    """Uvicorn's server, which drains the service as well, and survives `sys.exit` in a node."""

    def __init__(
        self, config: uvicorn.Config, service: Service, stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._service = service
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Drain at the first signal, and end at the second."""
        del sig, frame
        if self.should_exit:
            os._exit(_INTERRUPTED)
        self.should_exit = True
        self._service.live.leave()
        self._stopping()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal."""
        with asyncio.Runner() as on_loop:
            loop = on_loop.get_loop()
            task = loop.create_task(self.serve(sockets))
            while not task.done():
                with contextlib.suppress(SystemExit):  # of a node: its run has failed
                    loop.run_until_complete(task)
            task.result()


def work(
    serving: Serving, listening: socket.socket, stopping: Callable[[], None] | None = None
) -> None:
    """Serve in this process; `stopping` is called when it begins to drain."""
    with Ledger.from_url(serving.settings.ledger) as ledger:
        workflows = Workflows(serving.workflows, serving.settings)
        service = Service(
            serving.settings,
            ledger,
            workflows,
            rehearse=serving.rehearse,
            is_local=serving.is_local,
        )
        app = create_app(service, hosts=serving.hosts, origins=serving.origins)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_REQUESTS_END,
        )
        _Server(config, service, stopping or (lambda: None)).run([listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address."""
    try:
        (family, kind, number, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        made = socket.socket(family, kind, number)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot listen on {host}:{port}: {str(reason).lower()}; choose another --host or --port"
        ) from None
    made.set_inheritable(True)
    return made


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    names = {str(one[4][0]) for one in found}
    return bool(names) and all(one.startswith("127.") or one == "::1" for one in names)


def serve(
    serving: Serving,
    listening: socket.socket,
    workers: int,
    ready: Callable[[], None],
    stopping: Callable[[], None],
) -> None:
    """Serve until a signal, with one process or several."""
    if workers == 1:
        ready()
        work(serving, listening, stopping)
        return
    _Workers(serving, listening, workers, stopping).run(ready)


class _Workers:
    """Keeps some worker processes alive, and passes signals on to them."""

    def __init__(
        self,
        serving: Serving,
        listening: socket.socket,
        count: int,
        stopping: Callable[[], None],
    ) -> None:
        self._given = serving, listening
        self._stopping = stopping
        self._context = multiprocessing.get_context("spawn")
        self._alive: dict[int, tuple[BaseProcess, float]] = {}
        self._count = count
        self._is_stopping = False

    def run(self, ready: Callable[[], None]) -> None:
        """Keep them alive until a signal; then wait for their ends."""
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, self._stop)
        for _ in range(self._count):
            self._start()
        ready()
        while self._alive:
            ended = connection.wait(list(self._alive))
            for sentinel in ended:
                process, begun = self._alive.pop(int(sentinel))  # type: ignore[arg-type]
                process.join()
                if self._is_stopping:
                    continue
                if time.monotonic() - begun < _SHORT:
                    self._stop(signal.SIGTERM, None)
                    raise RunError(
                        f"a worker ended as soon as it had begun (exit code {process.exitcode}): "
                        "its error is above"
                    )
                self._start()

    def _start(self) -> None:
        process = self._context.Process(target=work, args=self._given)
        process.start()
        self._alive[process.sentinel] = process, time.monotonic()

    def _stop(self, number: int, frame: object) -> None:
        del number, frame
        if self._is_stopping:
            for process, _ in self._alive.values():
                process.kill()
            os._exit(_INTERRUPTED)
        self._is_stopping = True
        self._stopping()
        for process, _ in self._alive.values():
            process.terminate()
