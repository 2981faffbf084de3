"""Compare two batches item by item: what came out, who wrote it, and what it cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aideon_agents.batch.carrying import Earlier
from aideon_agents.ledger import batch_items
from aideon_agents.ledger.batch_items import ItemRow
from aideon_agents.ledger.batches import Batch
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COMPARED = ("status", "output", "models", "usd")
_AT_A_TIME = 500
"""Items whose results are in memory."""


class Difference(NamedTuple):
    """An item whose result differs in two batches."""

    id: str
    differs: tuple[str, ...]
    """Which of `COMPARED` differ; empty for an item that only one of the batches has."""
    a: Mapping[str, Any] | None
    """Its `COMPARED` values in the first batch; None: the batch does not have it."""
    b: Mapping[str, Any] | None


def differences(ledger: Ledger, a: Batch, b: Batch) -> Iterator[Difference]:
    """The items that differ, in the order of the second batch; then those of the first batch alone."""
    first, second = _Results(ledger, a), _Results(ledger, b)
    left = {row.item_id: row.position for rows in first.rows() for row in rows}
    for rows in second.rows():
        both = {row.item_id: left.pop(row.item_id) for row in rows if row.item_id in left}
        before = first.of(batch_items.at(ledger, a.batch_id, list(both.values())).values())
        for item_id, values in second.of(rows).items():
            known = before.get(item_id)
            differs = () if known is None else _differing(known, values)
            if known is None or differs:
                yield Difference(item_id, differs, known, values)
    alone = list(left.values())
    for begin in range(0, len(alone), _AT_A_TIME):
        some = batch_items.at(ledger, a.batch_id, alone[begin : begin + _AT_A_TIME])
        for item_id, values in first.of(some.values()).items():
            yield Difference(item_id, (), values, None)


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in COMPARED if a[name] != b[name])


class _Results:
    """The results of a batch, from its OUT and from the ledger."""

    def __init__(self, ledger: Ledger, batch: Batch) -> None:
        self._ledger, self._batch = ledger, batch
        self._lines = Earlier(ledger, batch, Path(batch.out_path))
        self._lines.find_lines(is_replaced=False)

    def rows(self) -> Iterator[list[ItemRow]]:
        """The items that were started or refused, some at a time."""
        for begin in range(0, self._batch.items, _AT_A_TIME):
            yield batch_items.rows(self._ledger, self._batch.batch_id, begin, begin + _AT_A_TIME)

    def of(self, rows: Any) -> dict[str, dict[str, Any]]:
        """The `COMPARED` values of items by id; of an item without a line, its status alone."""
        found = {row.position: row for row in rows}
        values = {row.item_id: {"status": row.status} for row in found.values()}
        for _, row, text in self._lines.results(self._lines.known(found)):
            line = json.loads(text)
            values[row.item_id] = {name: line.get(name) for name in COMPARED}
        return {item_id: dict.fromkeys(COMPARED) | one for item_id, one in values.items()}
