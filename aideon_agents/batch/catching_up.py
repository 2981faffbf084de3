"""OUT and the ledger brought to the same state, before anything is run.

OUT is this batch's if each of its lines is that of the item at its place, by id and by run. What a
killed process left behind the last line that counts is cut off, and what an item that is to be run
once more stands in front of goes back into the ledger.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from aideon_agents.batch.output import read
from aideon_agents.errors import InputError, UserError
from aideon_agents.ledger import batch_items, batch_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aideon_agents.batch.output import Line, Out
    from aideon_agents.ledger.batch_items import ItemRow
    from aideon_agents.ledger.batches import Batch, BatchStart
    from aideon_agents.ledger.store import Ledger

_AT_A_TIME = 500
"""Rows, or lines, that are in memory."""

OUT_OF_BUDGET = "OutOfBudget"
"""The class of the error of an item that met its own budget."""


@dataclasses.dataclass(frozen=True)
class Held:
    """How much of an OUT is a batch's."""

    path: Path
    lines: int
    end: int
    """Where they end, in bytes."""


def held(book: Ledger, out: Out, before: Batch | None) -> Held:
    """Find out how much of OUT is this batch's. Nothing is changed."""
    if before is None:
        if not out.is_empty:
            raise InputError(_not_ours(book, out.path))
        return Held(out.path, 0, 0)
    found = _held(book, out.path, before)
    earlier = Path(before.out_path)
    if not found.lines and not out.is_empty and out.place != before.out_path:
        raise InputError(_not_ours(book, out.path))
    if not found.lines and out.place != before.out_path and earlier.is_file():
        found = _held(book, earlier, before)
    lost = batch_outputs.first_lost(book, before.batch_id, found.lines)
    if lost is not None:
        raise UserError(
            f"results of batch {before.batch_id} were written to {before.out_path} and are not "
            f"there any more, from line {lost + 1} on: put that file back, or let the same command "
            f"begin another batch after `aideon batches forget {before.batch_id}`"
        )
    return found


def catch_up(book: Ledger, out: Out, start: BatchStart, found: Held, *, again: bool | str) -> None:
    """Make OUT hold what is this batch's and nothing else."""
    lines, end = found.lines, found.end
    if found.path != out.path:
        out.copy(found.path, end)
    batch_outputs.written(book, start.batch_id, lines)
    error_type = again if isinstance(again, str) else None
    first = batch_items.first_failed(book, start.batch_id, error_type) if again else None
    if first is not None and first < lines:
        lines, end = first, _put_back(book, found.path, start.batch_id, first, lines)
    if first is not None:
        batch_items.again(book, start.batch_id, error_type)
    out.keep(lines, end)


def _put_back(book: Ledger, path: Path, batch_id: str, first: int, lines: int) -> int:
    """Keep what OUT holds from a line on in the ledger; returns where that line begins."""
    begins = 0
    behind: Iterator[tuple[int, Line]] = enumerate(read(path))
    for _, line in itertools.islice(behind, first):
        begins = line.end
    left = itertools.islice(behind, lines - first)
    while some := list(itertools.islice(left, _AT_A_TIME)):
        documents = ((position, line.text) for position, line in some)
        batch_outputs.put_back(book, batch_id, documents)
    return begins


def _held(book: Ledger, path: Path, before: Batch) -> Held:
    lines = end = 0
    for line, row in zip(read(path), _rows(book, before.batch_id), strict=False):
        if row is not None and row.status not in batch_items.DONE and row.item_id == line.item_id:
            break  # it is to be run once more, and its line was about to be cut off
        if row is None or (row.item_id, row.run_id) != (line.item_id, line.run_id):
            if not lines:
                raise InputError(_not_ours(book, path))
            raise InputError(
                f"{path}:{lines + 1} is no line of batch {before.batch_id}: cut the file off "
                "there, or name another one with -o"
            )
        lines, end = lines + 1, line.end
    return Held(path, lines, end)


def _rows(book: Ledger, batch_id: str) -> Iterator[ItemRow | None]:
    """The rows of a batch by position, and None for ever after the last."""
    for first in itertools.count(0, _AT_A_TIME):
        rows = batch_items.rows(book, batch_id, first, first + _AT_A_TIME)
        by_position = {row.position: row for row in rows}
        for position in range(first, first + _AT_A_TIME):
            yield by_position.get(position)


def _not_ours(book: Ledger, path: Path) -> str:
    """Whose a file is that is not this batch's, as far as can be told."""
    runs = (line.run_id for line in itertools.islice(read(path), _AT_A_TIME))
    run_id = next((one for one in runs if isinstance(one, str)), None)
    found = book.select("SELECT batch_id FROM runs WHERE run_id = :run_id", {"run_id": run_id})
    owner = next((row["batch_id"] for row in found if row["batch_id"]), None)
    if owner is None:
        return f"{path} holds something else already: name another file with -o, or remove it"
    return (
        f"{path} belongs to another batch, {owner} (its workflow, items, inputs, tier or models "
        "are others, or one of the two is a rehearsal): name another file with -o, or remove it"
    )
