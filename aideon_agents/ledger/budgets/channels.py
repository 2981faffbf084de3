"""Tells people of alerts: in the log at once, and by whatever channels stand beside the ledger.

Whoever tells has money to settle and an event loop to run, and must not wait for somebody's mail
server. So deliveries are made by one thread, which lives while there are any; the process's end
waits for it only shortly. Whatever goes wrong with a channel is a line in the log and no more.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import logging
import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from aideon_agents.ledger.budgets import addresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from aideon_agents.ledger.budgets.addresses import Channel
    from aideon_agents.ledger.budgets.alerts import Alert

_log = logging.getLogger("aideon_agents.budgets")

_MOST = 100
"""Alerts that wait for their delivery. There are four for a budget and window: more than these
come of a channel that never answers."""
_PATIENCE = 5.0
"""Seconds that the process's end waits. A server that does not answer is given up after four."""


def tell(alerts: Iterable[Alert], folder: Path | None) -> None:
    """Log alerts, and hand them to the channels whose addresses stand in a folder.

    Nothing is waited for, and nothing is raised.
    """
    with contextlib.suppress(Exception):  # of a log handler, say: the call is paid, and must end
        told = list(alerts)
        for alert in told:
            _log.log(logging.INFO if alert.urgency == "info" else logging.WARNING, "%s", alert)
        if told and folder is not None and addresses.files(folder):
            _courier().hand_over(folder.absolute(), told)


def channels(folder: Path | None) -> tuple[tuple[str, ...], str | None]:
    """What alerts can be delivered by, without contacting anyone."""
    found = addresses.read(folder) if folder is not None else addresses.Channels()
    return tuple(one.place for one in found.usable), "; ".join(found.problems) or None


class _Courier:
    """The deliveries of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Path, Alert]] = deque()
        self._under_way: list[Alert] = []
        self._thread: threading.Thread | None = None
        """None: nothing is waiting."""
        self._said: set[str] = set()
        """Problems that stay until somebody mends them are said once."""

    def hand_over(self, folder: Path, alerts: Sequence[Alert]) -> None:
        """Have alerts delivered, in their order."""
        with self._lock:
            fitting = alerts[: _MOST - len(self._waiting)]
            self._waiting.extend((folder, alert) for alert in fitting)
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._work, name="aideon-alerts", daemon=True)
                thread.start()
                self._thread = thread
        if left := len(alerts) - len(fitting):
            _log.warning(
                "%s can only be logged: %d still wait for their channels", _count(left), _MOST
            )

    def finish(self) -> None:
        """Wait a little for what is to be delivered, and say what was not."""
        if thread := self._thread:
            with contextlib.suppress(KeyboardInterrupt):
                thread.join(_PATIENCE)
        with self._lock:
            left = len(self._waiting) + len(self._under_way)
            self._waiting.clear()
            self._under_way = []
        if left:
            _log.warning(
                "%s may not have reached every channel before the process ended", _count(left)
            )

    def _work(self) -> None:
        while folder := self._take():
            try:
                self._deliver(folder, self._under_way)
            except Exception as error:  # noqa: BLE001 - of apprise: a run goes on whatever it is
                self._say_once(f"alerts could not be delivered: {type(error).__name__} in apprise")

    def _take(self) -> Path | None:
        """Put what waits for the same channels under way; None: nothing waits, the thread ends."""
        with self._lock:
            self._under_way = []
            if not self._waiting:
                self._thread = None
                return None
            folder = self._waiting[0][0]
            while self._waiting and self._waiting[0][0] == folder:
                self._under_way.append(self._waiting.popleft()[1])
            return folder

    def _deliver(self, folder: Path, alerts: Sequence[Alert]) -> None:
        found = addresses.read(folder)  # again each time: it may have been mended
        for problem in found.problems:
            self._say_once(problem)
        for channel in found.usable:
            _bring(channel, alerts)

    def _say_once(self, problem: str) -> None:
        if problem not in self._said:
            self._said.add(problem)
            _log.warning("%s", problem)


def _bring(channel: Channel, alerts: Sequence[Alert]) -> None:
    for number, alert in enumerate(alerts):
        if why := channel.take(alert):
            # The rest is not tried: each would take as long, and the other channels wait.
            left = _count(len(alerts) - number)
            _log.warning("%s did not get %s: %s", channel.place, left, why)
            return


def _count(alerts: int) -> str:
    return "1 alert" if alerts == 1 else f"{alerts} alerts"


_couriers: dict[int, _Courier] = {}
"""By process id: a forked process has no thread of its parent's, and perhaps a lock that is held."""


def _courier() -> _Courier:
    if not _couriers:  # a forked process inherits both
        atexit.register(_finish)
        # apprise needs it, and once the process ends it can no longer be imported.
        importlib.import_module("concurrent.futures.thread")
    return _couriers.setdefault(os.getpid(), _Courier())


def _finish() -> None:
    if courier := _couriers.get(os.getpid()):
        courier.finish()
