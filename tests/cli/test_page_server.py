"""The server of a run's page, without a run's command around it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from urllib.parse import urlsplit

import pytest

from aideon_agents.cli import watch
from aideon_agents.cli.watch import PageServer, Watched
from aideon_agents.drawing.page.live import Live
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger


@pytest.fixture
def place(tmp_path):
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def begun(place):
    start = Run(workflow="slow")
    with Ledger.from_url(place) as ledger:
        ledger.start_run(start)
        yield start.run_id


def asked(server, path=""):
    whole = urlsplit(server.address)
    connection = http.client.HTTPConnection(whole.hostname, whole.port, timeout=30)
    connection.request("GET", whole.path + path)
    return connection.getresponse()


def test_while_nothing_happens_a_comment_keeps_the_connection(place, begun, monkeypatch):
    monkeypatch.setattr(watch, "_POLL", 0.001)
    live = Live(place, begun, None)
    with PageServer(live) as server:
        assert asked(server).status == 200
        answer = asked(server, "events?seen=1&viewer=1")
        assert answer.readline() == b": still here\n"
        live.over()
        said = answer.read().decode()
    assert "event: end\n" in said
    assert "id: " in said


def test_who_comes_back_names_what_he_has_seen(place, begun):
    live = Live(place, begun, None)
    with PageServer(live) as server:
        assert asked(server).status == 200
        live.over()
        whole = urlsplit(server.address)
        connection = http.client.HTTPConnection(whole.hostname, whole.port, timeout=30)
        connection.request("GET", f"{whole.path}events?seen=0", headers={"Last-Event-ID": "1"})
        said = connection.getresponse().read().decode()
    assert '"calls":[]' in said
    assert "workflow" not in said


def test_a_run_that_did_not_begin_has_no_page(place):
    live = Live(place, "01NOBODY", None)
    live.over()
    with PageServer(live) as server:
        assert asked(server).status == 503
        server.linger(0, expected=False)


def test_at_the_end_of_a_run_its_pages_are_told_before_anything_goes_on(place, begun):
    live = Live(place, begun, None)
    with PageServer(live) as server:
        assert asked(server).status == 200
        stream = asked(server, "events?seen=0&viewer=1")
        Watched(live, server, opens=False).end()
        assert live.is_final
    assert b"event: end\n" in stream.read()


def test_a_page_that_left_is_not_waited_for(place, begun):
    live = Live(place, begun, None)
    with PageServer(live) as server:
        assert asked(server).status == 200
        gone = asked(server, "events?seen=0&viewer=1")
        gone.fp.raw._sock.close()
        gone.close()
        live.over()
        server.linger(30, expected=True)
        assert not server._open
    assert live.is_final


def connected(server):
    whole = urlsplit(server.address)
    return socket.create_connection((whole.hostname, whole.port), timeout=30)


def test_a_head_that_comes_byte_by_byte_is_given_up(place, begun, monkeypatch):
    monkeypatch.setattr(watch, "_HEAD_SECONDS", 0.2)
    with PageServer(Live(place, begun, None)) as server, connected(server) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        slow.settimeout(0.05)
        end = time.monotonic() + 30
        said = None
        while said is None and time.monotonic() < end:
            try:
                slow.sendall(b"x")
                said = slow.recv(1)
            except TimeoutError:
                continue
            except ConnectionError:
                said = b""
        assert said == b""


def test_connections_are_limited_and_free_again_when_they_close(place, begun, monkeypatch):
    monkeypatch.setattr(watch, "_MOST_CONNECTIONS", 2)
    with PageServer(Live(place, begun, None)) as server:
        with connected(server), connected(server), connected(server) as third:
            assert third.recv(1) == b""
        end = time.monotonic() + 30
        status = None
        while status is None and time.monotonic() < end:
            with contextlib.suppress(OSError, http.client.HTTPException):
                status = asked(server).status
        assert status == 200


def test_the_body_of_a_request_is_not_read(place, begun):
    with PageServer(Live(place, begun, None)) as server, connected(server) as sender:
        sender.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        answer = b"".join(iter(lambda: sender.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 501 ")
