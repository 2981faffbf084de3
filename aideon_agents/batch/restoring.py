"""Bring OUT and the ledger to the same state, before a batch continues.

OUT belongs to the batch if each line has the id and the run of an item. Lines that are written anew,
and those after them, are cut off: the lines of items that are run again, and in an ordered OUT those
that are out of order. Lines that are cut off and still count are kept in the ledger.
"""

from __future__ import annotations

import array
import collections
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aideon_agents.batch.output import Out, read, whole_lines
from aideon_agents.errors import InputError, UserError
from aideon_agents.ledger import batch_items, outputs
from aideon_agents.ledger.batch_items import ItemRow
from aideon_agents.ledger.batches import Batch
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


_AT_A_TIME = 500
"""Rows, or lines, that are in memory."""

OUT_OF_BUDGET = "OutOfBudget"
"""The error type of an item that reached its own budget."""

_AGAIN = -1
"""In place of the position of an item that is run again."""


class Written(NamedTuple):
    """The lines of a batch that a file holds."""

    path: Path
    lines: int
    """How many lines from the first are in the order of the items."""
    rest: Sequence[int]
    """The positions of the lines after them, as they follow each other."""

    @property
    def total(self) -> int:
        """How many lines there are."""
        return self.lines + len(self.rest)


def find_written(ledger: Ledger, out: Out, before: Batch | None) -> Written:
    """Find the lines of this batch in OUT. If they are in its earlier OUT, they are copied.

    Until they are copied, the ledger names the earlier OUT, so a process that is killed meanwhile
    loses nothing.
    """
    if before is None:
        if not out.is_empty:
            raise InputError(_not_ours(ledger, out.path))
        return Written(out.path, 0, ())
    found = _matching(ledger, out, out.path, before)
    is_other = out.real_path != before.out_path
    if is_other and not found.total and not out.is_empty:
        raise InputError(_not_ours(ledger, out.path))
    lost = _first_lost(ledger, before, found)
    earlier = Path(before.out_path)
    if lost is not None and is_other and earlier.is_file():
        found = _matching(ledger, out, earlier, before)
        lost = _first_lost(ledger, before, found)
    if lost is not None:
        raise UserError(
            f"results of batch {before.batch_id} were written to {before.out_path} and are missing "
            f"there from line {lost + 1} on: put that file back, or run `aideon batches forget "
            f"{before.batch_id}`, after which the same command starts a new batch"
        )
    if found.path != out.path:
        out.copy(found.path, sum(map(len, itertools.islice(whole_lines(found.path), found.total))))
    return found._replace(path=out.path)


def restore(ledger: Ledger, out: Out, start: Batch, found: Written, *, retry: bool | str) -> None:
    """Make OUT hold the lines of this batch and nothing else, without failed items to be retried.

    `retry` is True for all failed items, or the error type of those that are run again.
    """
    batch_id = start.batch_id
    error_type = retry if isinstance(retry, str) else None
    again = batch_items.failed(ledger, batch_id, error_type) if retry else set[int]()
    keeps = _kept_lines(found, again, is_unordered=out.is_unordered)
    behind = whole_lines(found.path)
    end = sum(map(len, itertools.islice(behind, keeps)))
    outputs.written(ledger, batch_id, min(found.lines, keeps))
    outputs.delete(ledger, batch_id, itertools.islice(found.rest, max(0, keeps - found.lines)))
    positions = itertools.islice(itertools.chain(range(found.lines), found.rest), keeps, None)
    cut = (
        (at, line[:-1].decode("utf-8", "replace"))
        for at, line in zip(positions, behind, strict=False)
        if at != _AGAIN
    )
    outputs.put_back(ledger, batch_id, cut)
    if again:
        batch_items.reset_failed(ledger, batch_id, error_type)
    out.truncate(keeps, end)


def _kept_lines(found: Written, again: set[int], *, is_unordered: bool) -> int:
    """How many lines OUT keeps."""
    if not again and not (is_unordered and found.rest):
        return found.lines
    rest = found.rest if is_unordered else ()
    return next(
        (
            number
            for number, at in enumerate(itertools.chain(range(found.lines), rest))
            if at in again or at == _AGAIN
        ),
        found.lines + len(rest),
    )


def _first_lost(ledger: Ledger, before: Batch, found: Written) -> int | None:
    """The first finished item whose line is neither in OUT nor in the ledger; None: there is none."""
    held = set(found.rest)
    for first in range(found.lines, before.items, _AT_A_TIME):
        missing = outputs.without_output(ledger, before.batch_id, first, first + _AT_A_TIME)
        if lost := [position for position in missing if position not in held]:
            return lost[0]
    return None


def _matching(ledger: Ledger, out: Out, path: Path, before: Batch) -> Written:
    lines = 0
    behind = (values for values, _, _ in read(path))
    out_of_order: list[Mapping[str, Any]] = []
    for values, row in zip(behind, _rows(ledger, before.batch_id), strict=False):
        if row is None or row.status not in batch_items.DONE or not _is_of(values, row, out):
            out_of_order.append(values)
            break
        lines += 1
    rest = array.array("q")
    left = itertools.chain(out_of_order, behind)
    invalid = _invalid(ledger, before, lines) if out_of_order else {}
    held: set[int] = set()
    while some := list(itertools.islice(left, _AT_A_TIME)):
        for at in _positions(ledger, out, before.batch_id, some, invalid):
            if at is None or at in held or 0 <= at < lines:
                number = lines + len(rest)
                if not number:
                    raise InputError(_not_ours(ledger, path))
                raise InputError(
                    f"{path}:{number + 1} is not a line of batch {before.batch_id}: cut the file "
                    "off there, or name another one with -o"
                )
            rest.append(at)
            if at != _AGAIN:
                held.add(at)
    return Written(path, lines, rest)


def _is_of(values: Mapping[str, Any], row: ItemRow, out: Out) -> bool:
    """Whether a line is of an item. Of several invalid items with one id, the line's number counts."""
    if (row.item_id, row.run_id) != (values.get("id"), values.get("run_id")):
        return False
    return row.status != "invalid" or values.get("line") in (None, out.line_of(row.position))


def _positions(
    ledger: Ledger,
    out: Out,
    batch_id: str,
    some: list[Mapping[str, Any]],
    invalid: Mapping[str, list[int]],
) -> Iterator[int | None]:
    """The positions of the items of some lines; None for a line that is of no item."""
    names = {one["id"] for one in some if isinstance(one.get("id"), str)}
    rows = {row.item_id: row for row in batch_items.by_id(ledger, batch_id, names)}
    for values in some:
        name = str(values.get("id"))
        row = rows.get(name)
        if values.get("run_id") is None and (same := invalid.get(name)):
            at = next((one for one in same if out.line_of(one) == values.get("line")), same[0])
            same.remove(at)
            yield at
        elif row is not None and row.status not in batch_items.DONE:
            yield _AGAIN
        else:
            yield row.position if row is not None and _is_of(values, row, out) else None


def _invalid(ledger: Ledger, before: Batch, first: int) -> dict[str, list[int]]:
    """The positions of invalid items by their ids, from a position on."""
    found: dict[str, list[int]] = collections.defaultdict(list)
    for row in batch_items.with_status(ledger, before.batch_id, "invalid", before.items):
        if row.position >= first:
            found[row.item_id].append(row.position)
    return found


def _rows(ledger: Ledger, batch_id: str) -> Iterator[ItemRow | None]:
    """The rows of a batch by position; None where there is no row, without an end."""
    for first in itertools.count(0, _AT_A_TIME):
        rows = batch_items.rows(ledger, batch_id, first, first + _AT_A_TIME)
        by_position = {row.position: row for row in rows}
        for position in range(first, first + _AT_A_TIME):
            yield by_position.get(position)


def _not_ours(ledger: Ledger, path: Path) -> str:
    """The message for a file that does not belong to this batch; it names the batch that owns it."""
    runs = (values.get("run_id") for values, _, _ in itertools.islice(read(path), _AT_A_TIME))
    run_id = next((one for one in runs if isinstance(one, str)), None)
    found = ledger.select("SELECT batch_id FROM runs WHERE run_id = :run_id", {"run_id": run_id})
    owner = next((row["batch_id"] for row in found if row["batch_id"]), None)
    if owner is None:
        return f"{path} already has other content: name another file with -o, or remove it"
    return (
        f"{path} belongs to another batch, {owner} (its workflow, items, inputs, tier or models "
        "differ, or only one of the two is a rehearsal): name another file with -o, or remove it"
    )
