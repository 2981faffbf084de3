"""Where alerts go besides the log: apprise's addresses, in a file of the user's beside the ledger.

An address holds a secret: a webhook's path, a password. So it stands in no variable and no flag,
and nothing that apprise or its clients say while they read or use it reaches anybody's log: only
where it stands is named. What they say is heard here, to tell what became of a delivery.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import shlex
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from apprise import AppriseAsset, NotifyBase

    from aideon_agents.ledger.budgets.alerts import Alert

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
