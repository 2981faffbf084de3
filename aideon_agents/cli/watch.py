"""`aideon run --watch`: a page in the browser that fills while the run goes on.

The page only looks: it reads the ledger through a connection of its own and hears which nodes
began and ended. Whether it is open changes nothing about the run.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING

from aideon_agents.cli import output
from aideon_agents.cli.page_server import PageServer
from aideon_agents.drawing.page.live import Live
from aideon_agents.drawing.topology import read
from aideon_agents.runner import events

if TYPE_CHECKING:
    from collections.abc import Generator

    from aideon_agents.runner import Event
    from aideon_agents.runner.running import Running

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
    topology = read(running.root.graph)
    live = Live(str(running.ledger), running.start.run_id, topology)
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
