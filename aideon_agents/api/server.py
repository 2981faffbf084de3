"""The processes of `aideon serve`: one socket, several workers, and an end that loses nothing.

The first SIGTERM or Ctrl-C drains: no request is taken any more, and runs stop where no node is in
progress. The second one ends the process at once; what it had in progress is adopted by another.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

import uvicorn
from prometheus_client import start_http_server

from aideon_agents.api.app import create_app
from aideon_agents.api.health import metrics
from aideon_agents.api.health.requests import LogKind, log_as
from aideon_agents.errors import InputError, RunError
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.store import Ledger
from aideon_agents.serving.service import Service
from aideon_agents.serving.workflows import Workflows

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from multiprocessing.process import BaseProcess

    from fastapi import FastAPI

    from aideon_agents.settings import Settings

_INTERRUPTED = 130
_GARBAGE = 10_000
"""New objects until the next search for garbage. A request makes some hundreds that live for long."""
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
    log: LogKind = "text"
    metrics: tuple[str, int] | None = None
    """The address of `/metrics` without a key; None: there is none."""
    since: str = dataclasses.field(default_factory=lambda: utc_text(now()))
    """When the service began: metrics count calls from then on."""
    is_alone: bool = True
    """Whether it is one process."""
    pages: Callable[[FastAPI], None] | None = None
    """Adds the pages for people; a function that another process can import."""


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
        self._service.leave()
        self._stopping()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal."""
        with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as on_loop:
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
    log_as(serving.log)
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    with Ledger.from_url(serving.settings.ledger) as ledger:
        workflows = Workflows(serving.workflows, serving.settings)
        service = Service(
            serving.settings,
            ledger,
            workflows,
            rehearse=serving.rehearse,
            is_local=serving.is_local,
        )
        app = create_app(
            service,
            hosts=serving.hosts,
            origins=serving.origins,
            since=serving.since,
            is_alone=serving.is_alone,
            pages=serving.pages,
        )
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_REQUESTS_END,
        )
        gc.freeze()  # Python's collector would read all modules again and again: a sixth of the CPU
        gc.set_threshold(_GARBAGE)
        _Server(config, service, stopping or (lambda: None)).run([listening])


def _end_with(sentinel: int) -> None:
    """Drain when the process that started this one is gone, which otherwise passes the signals on."""
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


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
        raise _cannot_listen(host, port, error, "--host or --port") from None
    made.set_inheritable(True)
    return made


def _cannot_listen(host: str, port: int, error: Exception, options: str) -> InputError:
    reason = str(getattr(error, "strerror", None) or error).lower()
    return InputError(f"cannot listen on {host}:{port}: {reason}; choose another {options}")


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
    ready: Callable[[int | None], None],
    stopping: Callable[[], None],
) -> None:
    """Serve until a signal, with one process or several. `ready` is given the port of the metrics."""
    with contextlib.ExitStack() as until_end:
        if workers > 1:
            folder = until_end.enter_context(tempfile.TemporaryDirectory(prefix="aideon-metrics-"))
            os.environ[metrics.FOLDER] = folder  # the workers inherit it
        port = None
        if serving.metrics:
            port = until_end.enter_context(_metrics_at(*serving.metrics, serving))
        if workers > 1:
            shared = dataclasses.replace(serving, is_alone=False)
            _Workers(shared, listening, workers, stopping).run(lambda: ready(port))
        else:
            ready(port)
            work(serving, listening, stopping)


@contextlib.contextmanager
def _metrics_at(host: str, port: int, serving: Serving) -> Generator[int]:
    """Answer `/metrics` at an address, from this process, for all workers; its port."""
    with Ledger.from_url(serving.settings.ledger) as ledger:
        shown = metrics.registry(ledger, serving.since)
        try:
            server, thread = start_http_server(port, host, shown)
        except (OSError, OverflowError) as error:
            raise _cannot_listen(host, port, error, "--metrics-port") from None
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


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
                if process.exitcode != -signal.SIGKILL and time.monotonic() - begun < _SHORT:
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
