"""Alerts on their way: to the log, and over real HTTP to addresses of apprise."""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import apprise
import pytest
import warm

from aideon_agents.ledger.budgets import alerts
from aideon_agents.ledger.budgets.alerts import Alert

# apprise still asks for a module that Python is about to drop, and does without it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

ROOT = Path(__file__).parents[3]
OURS = "aideon_agents.budgets"
SECRET = "hush-hush-4711"
LONGEST = 60
"""Seconds after which a test gives up on what it waits for."""

HALF = Alert(
    scope="day",
    window="2026-11-21",
    run_id=None,
    percent=50,
    limit_nanousd=5_000_000_000,
    spent_nanousd=2_500_000_000,
    warns=False,
)
MOST = dataclasses.replace(HALF, percent=80, spent_nanousd=4_020_000_000)
ALL = dataclasses.replace(HALF, percent=100, spent_nanousd=5_000_000_000)


@pytest.fixture
def sender(monkeypatch):
    """The deliveries of a process that has told nobody of anything yet."""
    fresh = alerts.AlertSender()
    monkeypatch.setattr(alerts, "_senders", {os.getpid(): fresh})
    yield fresh
    settle(fresh)


@pytest.fixture
def log(caplog):
    """Every line of every logger, down to the last detail, and no address in any."""
    with caplog.at_level(0):
        yield caplog
    said = [str(vars(one)) for one in caplog.get_records("call")]
    assert [one for one in said if SECRET in one or "127.0.0.1" in one] == []


def settle(sender):
    """Wait until nothing is under way."""
    if thread := sender._thread:
        thread.join(LONGEST)
        assert not thread.is_alive()


def conf(folder, *lines):
    (folder / "apprise.conf").write_text("\n".join(lines), encoding="utf-8")


def lines(log):
    return [(one.levelname, one.getMessage()) for one in log.records if one.name == OURS]


def test_an_alert_is_logged_at_once_and_as_loud_as_it_is_urgent(tmp_path, log, sender):
    alerts.send([HALF, MOST, ALL], tmp_path)
    alerts.send(iter([HALF]), None)
    assert lines(log) == [
        ("INFO", str(HALF)),
        ("WARNING", str(MOST)),
        ("WARNING", str(ALL)),
        ("INFO", str(HALF)),
    ]
    assert sender._thread is None  # without channels there is nothing to do


def test_every_channel_gets_every_alert_once_and_in_order(tmp_path, log, sender, endpoint):
    conf(
        tmp_path,
        "# who is told",
        "",
        f"{endpoint.address}/first/{SECRET}",
        f"ops={endpoint.address}/second",
    )
    (tmp_path / "apprise.yml").write_text(f"urls:\n  - {endpoint.address}/third\n")
    alerts.send([HALF, MOST, ALL], tmp_path)
    settle(sender)
    posted = endpoint.all()
    assert [path for path, _ in posted] == [
        *[f"/first/{SECRET}"] * 3,
        *["/second"] * 3,
        *["/third"] * 3,
    ]
    said = [(body["title"], body["message"], body["type"]) for _, body in posted]
    assert said == 3 * [
        (HALF.title, str(HALF), "info"),
        (MOST.title, str(MOST), "warning"),
        (ALL.title, str(ALL), "failure"),
    ]
    assert [message for _, message in lines(log)] == [str(HALF), str(MOST), str(ALL)]


def test_whoever_tells_waits_for_no_channel(tmp_path, log, sender, endpoint):
    conf(tmp_path, f"{endpoint.address}/hang")
    alerts.send([HALF], tmp_path)
    assert endpoint.posted.get(timeout=LONGEST)[1]["message"] == str(HALF)
    alerts.send([MOST], tmp_path)  # the server still holds the first
    alerts.send([ALL], tmp_path)
    assert endpoint.posted.empty()
    endpoint.go_on.set()
    settle(sender)
    assert [body["message"] for _, body in endpoint.all()] == [str(MOST), str(ALL)]


def test_what_waits_behind_a_channel_that_hangs_is_bounded(tmp_path, log, sender, endpoint):
    conf(tmp_path, f"{endpoint.address}/hang")
    alerts.send([HALF], tmp_path)
    endpoint.posted.get(timeout=LONGEST)
    alerts.send([MOST] * 102, tmp_path)
    assert lines(log)[-1] == (
        "WARNING",
        "2 alerts can only be logged: 100 still wait for their channels",
    )
    endpoint.go_on.set()
    settle(sender)
    assert len(endpoint.all()) == 100


@dataclasses.dataclass(frozen=True)
class Broken:
    """A channel that does not take alerts, and what is said of it."""

    address: str
    why: str


@pytest.mark.parametrize(
    "broken",
    [
        Broken("{endpoint}/no", "it answered 500"),
        Broken("{endpoint}/moved", "it answered 302"),
        Broken("{endpoint}/hang/?rto=0.2", "it could not be reached, or refused it"),
        Broken("json://127.0.0.1:{closed}", "it could not be reached, or refused it"),
    ],
)
def test_a_broken_channel_is_named_and_costs_the_others_nothing(
    tmp_path, log, sender, endpoint, broken
):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and never listened on
        address = broken.address.format(endpoint=endpoint.address, closed=unused.getsockname()[1])
        secret = f"user:{SECRET}@127.0.0.1"
        conf(tmp_path, address.replace("127.0.0.1", secret), f"{endpoint.address}/good")
        alerts.send([HALF, MOST], tmp_path)
        settle(sender)
    where = f"{tmp_path / 'apprise.conf'}:1 (JSON)"
    assert lines(log)[2:] == [("WARNING", f"{where} did not get 2 alerts: {broken.why}")]
    good = [body["message"] for path, body in endpoint.all() if path == "/good"]
    assert good == [str(HALF), str(MOST)]


def test_a_channel_that_raises_is_named_without_what_it_said(
    tmp_path, log, sender, monkeypatch, endpoint
):
    def stumble(self, *_, **__):
        raise SystemExit(SECRET)

    monkeypatch.setattr(apprise.NotificationManager()["xml"], "send", stumble)
    conf(tmp_path, f"xml://127.0.0.1/{SECRET}", endpoint.address)
    alerts.send([HALF], tmp_path)
    settle(sender)
    (said,) = lines(log)[1:]
    assert said[1].endswith(":1 (XML) did not get 1 alert: it failed with SystemExit")
    assert len(endpoint.all()) == 1


def test_wrong_addresses_are_named_by_line_once_and_the_others_hold(
    tmp_path, log, sender, endpoint
):
    conf(
        tmp_path,
        f"nobody-knows://{SECRET}",
        endpoint.address,
        f"what is this {SECRET}?",
        f"include http://127.0.0.1/{SECRET}",
        "friends = family",
    )
    problem = (
        f"{tmp_path / 'apprise.conf'}: lines 1, 3, 4: no address that apprise can use"
        " (includes are not followed): correct or remove it"
    )
    assert alerts.channels(tmp_path) == ((f"{tmp_path / 'apprise.conf'}:2 (JSON)",), problem)
    for alert in (HALF, MOST):
        alerts.send([alert], tmp_path)
        settle(sender)
    assert lines(log) == [("INFO", str(HALF)), ("WARNING", problem), ("WARNING", str(MOST))]
    assert len(endpoint.all()) == 2


def test_one_wrong_address_is_named_as_file_and_line(tmp_path, log):
    conf(tmp_path, f"nobody-knows://{SECRET}")
    places, problem = alerts.channels(tmp_path)
    assert (places, problem.split(": ")[0]) == ((), f"{tmp_path / 'apprise.conf'}:1")


@pytest.mark.parametrize(
    ("text", "count", "most"),
    [
        ("urls:\n  - nobody-knows://{secret}\n  - json://127.0.0.1:1\n", 1, "some of it is"),
        ("include: http://127.0.0.1/{secret}\nurls:\n  - json://127.0.0.1:1\n", 1, "some of it is"),
        ("url: json://127.0.0.1/{secret}\n", 0, "it holds"),
        ("urls: [{secret}", 0, "it holds"),
    ],
)
def test_a_yaml_file_that_is_not_in_order_is_said_with_how_to_find_out(
    tmp_path, log, text, count, most
):
    path = tmp_path / "apprise.yaml"
    path.write_text(text.replace("{secret}", SECRET), encoding="utf-8")
    problem = (
        f"{path}: {most} no address that apprise can use (includes are not followed):"
        f" `apprise -vv --dry-run -b test -c {path}` says why"
    )
    places, said = alerts.channels(tmp_path)
    assert (len(places), said) == (count, problem)


def test_a_service_whose_own_package_is_missing_is_no_channel(tmp_path, log, monkeypatch):
    monkeypatch.setattr(apprise.NotificationManager()["xml"], "enabled", False)
    conf(tmp_path, f"xml://127.0.0.1/{SECRET}", "json://127.0.0.1:1")
    places, problem = alerts.channels(tmp_path)
    assert len(places) == 1
    assert problem.startswith(f"{tmp_path / 'apprise.conf'}:1: ")


def test_a_file_that_cannot_be_read_is_said_once_and_hurts_nobody(tmp_path, log, sender):
    path = tmp_path / "apprise.conf"
    path.symlink_to(path)
    (tmp_path / "apprise.yml").write_bytes(b"\xff\xfe\xff")
    places, problem = alerts.channels(tmp_path)
    assert places == ()
    assert "apprise.conf cannot be read (" in problem
    assert "apprise.yml cannot be read (it is not UTF-8): its channels get no alerts" in problem
    for _ in range(2):
        alerts.send([HALF], tmp_path)
        settle(sender)
    assert [level for level, _ in lines(log)] == ["INFO", "WARNING", "WARNING", "INFO"]


def test_without_apprise_the_missing_extra_is_named_once(tmp_path, log, sender, monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    conf(tmp_path, f"json://127.0.0.1/{SECRET}")
    problem = (
        f"{tmp_path / 'apprise.conf'}: its channels get no alerts:"
        " pip install 'aideon-agents[alerts]'"
    )
    assert alerts.channels(tmp_path) == ((), problem)
    for _ in range(2):
        alerts.send([HALF], tmp_path)
        settle(sender)
    assert lines(log) == [("INFO", str(HALF)), ("WARNING", problem), ("INFO", str(HALF))]


def test_what_breaks_inside_apprise_is_one_line_and_the_next_alert_is_tried(
    tmp_path, log, sender, monkeypatch, endpoint
):
    def stumble(*_, **__):
        raise RuntimeError(SECRET)

    conf(tmp_path, endpoint.address)
    with monkeypatch.context() as broken:
        broken.setattr(apprise.ConfigBase, "config_parse", stumble)
        alerts.send([HALF], tmp_path)
        settle(sender)
    alerts.send([MOST], tmp_path)
    settle(sender)
    assert lines(log)[1] == (
        "WARNING",
        "alerts could not be delivered: RuntimeError in apprise",
    )
    assert [body["message"] for _, body in endpoint.all()] == [str(MOST)]


def test_naming_channels_contacts_nobody_and_shows_no_address(tmp_path, log, endpoint):
    conf(tmp_path, f"{endpoint.address}/{SECRET}", f"json://user:{SECRET}@127.0.0.1:1")
    path = tmp_path / "apprise.conf"
    assert alerts.channels(tmp_path) == ((f"{path}:1 (JSON)", f"{path}:2 (JSON)"), None)
    assert endpoint.all() == []
    assert SECRET not in repr(alerts.read_channels(tmp_path))
    assert alerts.channels(tmp_path / "nowhere") == ((), None)
    assert alerts.channels(None) == ((), None)


def test_what_others_say_through_apprise_stays_in_their_log(tmp_path, log, sender, endpoint):
    conf(tmp_path, endpoint.address)
    alerts.send([HALF], tmp_path)
    settle(sender)
    logging.getLogger("apprise").warning("somebody else's news")
    assert "somebody else's news" in log.text
    assert {one.name for one in log.records} == {OURS, "apprise"}


def test_an_alert_that_cannot_be_logged_disturbs_nobody(tmp_path, sender):
    class Stumbling(logging.Filter):
        def filter(self, record):
            raise RuntimeError("a filter of somebody's")

    stumbling = Stumbling()
    logging.getLogger(OURS).addFilter(stumbling)
    try:
        alerts.send([MOST], tmp_path)
    finally:
        logging.getLogger(OURS).removeFilter(stumbling)


def test_without_a_thread_to_be_had_an_alert_waits_for_the_next_one(
    tmp_path, log, sender, monkeypatch, endpoint
):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    conf(tmp_path, endpoint.address)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        alerts.send([HALF], tmp_path)
    alerts.send([MOST], tmp_path)
    settle(sender)
    assert [body["message"] for _, body in endpoint.all()] == [str(HALF), str(MOST)]


def test_the_end_of_a_process_says_what_nobody_delivered(
    tmp_path, log, sender, monkeypatch, endpoint
):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    conf(tmp_path, endpoint.address)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        alerts.send([HALF], tmp_path)
    for _ in range(2):
        alerts._finish()
    alerts._senders.clear()  # a forked process that told nothing
    alerts._finish()
    assert lines(log)[1:] == [
        ("WARNING", "1 alert may not have reached every channel before the process ended")
    ]
    assert endpoint.all() == []


PRELUDE = """
import logging, os, sys
from pathlib import Path
from aideon_agents.ledger.budgets.alerts import Alert
from aideon_agents.ledger.budgets.alerts import send

logging.basicConfig(level=logging.DEBUG, format="%(message)s")
alert = Alert(scope="day", window="2026-11-21", run_id=None, percent=80,
              limit_nanousd=5_000_000_000, spent_nanousd=4_020_000_000, warns=False)
folder = Path(sys.argv[1])
"""


def process(folder, source, stdin=subprocess.DEVNULL):
    """Run a program that tells an alert, as a process of its own."""
    done = warm.run(
        ["-c", PRELUDE + textwrap.dedent(source), folder],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    assert SECRET not in done.stderr
    return done


def test_a_process_that_ends_at_once_still_delivers(tmp_path, endpoint):
    conf(tmp_path, f"{endpoint.address}/{SECRET}")
    done = process(tmp_path, "send([alert], folder)")
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"{MOST}\n"
    assert [body["message"] for _, body in endpoint.all()] == [str(MOST)]


def test_a_process_ends_although_a_channel_hangs_and_says_what_it_left(tmp_path, endpoint):
    conf(tmp_path, f"{endpoint.address}/hang/{SECRET}/?rto=600")
    done = process(tmp_path, "send([alert, alert], folder)")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[2:] == [
        "2 alerts may not have reached every channel before the process ended"
    ]


def test_a_process_that_is_gone_in_an_instant_has_logged_its_alert(tmp_path, endpoint):
    conf(tmp_path, endpoint.address)
    done = process(tmp_path, "send([alert], folder); os._exit(7)")
    assert (done.returncode, done.stderr) == (7, f"{MOST}\n")


def test_a_forked_process_delivers_its_own_alerts_and_nobody_elses(tmp_path, endpoint):
    conf(tmp_path, f"{endpoint.address}/hang")
    (tmp_path / "good").write_text(f"{endpoint.address}/good")
    source = """
    send([alert], folder)
    sys.stdin.read(1)  # the server has it, and holds it
    child = os.fork()
    if not child:
        (folder / "apprise.conf").write_text((folder / "good").read_text())
        send([alert], folder)
        sys.exit(3)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    hears, says = os.pipe()

    def let_it_fork():
        endpoint.posted.get(timeout=LONGEST)
        os.write(says, b"!")

    waiting = threading.Thread(target=let_it_fork)
    waiting.start()
    done = process(tmp_path, source, stdin=hears)
    waiting.join(LONGEST)
    os.close(hears)
    os.close(says)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count(str(MOST)) == 2
    assert "may not have reached" not in done.stderr
    assert [path for path, _ in endpoint.all()] == ["/good"]
