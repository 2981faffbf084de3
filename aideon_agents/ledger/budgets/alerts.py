"""Alerts, which report that a part of a budget is spent: in the log, and through apprise.

An alert is read in a log or on a telephone, perhaps by a user who did not start the run. So one line
names the budget, its window and the amounts, and ends with what happens now.

The addresses of the channels are in a file of the user beside the ledger. An address holds a secret
(the path of a webhook, a password), so it is in no variable and no flag, and nothing that apprise or
its clients log while they read or use it reaches a log: a message names only the place of the
address. What they log is captured here, to find out whether a delivery failed.

The code that causes an alert settles a call or runs an event loop, and must not wait for a mail
server. So one thread makes the deliveries. It lives while there are any, and the exit of the process
waits for it only a few seconds. A failed delivery is a line in the log and no more.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import importlib
import logging
import os
import re
import shlex
import threading
from collections import deque
from typing import TYPE_CHECKING, Literal, TypeAlias

from aideon_agents.ledger.money import usd, usd_text
from aideon_agents.ledger.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

    from apprise import AppriseAsset, NotifyBase


Urgency: TypeAlias = Literal["info", "warning", "failure"]

_INFORMS_BELOW = 80
"""Percent below which an alert only informs: nothing changes yet."""
_ALL = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alert:
    """A budget has passed one of its thresholds."""

    scope: str
    """As `aideon budget` writes it: `day`, `run`, `user:alice`, `day:user:alice`."""
    window: str | None
    """The UTC day or month, such as `2026-11-21` or `2026-11`; None: the budget has no window."""
    run_id: str | None
    """The run whose call passed the threshold; None: the call belongs to none."""
    percent: int
    """The threshold: 50, 80, 95 or 100. What is spent may be more."""
    limit_nanousd: int
    spent_nanousd: int
    """It includes the worst cases of calls whose cost is unknown."""
    warns: bool
    """True: the budget only warns. False: it refuses what does not fit."""

    @property
    def urgency(self) -> Urgency:
        """`failure` when calls are refused from now on."""
        if self.percent < _INFORMS_BELOW:
            return "info"
        return "failure" if self.percent >= _ALL and not self.warns else "warning"

    @property
    def title(self) -> str:
        """A headline, for channels that show one."""
        return one_line(f"Aideon Agents: {self.percent} % of the {self.scope} budget is spent")

    def __str__(self) -> str:
        budget = f"the {self.scope} budget of {_dollars(self.limit_nanousd)}{self._where()}"
        spent = f"{self.percent} % is spent, {_dollars(self.spent_nanousd)}"
        what_now = ""
        if self.percent >= _ALL:
            is_enforced = "; calls are refused from here on"
            what_now = "; it only warns, nothing is stopped" if self.warns else is_enforced
        return one_line(f"{budget}: {spent}{what_now}")

    def _where(self) -> str:
        places = [f"{self.window}, UTC"] if self.window else []
        kind = self.scope.removeprefix("day:").removeprefix("month:").partition(":")[0]
        if self.run_id and kind == "run":
            places.append(f"run {self.run_id}")
        elif self.run_id and not self.window:
            places.append(f"reached in run {self.run_id}")
        return f" ({', '.join(places)})" if places else ""


def _dollars(nanousd: int) -> str:
    """An exact amount: `$5`, `$4.02`, `$0.0012345`."""
    whole, _, places = usd_text(usd(nanousd)).partition(".")
    cents = places.rstrip("0")
    return f"${whole}.{cents.ljust(2, '0')}" if cents else f"${whole}"


FILES = ("apprise.conf", "apprise.yml", "apprise.yaml")
"""The first is apprise's TEXT format, an address in each line; the others are its YAML format."""

_LOGGERS = frozenset(
    ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib", "paho", "pika", "slixmpp")
)
"""The loggers of apprise and its clients, which may log an address or a part of one."""
_STATUS = re.compile(r"\berror=(\d{3})\b")
"""How apprise's services log an HTTP status."""


@dataclasses.dataclass(frozen=True)
class Channel:
    """One address that alerts can be sent to."""

    place: str
    """Where its address is, and the name of its service: `.aideon/apprise.conf:3 (JSON)`."""
    service: NotifyBase = dataclasses.field(repr=False)
    """Holds the address."""

    def send(self, title: str, text: str, urgency: Urgency = "info") -> str | None:
        """Deliver a text and wait for the answer; returns why it failed, without the address."""
        from apprise import Apprise  # noqa: PLC0415 - optional, and slow to import

        with _FILTER.capturing() as captured:
            try:
                # One by one, so that this thread waits for each: apprise's own pool of threads
                # would delay the exit of the process for as long as a server does not answer.
                is_sent = Apprise(self.service, asset=self.service.asset).notify(
                    title=title,
                    body=text,
                    notify_type=urgency,
                    body_format="text",
                )
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a service may raise anything
                return f"it failed with {type(error).__name__}"
        if is_sent:
            return None
        answers = _STATUS.findall(" ".join(captured))
        return f"it answered {answers[-1]}" if answers else "it could not be reached, or refused it"


def files(folder: Path) -> list[Path]:
    """The files with addresses that exist, including those that cannot be read."""
    return [path for name in FILES if _exists(path := folder / name)]


def read_channels(folder: Path) -> tuple[list[Channel], list[str]]:
    """The channels of a folder in the order of its files, and a line for each file with a problem.

    Nothing is sent.
    """
    found = files(folder)
    if not found:
        return [], []
    with _FILTER.capturing():
        try:
            from apprise import AppriseAsset  # noqa: PLC0415 - optional, and slow to import
        except ImportError:
            pip = "pip install 'aideon-agents[alerts]'"
            return [], [f"{found[0]}: its channels get no alerts: {pip}"]
        asset = AppriseAsset(
            app_id="Aideon Agents",
            app_desc="Aideon Agents",
            # A POST that is redirected becomes a GET, loses the alert, and looks delivered.
            http_redirects=False,
            # apprise would enforce its time limit with its pool of threads; see Channel.send.
            service_timeout=0,
        )
        usable: list[Channel] = []
        problems: list[str] = []
        for path in found:
            channels, problem = _in_file(path, asset)
            usable += channels
            problems += [problem] if problem else []
    return usable, problems


class _LogFilter(logging.Filter):
    """Keeps what a thread logs out of every log while that thread captures it."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    @contextlib.contextmanager
    def capturing(self) -> Generator[list[str]]:
        """Capture the warnings and errors of apprise and its clients, which may hold addresses."""
        logging.getLogger("apprise")  # also what it logs while it is imported
        for name, logger in dict(logging.root.manager.loggerDict).items():
            if name.partition(".")[0] in _LOGGERS and isinstance(logger, logging.Logger):
                logger.addFilter(self)  # the logger adds a filter only once
        outside = getattr(self._here, "captured", None)
        self._here.captured = captured = list[str]()
        try:
            yield captured
        finally:
            self._here.captured = outside

    def filter(self, record: logging.LogRecord) -> bool:
        captured: list[str] | None = getattr(self._here, "captured", None)
        if captured is None:
            return True  # of another thread
        if record.levelno >= logging.WARNING:
            captured.append(record.getMessage())
        return False


_FILTER = _LogFilter()


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return True


def _in_file(path: Path, asset: AppriseAsset) -> tuple[list[Channel], str | None]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        return [], f"{path} cannot be read ({why}): its channels get no alerts"
    return _in_text(path, text, asset) if path.suffix == ".conf" else _in_yaml(path, text, asset)


def _in_text(path: Path, text: str, asset: AppriseAsset) -> tuple[list[Channel], str | None]:
    """Read line by line, so that a problem names its line and the other lines are used."""
    usable: list[Channel] = []
    wrong: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        services, is_clear = _parsed(line, "text", asset)
        usable += [_channel(f"{path}:{number}", one) for one in services]
        if not is_clear:
            wrong.append(str(number))
    if not wrong:
        return usable, None
    lines = f"{path}:{wrong[0]}" if len(wrong) == 1 else f"{path}: lines {', '.join(wrong)}"
    no_use = "no address that apprise can use (includes are not followed): correct or remove it"
    return usable, f"{lines}: {no_use}"


def _in_yaml(path: Path, text: str, asset: AppriseAsset) -> tuple[list[Channel], str | None]:
    services, is_clear = _parsed(text, "yaml", asset)
    usable = [_channel(f"{path} address {number}", one) for number, one in enumerate(services, 1)]
    if usable and is_clear:
        return usable, None
    most = "some of it is" if usable else "it holds"
    problem = f"{path}: {most} no address that apprise can use (includes are not followed)"
    ask = f"apprise -vv --dry-run -b test -c {shlex.quote(str(path))}"
    return usable, f"{problem}: `{ask}` says why"


def _parsed(text: str, written_as: str, asset: AppriseAsset) -> tuple[list[NotifyBase], bool]:
    """The services in a text that can be used, and whether there is nothing else in it."""
    from apprise import ConfigBase, NotifyBase  # noqa: PLC0415 - as above

    with _FILTER.capturing() as captured:
        found, includes = ConfigBase.config_parse(text, asset=asset, config_format=written_as)
    services = [one for one in found if isinstance(one, NotifyBase) and one.enabled]
    return services, not captured and not includes and len(services) == len(found)


def _channel(where: str, service: NotifyBase) -> Channel:
    return Channel(f"{where} ({service.service_name})", service)


_log = logging.getLogger("aideon_agents.budgets")

_MOST = 100
"""Alerts that wait for delivery. A budget and window cause four: more mean that a channel does not
answer."""
_PATIENCE = 5.0
"""Seconds that the exit of the process waits. A server that does not answer is given up after four."""


def send(alerts: Iterable[Alert], folder: Path | None) -> None:
    """Log alerts, and enqueue them for the channels in a folder; None: there is only the log.

    It does not wait, and raises nothing.
    """
    with contextlib.suppress(Exception):  # such as a log handler's: the call is paid, and must end
        sent = list(alerts)
        for alert in sent:
            _log.log(logging.INFO if alert.urgency == "info" else logging.WARNING, "%s", alert)
        if sent and folder is not None and files(folder):
            _sender().enqueue(folder.absolute(), sent)


def channels(folder: Path | None) -> tuple[tuple[str, ...], str | None]:
    """Where the addresses of a folder are, and what is wrong with its files; None: nothing is.

    Nothing is sent.
    """
    usable, problems = read_channels(folder) if folder is not None else ([], [])
    return tuple(one.place for one in usable), "; ".join(problems) or None


class AlertSender:
    """Delivers the alerts of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Path, Alert]] = deque()
        self._in_progress: list[Alert] = []
        self._thread: threading.Thread | None = None
        """None: nothing waits."""
        self._logged: set[str] = set()
        """Problems that last until the user fixes them are logged once."""

    def enqueue(self, folder: Path, alerts: Sequence[Alert]) -> None:
        """Deliver alerts later, in their order."""
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
        """Wait a few seconds for the deliveries, and log how many may be missing."""
        if thread := self._thread:
            with contextlib.suppress(KeyboardInterrupt):
                thread.join(_PATIENCE)
        with self._lock:
            left = len(self._waiting) + len(self._in_progress)
            self._waiting.clear()
            self._in_progress = []
        if left:
            _log.warning(
                "%s may not have reached every channel before the process ended", _count(left)
            )

    def _work(self) -> None:
        while folder := self._take():
            try:
                self._deliver(folder, self._in_progress)
            except Exception as error:  # noqa: BLE001 - of apprise: the run continues
                self._log_once(f"alerts could not be delivered: {type(error).__name__} in apprise")

    def _take(self) -> Path | None:
        """Start what waits for the same channels; None: nothing waits, and the thread ends."""
        with self._lock:
            self._in_progress = []
            if not self._waiting:
                self._thread = None
                return None
            folder = self._waiting[0][0]
            while self._waiting and self._waiting[0][0] == folder:
                self._in_progress.append(self._waiting.popleft()[1])
            return folder

    def _deliver(self, folder: Path, alerts: Sequence[Alert]) -> None:
        usable, problems = read_channels(folder)  # each time: the user may have fixed a file
        for problem in problems:
            self._log_once(problem)
        for channel in usable:
            for number, alert in enumerate(alerts):
                if why := channel.send(alert.title, str(alert), alert.urgency):
                    # The rest is not tried: each would take as long, and the other channels wait.
                    left = _count(len(alerts) - number)
                    _log.warning("%s did not get %s: %s", channel.place, left, why)
                    break

    def _log_once(self, problem: str) -> None:
        if problem not in self._logged:
            self._logged.add(problem)
            _log.warning("%s", problem)


def _count(alerts: int) -> str:
    return "1 alert" if alerts == 1 else f"{alerts} alerts"


_senders: dict[int, AlertSender] = {}
"""By process id: a forked process lacks its parent's thread, and may copy a lock that is held."""


def _sender() -> AlertSender:
    if not _senders:  # a forked process inherits both
        atexit.register(_finish)
        # apprise needs it, and once the process ends it can no longer be imported.
        importlib.import_module("concurrent.futures.thread")
    return _senders.setdefault(os.getpid(), AlertSender())


def _finish() -> None:
    if sender := _senders.get(os.getpid()):
        sender.finish()
