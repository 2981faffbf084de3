"""`aideon run --watch`: a page in the browser that fills while the run goes on.

The page only looks: it reads the ledger through a connection of its own and hears which nodes
began and ended. Whether it is open changes nothing about the run.

The page of a run on its way, served to this machine alone.

Anybody on the machine can reach a port on loopback, and any web page can send requests to it, so
the address carries a random word, the request must name this very host, and a browser that says
where a request comes from must say that it is this page. There is nothing to send to the server:
it only tells.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
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
_PATIENCE = 1.0
"""Seconds after which the ledger is read though nothing is said to have happened: a second try of
a call has no event."""
_ALIVE = 10
"""After so many of them without a change, a comment keeps the connection."""


class PageServer:
    """Serves one run's page from a thread of its own, while a `with` block lasts."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._word = secrets.token_urlsafe(24)
        self._server = _Server((_HOST, 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="aideon-page", daemon=True
        )
        self._viewers = threading.Condition()
        self._pages = 0
        self._open: set[int] = set()
        """Pages that have not been told of the end."""

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{_HOST}:{self._server.server_port}/{self._word}/"

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
        """Wait until every page that is open knows how the run ended."""

        def known() -> bool:
            return not self._open and (self._pages > 0 or not expected)

        with self._viewers:
            self._viewers.wait_for(known, seconds)

    def hosts(self) -> set[str]:
        """The names by which this server may be asked."""
        return {f"{name}:{self._server.server_port}" for name in (_HOST, "localhost")}

    def is_known(self, word: str) -> bool:
        """Whether it is the word of the address."""
        return secrets.compare_digest(word.encode(), self._word.encode())

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
        """A page knows the end, or has gone."""
        with self._viewers:
            self._open.discard(viewer)
            self._viewers.notify_all()

    def tell(self, connection: _Handler, seen: int) -> None:
        """Tell a page what changes until the run has ended."""
        idle = 0
        while True:
            change = self._live.changes(seen, _PATIENCE)
            if change is None:
                idle += 1
                if idle % _ALIVE == 0:
                    connection.say(": still here\n\n")
                continue
            seen, idle = change.seen, 0
            kind = "end" if change.ended else "change"
            data = json.dumps(change.values, ensure_ascii=False, separators=(",", ":"))
            connection.say(f"id: {seen}\nevent: {kind}\ndata: {data}\n\n")
            if change.ended:
                return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: PageServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a page that has gone is no error, and stderr is the run's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    @property
    def _owner(self) -> PageServer:
        return cast("_Server", self.server).owner

    def do_GET(self) -> None:
        """Answer the two questions that there are."""
        asked = urlsplit(self.path)
        _, word, *rest = [*asked.path.split("/"), ""][:4]
        owner = self._owner
        if self.headers.get("Host") not in owner.hosts() or self._is_foreign():
            self._refuse(HTTPStatus.FORBIDDEN, "this page is for this machine's own browser")
        elif not owner.is_known(word) or rest[0] not in {"", "events"}:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        elif rest[0] == "events":
            self._tell(parse_qs(asked.query))
        elif (made := owner.page()) is None:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "the run did not begin")
        else:
            self._send(HTTPStatus.OK, "text/html", made)

    def _is_foreign(self) -> bool:
        """Whether another site's page sent it."""
        origin = self.headers.get("Origin")
        known = {f"http://{host}" for host in self._owner.hosts()}
        site = self.headers.get("Sec-Fetch-Site", "none")
        return (origin is not None and origin not in known) or site not in {"none", "same-origin"}

    def _tell(self, query: dict[str, list[str]]) -> None:
        try:
            viewer = int(query.get("viewer", ["0"])[0])
            seen = int(self.headers.get("Last-Event-ID") or query.get("seen", ["0"])[0])
        except ValueError:
            self._refuse(HTTPStatus.BAD_REQUEST, "seen and viewer are numbers")
            return
        self._head(HTTPStatus.OK, "text/event-stream")
        self.end_headers()
        try:
            self._owner.tell(self, seen)
        finally:
            self._owner.left(viewer)

    def say(self, text: str) -> None:
        """Send a part of a stream."""
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
        """Say nothing: stderr is the run's."""


_GRACE = 5.0
"""Seconds that pages have at the end to hear of it."""


class Watched:
    """Tells the pages what happens in a run."""

    def __init__(self, live: Live, server: PageServer, *, opens: bool) -> None:
        self._live = live
        self._server = server
        self._opens = opens
        self._opened = False

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        if self._opens and not self._opened:  # not before the run has a row to show
            self._opened = True
            # A browser of the terminal would keep us waiting.
            threading.Thread(target=_open, args=[self._server.address], daemon=True).start()
        if isinstance(event, events.NodeStarted):
            self._live.started(event.node_path, event.role, event.round)
        elif isinstance(event, events.NodeEnded):
            self._live.ended(event.node_path, event.round, event.error)
        elif isinstance(event, events.Question):
            self._live.asked(event.node_path)

    def over(self) -> None:
        """The run has ended; wait a moment for the pages to show it."""
        self._live.over()
        with contextlib.suppress(KeyboardInterrupt):
            self._server.linger(_GRACE, expected=self._opened)


@contextlib.contextmanager
def watched(running: Running, *, opens: bool) -> Generator[Watched]:
    """Serve a run's page while a block lasts, and say where it is."""
    spec = running.spec
    live = Live(str(spec.ledger), spec.start.run_id, read(spec.graph))
    with PageServer(live) as server:
        output.note(f"watch: {server.address}")
        yield Watched(live, server, opens=opens)


def can_open(*, as_json: bool) -> bool:
    """Whether there is somebody to open a browser for."""
    if as_json or not sys.stderr.isatty():
        return False
    has_own_display = sys.platform in {"darwin", "win32"}
    return has_own_display or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def _open(address: str) -> None:
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(address)
