"""Claims of items: of the workers that read the same row one can start the item and record its end."""

from __future__ import annotations

import dataclasses

import pytest

from aideon_agents.errors import RunError
from aideon_agents.ledger import batch_items, batches, outputs
from aideon_agents.ledger.batch_items import ItemStart
from aideon_agents.ledger.batches import Batch


@pytest.fixture
def batch(ledger):
    """A batch that workers run."""
    start = Batch(
        batch_id="B1",
        identity="same",
        workflow="two",
        target="two.py",
        rehearsed=False,
        engine=batches.DISTRIBUTED,
        items=2,
        item_limit_nanousd=None,
        out_path="out.jsonl",
        work={"target": "two.py"},
    )
    batches.take(ledger, start, None)
    return start


def seen(attempts, run_id="R1"):
    return ItemStart(
        batch_id="B1",
        position=0,
        item_id="a",
        run_id=run_id,
        is_new=not attempts,
        limit_nanousd=None,
        seen_attempts=attempts,
    )


def begin(ledger, start):
    with ledger.database.transaction() as tx:
        batch_items.begin(tx, start)


def test_of_two_workers_that_read_the_same_row_one_starts_the_item(ledger, batch):
    begin(ledger, seen(0, "R1"))
    with pytest.raises(batch_items.StaleClaim):
        begin(ledger, seen(0, "R2"))
    (row,) = batch_items.rows(ledger, "B1", 0, 1)
    assert (row.run_id, row.attempts) == ("R1", 1)


def test_a_stale_claim_is_found_also_under_the_same_run(ledger, batch):
    first, second = seen(0), seen(1)
    begin(ledger, first)
    assert batch_items.newer_claim(ledger.database, first) is None
    begin(ledger, second)
    assert batch_items.newer_claim(ledger.database, first) == ("R1", 2)
    assert batch_items.newer_claim(ledger.database, second) is None


def test_without_other_workers_no_claim_is_stale(ledger, batch):
    alone = dataclasses.replace(seen(0), seen_attempts=None)
    begin(ledger, alone)
    begin(ledger, alone)
    assert batch_items.newer_claim(ledger.database, alone) is None


def test_no_item_of_a_batch_that_was_halted_starts(ledger, batch):
    batches.halt(ledger, "B1", "budget")
    with pytest.raises(batch_items.Halted):
        begin(ledger, seen(0))
    assert batch_items.rows(ledger, "B1", 0, 1) == []


def test_the_first_reason_and_the_hardest_end_win(ledger, batch):
    batches.halt(ledger, "B1", "budget")
    batches.halt(ledger, "B1", "interrupted", cut_off=True)
    batches.halt(ledger, "B1", "cancelled")
    (found,) = batches.running(ledger)
    assert (found.stop_reason, found.is_cancelled, found.is_cut_off) == ("budget", True, True)
    assert found.work == {"target": "two.py"}


def test_a_batch_without_its_process_continues_until_it_is_cancelled(ledger, batch):
    ledger.database.write("UPDATE batches SET pid = 1, process_start = 'long ago'", {})
    (found,) = batches.running(ledger)
    assert (found.status, found.is_abandoned) == ("running", True)
    batches.refuse_if_running(found)
    batches.end_abandoned(ledger, found)
    (ended,) = batches.batches(ledger, 1)
    assert (ended.status, ended.stop_reason) == ("stopped", "cancelled")
    assert batches.running(ledger) == []


def test_a_refusal_is_kept_until_the_batch_is_started_again(ledger, batch):
    batches.refuse(ledger, "B1", "another\nversion")
    batches.refuse(ledger, "B1", "no file")
    assert [one["reason"] for one in batches.refusals(ledger, "B1")] == ["no file"]
    batches.finish(ledger, "B1", "stopped", "interrupted")
    batches.take(ledger, batch, None)
    assert batches.refusals(ledger, "B1") == []


def test_a_cancel_does_not_soften_an_earlier_cut_off(ledger, batch):
    batches.halt(ledger, "B1", "interrupted", cut_off=True)
    batches.cancel(ledger, "B1")
    (found,) = batches.running(ledger)
    assert found.is_cut_off


def test_the_longest_id_can_be_kept(ledger, batch):
    longest = "".join(chr(0x1F300 + number * 7919 % 700) for number in range(500))
    begin(ledger, dataclasses.replace(seen(0), item_id=longest))
    (row,) = batch_items.rows(ledger, "B1", 0, 1)
    assert row.item_id == longest


def test_a_process_whose_batch_was_taken_over_is_refused_and_deletes_nothing(ledger, batch):
    with ledger.database.transaction() as tx:
        batch_items.mark_invalid(tx, "B1", 0, "a", "no task")
    assert not batches.heartbeat(ledger, "B1")
    ledger.database.write("UPDATE batches SET host = 'another', pid = 7", {})
    with pytest.raises(RunError, match="batch B1 was taken over by process 7 on another"):
        batches.heartbeat(ledger, "B1")
    outputs.written(ledger, "B1", 1)
    assert len(outputs.in_order(ledger, "B1", 0, 9)) == 1


def test_the_graph_of_a_batch_is_kept_once(ledger, batch):
    assert batches.graph_of(ledger, "B1") is None
    batches.finish(ledger, "B1", "stopped", None)
    batches.take(ledger, batch, None, {"nodes": ["熱"]})
    assert batches.graph_of(ledger, "B1") == {"nodes": ["熱"]}
    assert batches.graph_of(ledger, "B2") is None
