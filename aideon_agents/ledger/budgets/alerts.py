"""What is said when a part of a budget is spent.

It is read far from here, in a log or on a telephone, by somebody who may not have started the run.
So one line names the budget, its window and the money, and at its end says what happens now.

Where alerts go besides the log: apprise's addresses, in a file of the user's beside the ledger.

An address holds a secret: a webhook's path, a password. So it stands in no variable and no flag,
and nothing that apprise or its clients say while they read or use it reaches anybody's log: only
where it stands is named. What they say is heard here, to tell what became of a delivery.

Tells people of alerts: in the log at once, and by whatever channels stand beside the ledger.

Whoever tells has money to settle and an event loop to run, and must not wait for somebody's mail
server. So deliveries are made by one thread, which lives while there are any; the process's end
waits for it only shortly. Whatever goes wrong with a channel is a line in the log and no more.
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

from aideon_agents.ledger.pricing import usd, usd_text
from aideon_agents.ledger.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

    from apprise import AppriseAsset, NotifyBase


Urgency: TypeAlias = Literal["info", "warning", "failure"]

_NEWS = 80
"""Percent below which an alert is only news: nothing changes there yet."""
_ALL = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alert:
    """A budget has passed one of its thresholds."""

    scope: str
    """As `aideon budget` writes it: `day`, `run`, `user:alice`, `day:user:alice`."""
    window: str | None
    """The UTC day or month, such as `2026-11-21` or `2026-11`; None: the budget has none."""
    run_id: str | None
    """The run whose call passed the threshold; None: the call belongs to none."""
    percent: int
    """The threshold: 50, 80, 95 or 100. What is spent may be more."""
    limit_nanousd: int
    spent_nanousd: int
    """Worst cases of calls whose end is unknown included."""
    warns: bool
    """True: it only warns. False: it is enforced, and refuses what does not fit."""

    @property
    def urgency(self) -> Urgency:
        """How much it matters: `failure` when calls are refused from here on."""
        if self.percent < _NEWS:
            return "info"
        return "failure" if self.percent >= _ALL and not self.warns else "warning"

    @property
    def title(self) -> str:
        """A headline, for channels that show one."""
        return one_line(f"Aideon Agents: {self.percent} % of the {self.scope} budget is spent")

    def __str__(self) -> str:
        budget = f"the {self.scope} budget of {_dollars(self.limit_nanousd)}{self._where()}"
        spent = f"{self.percent} % is spent, {_dollars(self.spent_nanousd)}"
        return one_line(f"{budget}: {spent}{self._what_now()}")

    def _where(self) -> str:
        places = [f"{self.window}, UTC"] if self.window else []
        kind = self.scope.removeprefix("day:").removeprefix("month:").partition(":")[0]
        if self.run_id and kind == "run":
            places.append(f"run {self.run_id}")
        elif self.run_id and not self.window:
            places.append(f"reached in run {self.run_id}")
        return f" ({', '.join(places)})" if places else ""

    def _what_now(self) -> str:
        if self.percent < _ALL:
            return ""
        if self.warns:
            return "; it only warns, nothing is stopped"
        return "; calls are refused from here on"


def _dollars(nanousd: int) -> str:
    """An amount as people write it, and exact: `$5`, `$4.02`, `$0.0012345`."""
    whole, _, places = usd_text(usd(nanousd)).partition(".")
    cents = places.rstrip("0")
    return f"${whole}.{cents.ljust(2, '0')}" if cents else f"${whole}"


FILES = ("apprise.conf", "apprise.yml", "apprise.yaml")
"""The first is apprise's TEXT format, an address in each line; the others are its YAML format."""

_TALKERS = frozenset(
    ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib", "paho", "pika", "slixmpp")
)
"""Whose loggers may name an address, or part of one: apprise's, and those of its clients."""
_ANSWERED = re.compile(r"\berror=(\d{3})\b")
"""How apprise's services word an HTTP status."""


@dataclasses.dataclass(frozen=True)
class Channel:
    """One address, ready to be written to."""

    place: str
    """Where its address stands and what it is of: `.aideon/apprise.conf:3 (JSON)`."""
    service: NotifyBase = dataclasses.field(repr=False)
    """Holds the address."""

    def take(self, alert: Alert) -> str | None:
        """Deliver an alert, waiting for the answer."""
        from apprise import Apprise  # noqa: PLC0415 - optional, and slow to import

        with _HUSH.listening() as heard:
            try:
                # One by one, so that each is waited for in this thread: apprise's own pool of
                # threads would hold up the exit of the process for as long as a server hangs.
                taken = Apprise(self.service, asset=self.service.asset).notify(
                    title=alert.title,
                    body=str(alert),
                    notify_type=alert.urgency,
                    body_format="text",
                )
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a service stumbles over
                return f"it failed with {type(error).__name__}"
        if taken:
            return None
        answers = _ANSWERED.findall(" ".join(heard))
        return f"it answered {answers[-1]}" if answers else "it could not be reached or said no"


@dataclasses.dataclass(frozen=True)
class Channels:
    """What the files of a folder hold."""

    usable: tuple[Channel, ...] = ()
    """In the order of the files, and of the addresses in them."""
    problems: tuple[str, ...] = ()
    """One line for each file that is not in order."""


def files(folder: Path) -> list[Path]:
    """The files with addresses that there are, also those that cannot be read."""
    return [path for name in FILES if _is_there(path := folder / name)]


def read(folder: Path) -> Channels:
    """Read the addresses of a folder. Nobody is contacted."""
    found = files(folder)
    if not found:
        return Channels()
    with _HUSH.listening():
        return _in_files(found)


class _Hush(logging.Filter):
    """Keeps from every log what is said in a thread while that thread listens."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    @contextlib.contextmanager
    def listening(self) -> Generator[list[str]]:
        """Hear the warnings and errors of apprise and its clients instead of having them logged."""
        logging.getLogger("apprise")  # what it says while it is imported as well
        for name, logger in dict(logging.root.manager.loggerDict).items():
            if name.partition(".")[0] in _TALKERS and isinstance(logger, logging.Logger):
                logger.addFilter(self)  # which adds it once
        outside = getattr(self._here, "heard", None)
        self._here.heard = heard = list[str]()
        try:
            yield heard
        finally:
            self._here.heard = outside

    def filter(self, record: logging.LogRecord) -> bool:
        heard: list[str] | None = getattr(self._here, "heard", None)
        if heard is None:
            return True  # somebody else's
        if record.levelno >= logging.WARNING:
            heard.append(record.getMessage())
        return False


_HUSH = _Hush()


def _in_files(found: list[Path]) -> Channels:
    try:
        from apprise import AppriseAsset  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        pip = "pip install 'aideon-agents[alerts]'"
        return Channels(problems=(f"{found[0]}: its channels get no alerts: {pip}",))
    asset = AppriseAsset(
        app_id="Aideon Agents",
        app_desc="Aideon Agents",
        # A POST that is redirected becomes a GET, loses the alert, and looks delivered.
        http_redirects=False,
        # A time limit of apprise's own is kept with its pool of threads; see Channel.take.
        service_timeout=0,
    )
    each = [_in_file(path, asset) for path in found]
    return Channels(
        tuple(channel for one in each for channel in one.usable),
        tuple(problem for one in each for problem in one.problems),
    )


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return True


def _in_file(path: Path, asset: AppriseAsset) -> Channels:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        return Channels(problems=(f"{path} cannot be read ({why}): its channels get no alerts",))
    return _in_text(path, text, asset) if path.suffix == ".conf" else _in_yaml(path, text, asset)


def _in_text(path: Path, text: str, asset: AppriseAsset) -> Channels:
    """Read line by line, so that a wrong one is named and the others hold."""
    usable: list[Channel] = []
    wrong: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        services, is_clear = _parsed(line, "text", asset)
        usable += [Channel(_place(f"{path}:{number}", one), one) for one in services]
        if not is_clear:
            wrong.append(str(number))
    if not wrong:
        return Channels(tuple(usable))
    lines = f"{path}:{wrong[0]}" if len(wrong) == 1 else f"{path}: lines {', '.join(wrong)}"
    no_use = "no address that apprise can use (includes are not followed): correct or remove it"
    return Channels(tuple(usable), (f"{lines}: {no_use}",))


def _in_yaml(path: Path, text: str, asset: AppriseAsset) -> Channels:
    services, is_clear = _parsed(text, "yaml", asset)
    usable = tuple(
        Channel(_place(f"{path} address {number}", one), one)
        for number, one in enumerate(services, 1)
    )
    if usable and is_clear:
        return Channels(usable)
    most = "some of it is" if usable else "it holds"
    problem = f"{path}: {most} no address that apprise can use (includes are not followed)"
    ask = f"apprise -vv --dry-run -b test -c {shlex.quote(str(path))}"
    return Channels(usable, (f"{problem}: `{ask}` says why",))


def _parsed(text: str, written_as: str, asset: AppriseAsset) -> tuple[list[NotifyBase], bool]:
    """The services in a text that can be used, and whether that is all there is in it."""
    from apprise import ConfigBase, NotifyBase  # noqa: PLC0415 - as above

    with _HUSH.listening() as heard:
        found, includes = ConfigBase.config_parse(text, asset=asset, config_format=written_as)
    services = [one for one in found if isinstance(one, NotifyBase) and one.enabled]
    return services, not heard and not includes and len(services) == len(found)


def _place(where: str, service: NotifyBase) -> str:
    return f"{where} ({service.service_name})"


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
        if told and folder is not None and files(folder):
            _courier().hand_over(folder.absolute(), told)


def channels(folder: Path | None) -> tuple[tuple[str, ...], str | None]:
    """What alerts can be delivered by, without contacting anyone."""
    found = read(folder) if folder is not None else Channels()
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
        found = read(folder)  # again each time: it may have been mended
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
