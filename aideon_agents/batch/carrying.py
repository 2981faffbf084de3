"""Take over the results of an earlier batch, after its items or its workflow were changed.

Work is the same if its content and its options are: task, inputs and own id of the item, the content
of the workflow, `-p`, tier, models. The number of a line is no id of its own, so an item that has
only that is found wherever its line is now. Money stays with the batch that has spent it.

A killed process loses nothing. The new OUT is written beside the old one, and the ledger gets the
rows of the items, and the lines that are not next in OUT. Then one transaction makes the new batch
the one that the same command continues, and the new OUT takes the place of the old one. If a process
is killed in between, `finish` does that. An old OUT with results that the new one has not is kept.
"""

from __future__ import annotations

import array
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from aideon_agents.batch.items import Item, Source
from aideon_agents.batch.output import opened, read
from aideon_agents.errors import InputError, RunError
from aideon_agents.ledger import batch_items, batches, outputs
from aideon_agents.ledger.batch_items import ItemRow
from aideon_agents.ledger.batches import Batch
from aideon_agents.ledger.store import Ledger
from aideon_agents.models.pictures import identities

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence


_AT_A_TIME = 500
"""Items, or lines, that are in memory."""

_NOWHERE, _IN_LEDGER = -1, -2
"""In place of the offset of a line."""


def content_of(item: Item) -> str:
    """A digest of the work of an item: its task, inputs and pictures, and its id if it was given."""
    what: list[Any] = [item.item_id if item.has_own_id else None, item.task, item.inputs]
    what += identities(item.images)
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


class Earlier:
    """The results of an earlier batch: in its OUT, or still in the ledger."""

    def __init__(self, ledger: Ledger, batch: Batch, path: Path | None) -> None:
        self.batch = batch
        self.unused = 0
        """How many results of completed items its OUT holds that were not taken."""
        self.taken = array.array("q")
        """Where the lines were that were taken from the ledger."""
        self._ledger = ledger
        self._path = path if path is not None and path.is_file() else None
        self._offsets = array.array("q", [_NOWHERE]) * batch.items
        self._next = array.array("q", [_NOWHERE]) * batch.items
        self._first: dict[int, int] = {}
        """By the beginning of a digest, the first item with it; `_next` has the others."""
        for position in outputs.positions(ledger, batch.batch_id):
            self._offsets[position] = _IN_LEDGER

    def find_lines(self, *, is_replaced: bool) -> None:
        """Note where the lines are. A file that is to be replaced must hold no others."""
        if self._path is None:
            return
        lines, offset, number = read(self._path), 0, 0
        while some := list(itertools.islice(lines, _AT_A_TIME)):
            names = {values["id"] for values, _, _ in some if isinstance(values.get("id"), str)}
            rows = batch_items.by_id(self._ledger, self.batch.batch_id, names)
            by_id = {row.item_id: row for row in rows if row.run_id is not None}
            for values, _, end in some:
                number += 1
                row = by_id.get(str(values.get("id")))
                if row is not None and row.run_id == values.get("run_id"):
                    if row.status in batch_items.DONE:
                        self._offsets[row.position] = offset
                        self.unused += row.status == "completed"
                elif is_replaced and values.get("status") != "invalid":
                    raise InputError(
                        f"{self._path}:{number} is not a line of batch {self.batch.batch_id}: cut the "
                        "file off there, or name another one with -o"
                    )
                offset = end

    def offer(self, start: Batch, wanted: set[int], *, retry: bool | str) -> None:
        """Offer what is wanted and the same work as in a new batch."""
        statuses = self._statuses(start, retry=retry)
        for end in range(self.batch.items if statuses else 0, 0, -_AT_A_TIME):
            first = max(0, end - _AT_A_TIME)
            for row in reversed(batch_items.rows(self._ledger, self.batch.batch_id, first, end)):
                is_retried = row.status == "failed" and retry in (True, row.error_type)
                if row.content is None or row.status not in statuses or is_retried:
                    continue
                key = _key(row.content)
                if self._offsets[row.position] != _NOWHERE and key in wanted:
                    self._next[row.position] = self._first.get(key, _NOWHERE)
                    self._first[key] = row.position

    def _statuses(self, start: Batch, *, retry: bool | str) -> Sequence[str]:
        if self.batch.options is None or self.batch.options != start.options:
            return ()
        if self.batch.version == start.version:
            return ("completed", "failed")
        is_mended = retry is True and self.batch.workflow == start.workflow
        return ("completed",) if is_mended else ()

    def has(self, key: int) -> bool:
        """Whether it offers an item whose digest begins so."""
        return key in self._first

    def take(self, content: str) -> int | None:
        """The position of an item that was the same work, which is then not offered again."""
        key = _key(content)
        found = self._first.pop(key, _NOWHERE)
        if found == _NOWHERE:
            return None
        if self._next[found] != _NOWHERE:
            self._first[key] = self._next[found]
        return found

    def known(self, positions: Iterable[int]) -> list[int]:
        """Those of some positions whose lines were found."""
        return [one for one in positions if self._offsets[one] != _NOWHERE]

    def results(self, positions: Sequence[int]) -> Iterator[tuple[int, ItemRow, str]]:
        """The positions, rows and lines of items whose lines were found."""
        rows = batch_items.at(self._ledger, self.batch.batch_id, positions)
        in_ledger = [position for position in rows if self._offsets[position] == _IN_LEDGER]
        kept = outputs.at(self._ledger, self.batch.batch_id, in_ledger)
        with contextlib.nullcontext() if self._path is None else self._path.open("rb") as file:
            for position, row in rows.items():
                if position in kept or file is None:
                    self.taken.append(position)
                    yield position, row, kept[position]
                    continue
                file.seek(self._offsets[position])
                self.unused -= row.status == "completed"
                yield position, row, file.readline()[:-1].decode()


def _key(content: str) -> int:
    return int(content[:16], 16)


def before(ledger: Ledger, path: Path, ref: str | None) -> Batch | None:
    """The batch whose results OUT holds, or the one that was named; None: there is none."""
    holder = _holder(ledger, path) if path.exists() else None
    found = holder if ref is None else batches.find_batch(ledger, ref)
    if found is None:
        return None
    is_holder = holder is not None and holder.batch_id == found.batch_id
    if not is_holder and path.exists() and path.stat().st_size:
        raise InputError(
            f"{path} holds other results than those of batch {found.batch_id}: name another file "
            "with -o"
        )
    batches.refuse_if_running(found)
    batches.refuse_if_with_workers(found)
    return found


def _holder(ledger: Ledger, path: Path) -> Batch | None:
    """The batch that has the first item with a run in a file."""
    writes = outputs.written_to(ledger, os.path.realpath(path))
    for values, _, _ in read(path):
        item_id, run_id = values.get("id"), values.get("run_id")
        if isinstance(item_id, str) and isinstance(run_id, str):
            rows = batch_items.by_id(ledger, writes.batch_id, {item_id}) if writes else ()
            is_there = any(row.run_id == run_id for row in rows)
            return writes if is_there else outputs.with_run(ledger, run_id)
    return writes


def carry_over(
    ledger: Ledger,
    source: Source,
    path: Path,
    start: Batch,
    earlier: Batch,
    *,
    retry: bool | str,
    is_unordered: bool,
    is_named: bool,
) -> bool:
    """Take over what is the same work, and put the new OUT in place; returns False if nothing is.

    Then an OUT that holds results is refused, and so is an earlier batch that the caller has named.
    """
    with contextlib.ExitStack() as open_while_used:
        is_replaced = path.exists()
        if is_replaced:
            # No other process writes it.
            open_while_used.enter_context(opened(path, source.line_of))
        has_results = is_replaced and path.stat().st_size > 0
        wanted = {_key(content_of(item)) for item in source.items() if item.problem is None}
        sources = list(_sources(ledger, wanted, start, earlier, retry=retry))
        if not sources:
            if has_results or is_named:
                raise InputError(_unrelated(path if has_results else None, earlier, start))
            return False
        start = dataclasses.replace(start, carried_from=earlier.batch_id)
        side = _side(start.out_path, start.batch_id)
        for left in outputs.prepare(ledger, start):
            _side(start.out_path, left).unlink(missing_ok=True)
        try:
            with side.open("wb") as file:
                _write(ledger, source, sources, start, file, is_unordered=is_unordered)
                file.flush()
                os.fsync(file.fileno())
            kept = None
            if is_replaced:
                shutil.copymode(path, side)
                kept = str(_kept(path, earlier)) if sources[0].unused else None
        except BaseException as error:
            side.unlink(missing_ok=True)
            outputs.discard(ledger, start.batch_id)
            if isinstance(error, OSError):
                raise RunError(f"{side} cannot be written: {error.strerror or error}") from None
            raise
        replaced = earlier.batch_id if is_replaced else None
        outputs.replace(ledger, start, earlier=replaced, kept=kept, taken=sources[0].taken)
        finish(start)
    return True


def _sources(
    ledger: Ledger, wanted: set[int], start: Batch, earlier: Batch, *, retry: bool | str
) -> Generator[Earlier]:
    """The earlier batch, and those that it has taken over from, as far as they have what is wanted."""
    out = Path(start.out_path)
    batch: Batch | None = earlier
    while batch is not None and wanted:
        path: Path | None = Path(batch.out_path)
        is_replaced = batch is earlier and out.exists()
        if is_replaced:
            path = out
        elif str(path) == start.out_path:
            path = None  # a later batch has replaced it
        one = Earlier(ledger, batch, path)
        one.find_lines(is_replaced=is_replaced)
        one.offer(start, wanted, retry=retry)
        offered = {key for key in wanted if one.has(key)}
        if offered:
            yield one
        elif batch is earlier:
            return
        wanted = wanted - offered
        batch = batches.find_batch(ledger, batch.carried_from) if batch.carried_from else None


def _write(
    ledger: Ledger,
    source: Source,
    sources: Sequence[Earlier],
    start: Batch,
    file: BinaryIO,
    *,
    is_unordered: bool,
) -> None:
    """Write the rows of the items that are taken over, and their lines to a file or the ledger."""
    is_next = True
    others: set[str] = set()
    """The ids of items that are not taken over: of valid items with one id only the first runs."""
    items = source.items()
    while some := list(itertools.islice(items, _AT_A_TIME)):
        results = _taken(some, sources)
        with ledger.database.transaction() as tx:
            for item in some:
                row, text = results.get(item.position, (None, ""))
                is_first = item.item_id not in others
                if row is None or not is_first or not outputs.carry(tx, start.batch_id, vars(row)):
                    is_next = is_unordered
                    if item.problem is None:
                        others.add(item.item_id)
                elif is_next:
                    file.write(text.encode() + b"\n")
                else:
                    outputs.keep(tx, start.batch_id, item.position, text)


def _taken(some: Sequence[Item], sources: Sequence[Earlier]) -> dict[int, tuple[ItemRow, str]]:
    """The rows and lines of some items that are taken over, by position."""
    found: dict[int, tuple[ItemRow, str]] = {}
    left = [item for item in some if item.problem is None]
    for one in sources:
        taken = {at: item for item in left if (at := one.take(content_of(item))) is not None}
        for at, row, text in one.results(list(taken)):
            item = taken[at]
            new = dataclasses.replace(row, position=item.position, item_id=item.item_id)
            found[item.position] = new, _line(text, item)
        left = [item for item in left if item.position not in found]
    return found


def _line(text: str, item: Item) -> str:
    """The line of an item with its id and the number of its line, which may have changed."""
    values: dict[str, Any] = json.loads(text)
    columns = values.pop("columns", None)  # they are written anew
    if (values.get("id"), values.get("line"), columns) == (item.item_id, item.line, None):
        return text
    return batch_items.json_line(
        {"id": item.item_id, "line": item.line}
        | {key: value for key, value in values.items() if key not in ("id", "line")}
    )


def _unrelated(path: Path | None, earlier: Batch, start: Batch) -> str:
    """Why nothing of a batch is taken over, and what to do; `path` None: OUT holds nothing."""
    what = f"{path} belongs to another batch, {earlier.batch_id}"
    if path is None:
        what = f"nothing can be taken over from batch {earlier.batch_id}"
    if earlier.options is None:
        why = "it was made by an older version of aideon, which did not keep what its items were"
    elif earlier.workflow != start.workflow:
        why = f"its workflow is {earlier.workflow}"
    elif earlier.options != start.options:
        why = "its tier, models or inputs differ, or only one of the two is a rehearsal"
    elif earlier.version != start.version:
        return (
            f"{what}: the workflow was changed since: add --retry-failed to keep what is completed and "
            "run the rest with the new version, or name another file with -o to run everything"
        )
    else:
        why = "none of its items is among these"
    advice = "name another file with -o, or remove it" if path else "leave out --from"
    return f"{what} ({why}): {advice}"


def finish(start: Batch) -> None:
    """Put the new OUT in place, if the process that wrote it did not come to it."""
    with contextlib.suppress(FileNotFoundError):
        _side(start.out_path, start.batch_id).replace(start.out_path)


def earlier_out(ledger: Ledger, batch: Batch) -> str | None:
    """Where the results of the earlier batch are; None: in the OUT of this one, or nowhere."""
    if batch.carried_from is None:
        return None
    path = batches.find_batch(ledger, batch.carried_from).out_path
    return path if path != batch.out_path and Path(path).exists() else None


def _side(out_path: str, batch_id: str) -> Path:
    """Where the new OUT is written, beside the old one."""
    return Path(f"{out_path}.{batch_id}")


def _kept(path: Path, earlier: Batch) -> Path:
    """The old OUT under another name."""
    real = path.resolve()
    kept = real.with_name(f"{real.stem}.{earlier.batch_id}{real.suffix}")
    kept.unlink(missing_ok=True)
    try:
        kept.hardlink_to(real)
    except OSError:  # a file system without links
        shutil.copyfile(path, kept)
    return kept
