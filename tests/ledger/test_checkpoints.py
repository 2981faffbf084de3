"""The file in which runs keep their state."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.types import ERROR

from aideon_agents.errors import LedgerError
from aideon_agents.ledger import checkpoints
from aideon_agents.ledger.checkpoints import checkpoints_path, open_checkpointer, remove
from aideon_agents.ledger.store import Ledger

PLACE = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


@pytest.fixture
def ledger(tmp_path):
    """In a file: a server's is tried where the server is."""
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


async def test_those_who_use_it_share_it_and_it_is_closed_when_it_is_idle(
    ledger, monkeypatch, pass_time, until
):
    monkeypatch.setattr(checkpoints, "_IDLE", 600)
    async with open_checkpointer(ledger, [str]) as first:
        async with open_checkpointer(ledger, []) as second:
            assert first.conn is second.conn
            assert first.serde is not second.serde
        assert await first.names() == set()
    async with open_checkpointer(ledger, []) as third:
        assert third.conn is first.conn

    def is_closed():
        try:
            first.conn.execute("SELECT 1")
        except sqlite3.ProgrammingError as error:
            return "closed" in str(error)
        return False

    assert not is_closed()
    pass_time(600)
    await until(is_closed)
    async with open_checkpointer(ledger, []) as fourth:
        assert fourth.conn is not first.conn


async def test_what_is_under_way_is_kept_and_what_comes_later_is_not(ledger, caplog):
    later = {"configurable": {"thread_id": "later", "checkpoint_ns": ""}}
    async with open_checkpointer(ledger, []) as saver:
        saving = asyncio.create_task(saver.aput(PLACE, empty_checkpoint(), {}, {}))
        await asyncio.sleep(0)
    await saving
    await saver.aput(later, empty_checkpoint(), {}, {})
    async with open_checkpointer(ledger, []) as saver:
        assert await saver.names() == {"t"}
    assert caplog.records == []


def test_each_event_loop_has_it_open_for_itself(ledger):
    async def named():
        async with open_checkpointer(ledger, []) as saver:
            await saver.aput(PLACE, empty_checkpoint(), {}, {})
            return await saver.names()

    assert asyncio.run(named()) == asyncio.run(named()) == {"t"}


async def test_a_file_that_another_process_writes_to_is_one_line(ledger):
    async with open_checkpointer(ledger, []):
        pass
    with contextlib.closing(sqlite3.connect(checkpoints_path(ledger))) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="is locked by another process"):
            async with open_checkpointer(ledger, [], busy_seconds=0):
                pass
    async with open_checkpointer(ledger, []) as saver:  # and later it is used as ever
        assert await saver.names() == set()


def in_the_file(ledger, sql):
    """What a statement says of the file, as another process sees it."""
    with contextlib.closing(sqlite3.connect(checkpoints_path(ledger))) as file, file:
        return file.execute(sql).fetchall()


async def test_of_writes_that_fail_midway_nothing_is_kept_and_it_is_said_once(ledger, caplog):
    caplog.set_level(logging.WARNING)
    place = {"configurable": {**PLACE["configurable"], "checkpoint_id": "1"}}
    async with open_checkpointer(ledger, []) as saver:
        in_the_file(
            ledger,
            "CREATE TRIGGER second BEFORE INSERT ON writes WHEN NEW.idx = 1 "
            "BEGIN SELECT RAISE(ABORT, 'no more'); END",
        )
        await saver.aput_writes(place, [("a", 1), ("b", 2)], "task")
        await saver.aput_writes(place, [("a", 1), ("b", object())], "task")
        config = await saver.aput(PLACE, empty_checkpoint(), {}, {})
        found = await saver.aget_tuple(config)
    assert (in_the_file(ledger, "SELECT * FROM writes"), found.pending_writes) == ([], [])
    assert len(caplog.messages) == 1
    assert "no more" in caplog.messages[0]


async def test_of_an_error_its_text_is_kept_without_keys_and_answers(ledger):
    place = {"configurable": {**PLACE["configurable"], "checkpoint_id": "1"}}
    error = ValueError('no: sk-abcdefghijklmnop1234; it begins "a secret"')
    async with open_checkpointer(ledger, []) as saver:
        await saver.aput_writes(place, [(ERROR, error)], "task")
    ((value,),) = in_the_file(ledger, "SELECT value FROM writes")
    assert b"sk-" not in value
    assert b"secret" not in value
    assert b"no: [key]" in value


async def test_what_is_removed_is_counted_and_what_is_not_there_passed_over(ledger):
    assert await remove(ledger, ["t"]) == 0
    async with open_checkpointer(ledger, []) as saver:
        await saver.aput(PLACE, empty_checkpoint(), {}, {})
    assert await remove(ledger, ["t", "u"]) == 1
    assert await remove(ledger, []) == 0


async def test_what_cannot_be_removed_is_one_line(ledger):
    async with open_checkpointer(ledger, []) as saver:
        await saver.aput(PLACE, empty_checkpoint(), {}, {})
    in_the_file(
        ledger,
        "CREATE TRIGGER stays BEFORE DELETE ON checkpoints "
        "BEGIN SELECT RAISE(ABORT, 'it stays'); END",
    )
    with pytest.raises(LedgerError, match="it stays"):
        await remove(ledger, ["t"])
