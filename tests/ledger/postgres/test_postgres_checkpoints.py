"""The state of runs on a server: kept whole or not at all, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys

import psycopg
import pytest
import warm
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.types import interrupt

from aideon_agents import creative, resume, run, sequential
from aideon_agents.errors import LedgerError, TimeLimit
from aideon_agents.ledger.checkpoints import are_there, open_checkpointer, remove
from aideon_agents.ledger.store import Ledger

PUMPS = "Heat pumps move heat, quietly."
ENDS = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
    " WHERE application_name = 'aideon-agents'"
)
PLACE = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}

OPENS = """
import asyncio, sys
from aideon_agents.ledger.checkpoints import open_checkpointer
from aideon_agents.ledger.store import Ledger

async def names(ledger):
    async with open_checkpointer(ledger, []) as saver:
        print(await saver.names(), flush=True)

with Ledger.from_url(sys.argv[1]) as ledger:
    print("up", flush=True)
    sys.stdin.readline()
    asyncio.run(names(ledger))
"""


@pytest.fixture
def there(postgres_url):
    """A new ledger on the server."""
    with Ledger.from_url(postgres_url) as opened:
        yield opened


@pytest.fixture
def execute(postgres, postgres_url):
    """Runs statements as somebody else, where the ledger is."""
    schema = postgres_url.rpartition("%3D")[2]
    return lambda *statements: postgres.execute(f"SET search_path = {schema}", *statements)[1:]


@pytest.fixture
def said(postgres_url):
    """Everything in the tables of the checkpoints."""

    def read():
        with psycopg.connect(postgres_url) as connection:
            return str(
                [
                    connection.execute(f"TABLE {table}").fetchall()
                    for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
                ]
            )

    return read


def stops_once():
    limits = [TimeLimit(1)]

    def stops(state):
        if limits:
            raise limits.pop()
        return "done"

    return stops


def test_a_run_goes_on_where_it_stopped_and_leaves_no_word_behind(there, postgres_url, said):
    asked = []

    def first(state):
        asked.append(state["task"])
        return "quietly done"

    graph = sequential(first, stops_once())
    assert run(graph, PUMPS, ledger=there).status == "stopped"
    assert "quietly" in said()
    with Ledger.from_url(postgres_url) as elsewhere:
        assert resume(graph, ledger=elsewhere).status == "completed"
    assert asked == [PUMPS]
    assert "quietly" not in said()


def test_a_run_waits_for_an_answer_and_goes_on_with_it(there):
    graph = sequential(creative("draft"), lambda _: f"the answer is {interrupt('go on?')}")
    asked = run(graph, PUMPS, rehearse=True, ledger=there)
    assert (asked.status, asked.questions[0]["question"]) == ("waiting", "go on?")
    done = resume(graph, ledger=there, answer="yes")
    assert (done.status, done.output) == ("completed", "the answer is yes")


def test_a_conversation_goes_on_on_a_server(there):
    graph = sequential(creative("draft"))
    run(graph, "Pumps first.", thread="talk", rehearse=True, ledger=there)
    again = run(graph, "Then fans.", thread="talk", rehearse=True, ledger=there)
    assert "Pumps first." in again.output


def test_a_text_with_a_nul_is_kept_and_gone_on_with(there, caplog):
    def show(state):
        return repr(next(iter(state["results"].values())).content)

    graph = sequential(lambda _: "a\0b", stops_once(), show)
    assert run(graph, PUMPS, ledger=there).status == "stopped"
    done = resume(graph, ledger=there)
    assert (done.status, done.output) == ("completed", repr("a\0b"))
    assert "not kept" not in caplog.text


def test_connections_that_are_lost_in_the_middle_of_a_run_cost_it_nothing(there, postgres, caplog):
    def cuts(state):
        postgres.execute(ENDS)
        return "cut"

    graph = sequential(cuts, cuts, stops_once(), cuts)
    assert run(graph, PUMPS, ledger=there).status == "stopped"
    assert resume(graph, ledger=there).status == "completed"
    assert "not kept" not in caplog.text


def test_what_cannot_be_kept_is_told_once_and_the_last_whole_state_stays(there, execute, caplog):
    done = []

    def first(state):
        done.append("first")
        return "first"

    def breaks(state):
        done.append("second")
        execute("ALTER TABLE checkpoints RENAME TO elsewhere")
        return "second"

    def mends(state):
        done.append("third")
        with contextlib.suppress(psycopg.errors.UndefinedTable):  # it is mended once
            execute("ALTER TABLE elsewhere RENAME TO checkpoints")
        return "third"

    graph = sequential(first, breaks, mends, stops_once())
    assert run(graph, PUMPS, ledger=there).status == "stopped"
    told = [message for message in caplog.messages if "is not kept from here on" in message]
    assert len(told) == 1
    assert 'relation "checkpoints" does not exist' in told[0]

    before = len(done)
    with caplog.at_level(logging.CRITICAL):
        assert resume(graph, ledger=there).status == "completed"
    assert done[:before] == ["first", "second", "third"]
    assert done[before:] == ["third"], "what was done without a whole state is done again"


async def test_what_cannot_be_read_or_removed_is_one_line(there, execute):
    async with open_checkpointer(there, []) as saver:
        await saver.aput(PLACE, empty_checkpoint(), {}, {})
        execute("ALTER TABLE checkpoint_writes RENAME TO elsewhere")
        for use in (saver.aget_tuple(PLACE), saver.adelete_thread("t"), anext(saver.alist(PLACE))):
            with pytest.raises(LedgerError, match='"checkpoint_writes" does not exist'):
                await use
        execute("ALTER TABLE elsewhere RENAME TO checkpoint_writes")
        assert [one.config["configurable"]["thread_id"] async for one in saver.alist(PLACE)] == [
            "t"
        ]
        assert (await saver.aget_tuple(PLACE)).checkpoint["v"] == empty_checkpoint()["v"]
    assert await remove(there, ["t", "u"]) == 1
    assert await remove(there, ["t"]) == 0


async def test_somebody_who_is_cancelled_leaves_the_connection_as_it_was(there, execute):
    async with open_checkpointer(there, []) as saver:
        execute(
            "CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_sleep(30); RETURN NEW; END'",
            "CREATE TRIGGER naps BEFORE INSERT ON checkpoints FOR EACH ROW EXECUTE FUNCTION nap()",
        )
        saving = asyncio.create_task(saver.aput(PLACE, empty_checkpoint(), {}, {}))
        while execute("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == ["SELECT 0"]:
            await asyncio.sleep(0.01)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        assert await saver.names() == set()
        execute("DROP TRIGGER naps ON checkpoints")
        await saver.aput(PLACE, empty_checkpoint(), {}, {})
        assert await saver.names() == {"t"}


async def test_looking_whether_anything_is_kept_makes_no_tables(there):
    assert not are_there(there)
    assert await remove(there, ["t"]) == 0
    assert not are_there(there)
    async with open_checkpointer(there, []):
        assert are_there(there)


async def test_a_role_that_may_not_write_them_is_told_before_anything_is_paid(
    postgres, postgres_url, there, execute
):
    async with open_checkpointer(there, []):
        pass
    schema = postgres_url.rpartition("%3D")[2]
    execute(
        "CREATE ROLE narrow LOGIN",
        f"GRANT USAGE ON SCHEMA {schema} TO narrow",
        f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO narrow",
        "REVOKE INSERT ON checkpoint_blobs FROM narrow",
    )
    try:
        with Ledger.from_url(postgres_url.replace("postgres@", "narrow@")) as ledger:
            with pytest.raises(LedgerError, match="permission denied for table checkpoint_blobs"):
                run(creative("draft"), PUMPS, rehearse=True, ledger=ledger, thread="t")
            assert ledger.calls(ledger.find_run("last").run_id) == []
    finally:
        execute("DROP OWNED BY narrow", "DROP ROLE narrow")


async def test_a_server_that_went_away_before_is_one_line(postgres_of_its_own):
    with Ledger.from_url(postgres_of_its_own.url()) as ledger:
        postgres_of_its_own.stop()
        with pytest.raises(LedgerError, match="cannot be reached"):
            async with open_checkpointer(ledger, []):
                pass


def test_without_langgraphs_part_the_pip_line_is_said(there, monkeypatch):
    monkeypatch.setitem(sys.modules, "langgraph.checkpoint.postgres.aio", None)
    monkeypatch.delitem(sys.modules, "aideon_agents.ledger.postgres.checkpoints", raising=False)
    monkeypatch.delattr("aideon_agents.ledger.postgres.checkpoints", raising=False)
    with pytest.raises(LedgerError, match=r"pip install 'aideon-agents\[postgres\]'"):
        run(creative("draft"), PUMPS, rehearse=True, ledger=there, thread="t")


def test_processes_that_make_the_tables_at_once_make_them_once(postgres_url):
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = ["-c", OPENS, postgres_url]
    opening = [warm.Process(command, text=True, **piped) for _ in range(3)]
    assert [process.stdout.readline() for process in opening] == ["up\n"] * 3
    for process in opening:  # all are up before any of them asks
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60) for process in opening] == [("set()\n", "")] * 3
