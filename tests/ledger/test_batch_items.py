"""What an item asks of the ledger costs the same however many items its batch has."""

from __future__ import annotations

import pytest

from aideon_agents import Ledger
from aideon_agents.ledger import batch_items


class Noted:
    """Takes a statement instead of running it."""

    sql = ""

    def select(self, sql, values):
        self.sql = sql
        return []


def spent():
    """The statement that adds up what an item has cost."""
    noted = Noted()
    batch_items.spent(noted, "b", "i")
    return noted.sql


NAMES = {"batch_id": "b", "item_id": "i", "item0": "i", "run_id": "r", "position": 1}
OF_ONE_ITEM = {
    "open": batch_items._OPEN,
    "end": batch_items._END,
    "same id": batch_items._SAME_ID,
    "spent": spent(),
    "claim": batch_items._CLAIM,
}


@pytest.mark.parametrize("name", OF_ONE_ITEM)
def test_whatever_is_asked_of_one_item_is_found_by_an_index_of_items(tmp_path, name):
    names = NAMES | {"status": "completed", "error": None, "error_type": None}
    with Ledger(tmp_path / "ledger.db") as ledger:
        plan = ledger.select(f"EXPLAIN QUERY PLAN {OF_ONE_ITEM[name]}", names)
    steps = [row["detail"] for row in plan if row["detail"].startswith(("SEARCH", "SCAN"))]
    assert steps
    for step in steps:
        if step.startswith("SEARCH batches USING INDEX"):  # the row of the one batch
            continue
        assert "item_id=?" in step or "position=?" in step or "(run_id=?" in step, step
