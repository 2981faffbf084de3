"""The chain of the audit log: what it finds, and that processes append to it at once."""

from __future__ import annotations

import dataclasses
import json
import subprocess

import pytest
import warm

from aideon_agents.access import audit
from aideon_agents.access.audit import By
from aideon_agents.ledger.store import Ledger

RING = {"id1": bytes(range(128, 160))}
NEWER = {"id2": bytes(range(160, 192)), **RING}
SEALED = By("root", address="cli", ring=RING)

APPENDS = """
import sys
from aideon_agents.access import audit
from aideon_agents.access.audit import By
from aideon_agents.ledger.store import Ledger

with Ledger.from_url(sys.argv[1]) as ledger:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(25):
        with ledger.database.transaction() as tx:
            audit.record(tx, By(sys.argv[2]), "key.made", str(number))
"""


def append(ledger, by, count=3):
    for number in range(count):
        with ledger.database.transaction() as tx:
            audit.record(tx, by, "key.made", f"k{number}", after={"name": "Schlüssel"})


def changed(ledger, sql, **values):
    assert ledger.database.write(sql, values) == 1


def test_a_chain_is_whole_and_its_head_is_the_newest_digest(ledger, by):
    assert audit.head(ledger) == (0, None)
    assert audit.check(ledger, {}) == audit.Checked(0, None)
    append(ledger, by)
    number, digest = audit.head(ledger)
    assert number == 3
    assert audit.check(ledger, {}) == audit.Checked(3, digest, without_ring=3)


def test_an_entry_says_who_did_what_to_what_and_how_it_came(ledger):
    who = By("ada", key_id="0123456789", request_id="r-1", address="127.0.0.1")
    append(ledger, who, 1)
    (entry,) = audit.entries(ledger)
    assert entry.pop("at") < "9"
    assert entry.pop("digest").startswith("sha256:")
    assert entry == {
        "number": 1,
        "actor": "ada",
        "key_id": "0123456789",
        "action": "key.made",
        "target": "k0",
        "before": None,
        "after": {"name": "Schlüssel"},
        "request_id": "r-1",
        "from": "127.0.0.1",
    }


@pytest.mark.parametrize("ring", [{}, RING], ids=["without ring", "with ring"])
@pytest.mark.parametrize(
    ("sql", "at"),
    [
        ("UPDATE audit SET body = replace(body, 'k1', 'k9') WHERE number = 2", 2),
        ("UPDATE audit SET digest = replace(digest, digest, digest || '0') WHERE number = 1", 1),
        ("DELETE FROM audit WHERE number = 2", 2),
        ("DELETE FROM audit WHERE number = 1", 1),
        ("UPDATE audit SET number = 7 WHERE number = 3", 3),
    ],
)
def test_an_entry_that_was_changed_or_removed_is_found(ledger, ring, sql, at):
    append(ledger, By("root", ring=ring))
    changed(ledger, sql)
    found = audit.check(ledger, ring)
    assert found.broken_at == at
    assert found.reason


def test_a_cut_tail_is_found_by_a_digest_that_was_kept(ledger, by):
    append(ledger, by)
    _, kept = audit.head(ledger)
    append(ledger, by)
    assert audit.check(ledger, {}, kept).broken_at is None
    ledger.database.write("DELETE FROM audit WHERE number >= 3", {})
    assert audit.check(ledger, {}).broken_at is None
    assert audit.check(ledger, {}, kept).broken_at == 3


def test_a_chain_made_anew_without_the_ring_does_not_pass_as_one_with_it(ledger, by):
    append(ledger, SEALED)
    assert audit.check(ledger, RING).without_ring == 0
    bodies = [row["body"] for row in ledger.select("SELECT body FROM audit ORDER BY number")]
    ledger.database.write("DELETE FROM audit", {})
    for body in bodies:  # what a person who can only write to the ledger can do
        with ledger.database.transaction() as tx:
            audit.record(tx, by, json.loads(body)["action"], "another")
    assert audit.check(ledger, RING).without_ring == 3


def test_a_ring_with_a_new_first_key_still_checks_what_the_old_one_made(ledger):
    append(ledger, SEALED)
    append(ledger, dataclasses.replace(SEALED, ring=NEWER))
    begins = [one["digest"].partition(":")[0] for one in audit.entries(ledger)]
    assert begins == ["id2"] * 3 + ["id1"] * 3
    assert audit.check(ledger, NEWER) == audit.Checked(6, audit.head(ledger)[1])
    assert audit.check(ledger, RING).not_checked == 3
    assert audit.check(ledger, RING).broken_at is None


def test_an_entry_is_undone_with_the_change_that_it_is_about(ledger, by):
    class Stop(Exception):  # noqa: N818 - ends the transaction
        pass

    append(ledger, by, 1)

    def undone():
        with ledger.database.transaction() as tx:
            audit.record(tx, by, "key.made", "gone")
            raise Stop

    with pytest.raises(Stop):
        undone()
    append(ledger, by, 1)
    assert [one["target"] for one in audit.entries(ledger)] == ["k0", "k0"]
    assert audit.check(ledger, {}).broken_at is None


def test_entries_are_read_a_page_at_a_time_newest_first(ledger, by):
    append(ledger, by, 5)
    assert [one["number"] for one in audit.entries(ledger, most=2)] == [5, 4]
    assert [one["number"] for one in audit.entries(ledger, before=4, most=2)] == [3, 2]


def test_the_head_is_logged_with_each_entry(ledger, by, caplog):
    with caplog.at_level("INFO", logger="aideon_agents.audit"):
        append(ledger, by, 1)
    assert audit.head(ledger)[1] in caplog.text


def test_several_processes_append_to_one_chain_at_once(ledger, ledger_url):
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [
        warm.Process(["-c", APPENDS, ledger_url, f"writer-{number}"], **piped)
        for number in range(4)
    ]
    for one in writers:
        assert one.stdout.readline() == "ready\n"
    for one in writers:
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in writers:
        one.communicate(timeout=60)
        assert one.returncode == 0
    assert audit.check(ledger, {}).entries == 100
    assert audit.check(ledger, {}).broken_at is None
    found = [(one["actor"], one["target"]) for one in audit.entries(ledger, most=200)]
    assert sorted(found) == sorted(
        (f"writer-{number}", str(target)) for number in range(4) for target in range(25)
    )


def test_a_long_chain_is_checked_in_parts(tmp_path, monkeypatch, by):
    monkeypatch.setattr(audit, "_AT_ONCE", 2)
    with Ledger(tmp_path / "ledger.db") as ledger:
        append(ledger, by, 5)
        assert audit.check(ledger, {}).entries == 5
        changed(ledger, "UPDATE audit SET body = '{}' WHERE number = 5")
        assert audit.check(ledger, {}).broken_at == 5
