"""Connections that are lost, servers that are stopped, and clients that stop in the middle."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
import warm

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.postgres import pool
from aideon_agents.ledger.postgres.address import Address
from aideon_agents.ledger.postgres.database import PostgresDatabase
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger

OURS = "application_name = 'aideon-agents' AND datname = current_database()"
ENDS = f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {OURS}"  # noqa: S608 - ours

STOPS_INSIDE = """
import os, signal, sys
from aideon_agents.errors import LedgerError
from aideon_agents.ledger.postgres.address import Address
from aideon_agents.ledger.postgres.database import PostgresDatabase

database = PostgresDatabase(Address.read(sys.argv[1]), stalled_seconds=0.1)
try:
    with database.transaction() as tx:
        tx.write("UPDATE runs SET tier = 'free'", {})
        print("inside", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        tx.write("UPDATE runs SET tier = 'enterprise'", {})
except LedgerError as error:
    print(error, flush=True)
print(database.write("UPDATE runs SET thread = 'alive'", {}), flush=True)
database.close()
"""

FORKS = """
import os, sys
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger

with Ledger.from_url(sys.argv[1]) as ledger:
    ledger.start_run(Run(workflow="before"))
    child = os.fork()
    if child == 0:
        ledger.start_run(Run(workflow="child"))
        ledger.close()
        os._exit(0)
    _, code = os.waitpid(child, 0)
    ledger.start_run(Run(workflow="after"))
    print(code, sorted(run.workflow for run in ledger.runs()))
"""


class Router:
    """Hands on what goes to a server, until it forgets the connections there are."""

    def __init__(self, server, folder):
        self._server = server
        self._forgotten, self._muted = threading.Event(), threading.Event()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / ".s.PGSQL.5432"))
        self._listening.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def forget(self):
        """End what there is at the next word, and not before."""
        self._forgotten.set()
        self._muted.set()

    def mute(self):
        """End what there is at the next answer, which is lost."""
        self._muted.set()

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(self._server.folder / ".s.PGSQL.5432"))
                self._forgotten.clear()
                self._muted.clear()
                ends = [
                    threading.Thread(target=self._hand_on, args=way)
                    for way in ((near, far, self._forgotten), (far, near, self._muted))
                ]
                for thread in ends:
                    thread.start()
                self._threads += ends

    def _hand_on(self, source, target, ended):
        with source:
            while (said := source.recv(65536)) and not ended.is_set():
                target.sendall(said)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def router(postgres, postgres_url, tmp_path):
    with contextlib.closing(Router(postgres, tmp_path)) as made:
        made.url = postgres_url.replace(str(postgres.folder), str(tmp_path))
        yield made


@pytest.fixture
def server_ledger(postgres_url):
    with Ledger.from_url(postgres_url) as opened:
        yield opened


def test_connections_that_the_server_has_ended_are_made_again_without_a_word(
    postgres, server_ledger
):
    first = server_ledger.start_run(Run(workflow="w"))
    postgres.execute(ENDS)
    assert server_ledger.find_run("last").run_id == first
    postgres.execute(ENDS)
    second = server_ledger.start_run(Run(workflow="w"))
    postgres.execute(ENDS)
    assert server_ledger.finish_run(second, "completed")
    assert [run.status for run in server_ledger.runs()] == ["completed", "running"]


def test_a_connection_that_ended_without_a_word_is_found_before_it_is_used(router, monkeypatch):
    monkeypatch.setattr(pool, "_UNUSED", 0)
    with Ledger.from_url(router.url) as ledger:
        ledger.database.write("CREATE TEMPORARY TABLE here (a TEXT)", {})
        router.forget()
        run_id = ledger.start_run(Run(workflow="w"))
        with pytest.raises(LedgerError, match="here"):
            ledger.select("SELECT * FROM here")
        assert ledger.finish_run(run_id, "completed")


def test_a_transaction_whose_connection_is_lost_is_done_again_from_its_beginning(
    postgres, server_ledger
):
    run_id = server_ledger.start_run(Run(workflow="w"))
    with server_ledger.database.transaction() as tx:
        tx.write("UPDATE runs SET pid = pid + 1", {})
        (before,) = tx.select("SELECT pid FROM runs", {})
        for _ in range(2):
            postgres.execute(ENDS)
            tx.write("UPDATE runs SET thread = 't'", {})
        postgres.execute(ENDS)
    (after,) = server_ledger.select("SELECT pid FROM runs")
    assert after == before
    assert server_ledger.find_run(run_id).thread == "t"


def test_a_transaction_whose_connection_is_lost_is_undone_where_rows_have_changed_since(
    postgres, server_ledger
):
    run_id = server_ledger.start_run(Run(workflow="w"))

    def cut(goes_on):
        with server_ledger.database.transaction() as tx:
            tx.select("SELECT tier FROM runs", {})
            tx.write("UPDATE runs SET thread = 't'", {})
            postgres.execute(ENDS, f"UPDATE {schema}.runs SET tier = tier || 'x'")  # noqa: S608 - ours
            if goes_on:
                tx.write("UPDATE runs SET user = 'u'", {})

    (row,) = server_ledger.select("SELECT current_schema() AS name")
    schema = row["name"]
    server_ledger.database.write("UPDATE runs SET tier = 'free'", {})
    for goes_on in (True, False):
        with pytest.raises(LedgerError, match="lost its connection"):
            cut(goes_on)
    assert server_ledger.find_run(run_id).thread is None
    with server_ledger.database.transaction() as tx:
        tx.write("UPDATE runs SET tier = 'free'", {})
    assert server_ledger.find_run(run_id).tier == "free"


def test_a_commit_that_was_done_but_not_confirmed_is_not_done_twice(
    router, server_ledger, monkeypatch
):
    run_id = server_ledger.start_run(Run(workflow="w", tier="free"))
    with Ledger.from_url(router.url) as ledger, ledger.database.transaction() as tx:
        assert tx.write("UPDATE runs SET tier = 'pro' WHERE tier = 'free'", {}) == 1
        router.mute()
    assert server_ledger.find_run(run_id).tier == "pro"


def test_a_transaction_that_was_spoilt_does_not_end_as_if_it_counted(server_ledger):
    def spoil():
        with server_ledger.database.transaction() as tx:
            tx.write("UPDATE runs SET tier = 'free'", {})
            with contextlib.suppress(LedgerError):
                tx.write("DELETE FROM elsewhere", {})

    with pytest.raises(LedgerError, match="was undone"):
        spoil()


def test_a_server_that_is_stopped_is_said_at_once_and_used_again_when_it_is_back(
    postgres_of_its_own, caplog, monkeypatch
):
    monkeypatch.setattr(pool, "_WAITS", 600)  # for a connection that others have
    monkeypatch.setattr(pool, "BUSY", 0)
    server = postgres_of_its_own
    with Ledger.from_url(server.url()) as ledger:
        run_id = ledger.start_run(Run(workflow="w"))
        server.stop()
        for _ in range(2):
            with pytest.raises(LedgerError, match="cannot be reached: start its server"):
                ledger.finish_run(run_id, "completed")
        assert caplog.records == []
        server.start()
        assert ledger.find_run(run_id).status == "running"
        assert ledger.finish_run(run_id, "completed")


def test_a_process_that_stops_in_a_transaction_holds_nobody_up_for_long(
    postgres_url, server_ledger
):
    run_id = server_ledger.start_run(Run(workflow="w"))
    with warm.Process(
        ["-c", STOPS_INSIDE, postgres_url], stdout=subprocess.PIPE, text=True
    ) as stopping:
        assert stopping.stdout.readline() == "inside\n"
        try:
            server_ledger.resume_run(server_ledger.find_run(run_id))  # which waits for its turn
            assert server_ledger.find_run(run_id).tier is None
        finally:
            os.kill(stopping.pid, signal.SIGCONT)
        said = stopping.stdout.readline()
        assert "was left in the middle of a change for too long, and the change was undone" in said
        assert stopping.stdout.readline() == "1\n"
    assert server_ledger.find_run(run_id).thread == "alive"


def test_many_ledgers_of_one_process_share_a_few_connections(postgres, postgres_url, monkeypatch):
    patient = {**PostgresDatabase.__init__.__kwdefaults__, "stalled_seconds": 60.0}
    monkeypatch.setattr(PostgresDatabase.__init__, "__kwdefaults__", patient)
    with contextlib.ExitStack() as opened, concurrent.futures.ThreadPoolExecutor(20) as pool:
        ledgers = [opened.enter_context(Ledger.from_url(postgres_url)) for _ in range(30)]
        list(pool.map(lambda ledger: ledger.start_run(Run(workflow="w")), ledgers * 4))
        used = f"SELECT FROM pg_stat_activity WHERE {OURS}"
        assert int(postgres.execute(used)[0].split()[1]) <= 4
        assert len(ledgers[0].runs()) == 120
    while postgres.execute(used) != ["SELECT 0"]:  # they end with the last ledger
        time.sleep(0.01)


def test_a_forked_process_has_connections_of_its_own_and_leaves_its_parents_alone(postgres_url):
    done = warm.run(["-c", FORKS, postgres_url], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0 ['after', 'before', 'child']\n", "")


def test_a_session_that_keeps_to_older_rows_by_default_reads_the_newest_in_a_transaction(
    postgres, postgres_url
):
    strict = f"{postgres_url}%20-cdefault_transaction_isolation%3Dserializable"
    with (
        Ledger.from_url(strict) as ledger,
        contextlib.closing(PostgresDatabase(Address.read(postgres_url))) as other,
    ):
        run_id = ledger.start_run(Run(workflow="w"))
        with ledger.database.transaction() as tx:
            other.write("UPDATE runs SET tier = 'free'", {})
            (row,) = tx.select("SELECT tier FROM runs WHERE run_id = :id", {"id": run_id})
            assert row["tier"] == "free"
            tx.write("UPDATE runs SET thread = 't'", {})


def test_a_text_with_a_nul_is_kept_with_a_sign_in_its_place(server_ledger):
    run_id = server_ledger.start_run(Run(workflow="w", thread="a\0b"))
    server_ledger.finish_run(run_id, "completed", output="c\0", results={"d": "e\0"})
    run = server_ledger.find_run(run_id)
    assert (run.thread, run.output, run.results) == ("a\ufffdb", "c\ufffd", {"d": "e\0"})
    found = server_ledger.select("SELECT run_id FROM runs WHERE thread = :t", {"t": "a\0b"})
    assert len(found) == 1
