"""Compare two batches item by item: what came out, who wrote it, and what it cost."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aideon_agents.batch.carrying import Earlier
from aideon_agents.ledger import batch_items
from aideon_agents.ledger.batch_items import ItemRow
from aideon_agents.ledger.batches import Batch
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
    left = dict(first.positions)
    for rows in second.rows():
        both = {row.item_id: left.pop(row.item_id) for row in rows if row.item_id in left}
        before = first.of(batch_items.at(ledger, a.batch_id, list(both.values())).values())
        for item_id, values in second.of(rows).items():
            known = before.get(item_id)
            differs = () if known is None else _differing(known, values)
            if known is None or differs:
                yield Difference(item_id, differs, _whole(known), _whole(values))
    alone = list(left.values())
    for begin in range(0, len(alone), _AT_A_TIME):
        some = batch_items.at(ledger, a.batch_id, alone[begin : begin + _AT_A_TIME])
        for item_id, values in first.of(some.values()).items():
            yield Difference(item_id, (), _whole(values), None)


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs of the values that both have."""
    return tuple(name for name in COMPARED if name in a and name in b and a[name] != b[name])


def _whole(values: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if values is None else dict.fromkeys(COMPARED) | dict(values)


class _Results:
    """The results of a batch, from its OUT and from the ledger."""

    def __init__(self, ledger: Ledger, batch: Batch) -> None:
        self._ledger, self._batch = ledger, batch
        self._lines = Earlier(ledger, batch, Path(batch.out_path))
        self._lines.find_lines(is_replaced=False)
        self.positions: dict[str, int] = {}
        """Where each item is. Of several with one id, all but one are invalid, and left out."""
        for row in itertools.chain.from_iterable(self._some()):
            if row.status != "invalid" or row.item_id not in self.positions:
                self.positions[row.item_id] = row.position

    def _some(self) -> Iterator[list[ItemRow]]:
        for begin in range(0, self._batch.items, _AT_A_TIME):
            yield batch_items.rows(self._ledger, self._batch.batch_id, begin, begin + _AT_A_TIME)

    def rows(self) -> Iterator[list[ItemRow]]:
        """The items that were started or refused, some at a time."""
        for rows in self._some():
            yield [row for row in rows if self.positions[row.item_id] == row.position]

    def of(self, rows: Iterable[ItemRow]) -> dict[str, dict[str, Any]]:
        """The `COMPARED` values of items by id; of an item without a line, its status alone."""
        found = {row.position: row for row in rows}
        values: dict[str, dict[str, Any]] = {
            row.item_id: {"status": row.status} for row in found.values()
        }
        for _, row, text in self._lines.results(self._lines.known(found)):
            line = json.loads(text)
            values[row.item_id] = {name: line.get(name) for name in COMPARED}
        return values
