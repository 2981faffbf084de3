"""`aideon run --watch`: a page in the browser that shows a run in progress.

The page is read-only. It reads the ledger through its own connection and receives which nodes began
and ended, so it never affects the run.

It is served on loopback. Other programs on this machine can reach the port, and any web page can
send requests to it. The address therefore contains a random token, the Host header must name this
server, and the Origin and Sec-Fetch-Site headers, if present, must be those of this page.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import parse_qs, urlsplit

from aideon_agents.cli import output
from aideon_agents.drawing.page.document import policy
from aideon_agents.drawing.page.live import Live
from aideon_agents.graphs.topology import read
from aideon_agents.runner import events

if TYPE_CHECKING:
    from collections.abc import Generator

    from aideon_agents.runner import Event
    from aideon_agents.runner.running import Running


_HOST = "127.0.0.1"
_POLL = 1.0
"""Seconds after which the ledger is read without an event: a second attempt has none."""
_MOST_CONNECTIONS = 64
_HEAD_SECONDS = 10.0
_ALIVE = 10
"""After this many polls without a change, a comment keeps the connection open."""


class PageServer:
    """Serves the page of one run from its own thread, within a `with` block."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._token = secrets.token_urlsafe(24)
        self._server = _Server((_HOST, 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="aideon-page", daemon=True
        )
        self._viewers = threading.Condition()
        self._pages = 0
        self._open: set[int] = set()
        """Pages that have not received the end of the run."""

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{_HOST}:{self._server.server_port}/{self._token}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.over()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._live.close()

    def linger(self, seconds: float, *, expected: bool) -> None:
        """Wait until every open page has the end of the run; `expected`: one is about to open."""

        def known() -> bool:
            return not self._open and (self._pages > 0 or not expected)

        with self._viewers:
            self._viewers.wait_for(known, seconds)

    def hosts(self) -> set[str]:
        """The Host headers that are allowed."""
        return {f"{name}:{self._server.server_port}" for name in (_HOST, "localhost")}

    def is_known(self, token: str) -> bool:
        """Whether the token is that of the address."""
        return secrets.compare_digest(token.encode(), self._token.encode())

    def page(self) -> str | None:
        """A new page; None: the run has not begun."""
        with self._viewers:
            self._pages += 1
            viewer = self._pages
            self._open.add(viewer)
        made = self._live.page(viewer)
        if made is None or self._live.is_final:
            self.left(viewer)
        return made

    def left(self, viewer: int) -> None:
        """Note that a page has the end, or is closed."""
        with self._viewers:
            self._open.discard(viewer)
            self._viewers.notify_all()

    def stream(self, connection: _Handler, seen: int) -> None:
        """Send changes to a page until the run has ended."""
        idle = 0
        while True:
            change = self._live.changes(seen, _POLL)
            if change is None:
                idle += 1
                if idle % _ALIVE == 0:
                    connection.write(": still here\n\n")
                continue
            (seen, values, ended), idle = change, 0
            kind = "end" if ended else "change"
            data = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
            connection.write(f"id: {seen}\nevent: {kind}\ndata: {data}\n\n")
            if ended:
                return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: PageServer

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._free = threading.Semaphore(_MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, or close it: there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle a connection in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: a closed page is none, and stderr belongs to the run."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def setup(self) -> None:
        """Limit the time of the whole head: `timeout` is for each part of it. No body is ever read."""
        super().setup()
        self._head_timer = threading.Timer(_HEAD_SECONDS, self._hang_up)
        self._head_timer.daemon = True
        self._head_timer.start()

    def finish(self) -> None:
        self._head_timer.cancel()
        super().finish()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    @property
    def _owner(self) -> PageServer:
        return cast("_Server", self.server).owner

    def do_GET(self) -> None:
        """Answer with the page or its event stream."""
        self._head_timer.cancel()
        url = urlsplit(self.path)
        _, token, *rest = [*url.path.split("/"), ""][:4]
        owner = self._owner
        if self.headers.get("Host") not in owner.hosts() or self._is_foreign():
            self._refuse(HTTPStatus.FORBIDDEN, "only a browser on this machine can open this page")
        elif not owner.is_known(token) or rest[0] not in {"", "events"}:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no page at this address")
        elif rest[0] == "events":
            self._stream(parse_qs(url.query))
        elif (made := owner.page()) is None:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "the run did not begin")
        else:
            self._send(HTTPStatus.OK, "text/html", made)

    def _is_foreign(self) -> bool:
        """Whether a page of another site sent the request."""
        origin = self.headers.get("Origin")
        known = {f"http://{host}" for host in self._owner.hosts()}
        site = self.headers.get("Sec-Fetch-Site", "none")
        return (origin is not None and origin not in known) or site not in {"none", "same-origin"}

    def _stream(self, query: dict[str, list[str]]) -> None:
        try:
            viewer = int(query.get("viewer", ["0"])[0])
            seen = int(self.headers.get("Last-Event-ID") or query.get("seen", ["0"])[0])
        except ValueError:
            self._refuse(HTTPStatus.BAD_REQUEST, "seen and viewer must be numbers")
            return
        self._head(HTTPStatus.OK, "text/event-stream")
        self.end_headers()
        try:
            self._owner.stream(self, seen)
        finally:
            self._owner.left(viewer)

    def write(self, text: str) -> None:
        """Send a part of the stream."""
        self.wfile.write(text.encode())

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self._head(status, kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send(status, "text/plain", f"{why}\n")

    def _head(self, status: HTTPStatus, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Security-Policy", f"{policy(live=True)}; frame-ancestors 'none'")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Connection", "close")
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name for it
        """Log nothing: stderr belongs to the run."""


_GRACE = 5.0
"""Seconds to wait at the end until the pages have it."""


class Watched:
    """Passes the events of a run to its pages."""

    def __init__(self, live: Live, server: PageServer, *, opens: bool) -> None:
        self._live = live
        self._server = server
        self._opens = opens
        self._opened = False

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        if self._opens and not self._opened:  # the first event: the run has a row to show
            self._opened = True
            # A browser inside the terminal would block this thread.
            threading.Thread(target=_open, args=[self._server.address], daemon=True).start()
        if isinstance(event, events.NodeStarted):
            self._live.started(event.node_path, event.role, event.round)
        elif isinstance(event, events.NodeEnded):
            self._live.ended(event.node_path, event.round, event.error)
        elif isinstance(event, events.Question):
            self._live.asked(event.node_path)

    def resumes(self) -> None:
        """Note that a person has answered; a question that is still open comes again."""
        self._live.answered()

    def end(self) -> None:
        """Wait a moment until the pages show the end of the run."""
        self._live.over()
        with contextlib.suppress(KeyboardInterrupt):
            self._server.linger(_GRACE, expected=self._opened)


@contextlib.contextmanager
def watched(running: Running, *, opens: bool) -> Generator[Watched]:
    """Serve the page of a run within a block, and print its address."""
    spec = running.spec
    live = Live(str(spec.ledger), spec.start.run_id, read(spec.graph))
    with PageServer(live) as server:
        output.note(f"watch: {server.address}")
        yield Watched(live, server, opens=opens)


def can_open(*, as_json: bool) -> bool:
    """Whether to open a browser: not for programs, pipes, or machines without a display."""
    if as_json or not sys.stderr.isatty():
        return False
    has_own_display = sys.platform in {"darwin", "win32"}
    return has_own_display or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def _open(address: str) -> None:
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(address)
