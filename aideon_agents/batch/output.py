"""OUT: the results in the order of ITEMS, as an unbroken prefix of whole lines.

The file itself says how far it has come: it is only ever added to at its end, and a line that a
killed process left half written is cut off. A line is safe on the disk before the ledger forgets
what it holds, so nothing is lost and nothing is there twice, whenever the process dies.

OUT and the ledger brought to the same state, before anything is run.

OUT is this batch's if each of its lines is that of the item at its place, by id and by run. What a
killed process left behind the last line that counts is cut off, and what an item that is to be run
once more stands in front of goes back into the ledger.

From the ledger to OUT: results wait there until those before them are written.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import itertools
import json
import os
import stat
import threading
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.batch.items import Source
from aideon_agents.errors import InputError, RunError, UserError
from aideon_agents.ledger import batch_items, batch_outputs
from aideon_agents.ledger.batch_items import ItemRow
from aideon_agents.ledger.batches import Batch, BatchStart
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator


_CHUNK = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One whole line that OUT holds."""

    item_id: object
    run_id: object
    text: str
    end: int
    """Where the next line begins, in bytes."""


class Out:
    """The open file."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self.lines = 0
        """How many lines it holds that are ours."""
        self._file = file
        self._end = 0
        self._writing = threading.Lock()

    @property
    def place(self) -> str:
        """Where it is, whatever it is called from where."""
        return os.path.realpath(self.path)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it, not half a line either."""
        return os.fstat(self._file.fileno()).st_size == 0

    def keep(self, lines: int, end: int) -> None:
        """Cut off everything behind the lines that are ours."""
        self.lines, self._end = lines, end
        with self._or_whole():
            self._file.truncate(end)

    def append(self, documents: Iterable[str], first: int) -> None:
        """Add lines; they are safe on the disk when this returns."""
        with self._writing:
            missing = itertools.islice(documents, self.lines - first, None)
            made = [document.encode() + b"\n" for document in missing]
            self._refuse_changed()
            with self._or_whole():
                self._file.seek(self._end)
                self._write(b"".join(made))
                os.fsync(self._file.fileno())
            self._end += sum(map(len, made))
            self.lines += len(made)

    def copy(self, other: Path, end: int) -> None:
        """Take over the beginning of another file."""
        with self._or_whole(), other.open("rb") as source:
            while chunk := source.read(min(_CHUNK, end - source.tell())):
                self._write(chunk)
            os.fsync(self._file.fileno())

    def _refuse_changed(self) -> None:
        """Write nothing into what nobody finds again, or behind somebody else's change."""
        now = os.fstat(self._file.fileno())
        if not now.st_nlink or now.st_size != self._end:
            raise RunError(
                f"{self.path} was {'changed' if now.st_nlink else 'removed'} while the batch was "
                "running: what it had not written there is kept; put the file back, and the same "
                "command goes on"
            )

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]

    @contextlib.contextmanager
    def _or_whole(self) -> Generator[None]:
        """A write that fails leaves whole lines, and says in one line why."""
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise RunError(
                f"{self.path} cannot be written any more ({error.strerror or error}): what is done "
                "is kept, and the same command goes on once it can be"
            ) from None


def read(path: Path) -> Generator[Line]:
    """Read what an OUT holds."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            held = _parsed(line)
            text = line[:-1].decode("utf-8", "replace")
            yield Line(held.get("id"), held.get("run_id"), text, end)


def refuse_unusable(path: Path, source: Source) -> None:
    """Refuse an OUT that cannot be one, before anything is made."""
    try:
        if not path.exists():
            parent = Path(os.path.realpath(path)).parent
            if not parent.is_dir():
                raise InputError(f"{path} cannot be written: there is no folder {parent}, make it")
            return
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder: name a file for the results, {path}/out.jsonl")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is no regular file: a batch that goes on reads its OUT again")
        if source.path is not None and source.path.exists() and path.samefile(source.path):
            raise InputError(f"{path} is the file of the items: write the results to another one")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def opened(path: Path) -> Generator[Out]:
    """Open OUT, making it where it is missing; nobody else can while a block lasts."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
    with FileIO(descriptor, "r+") as file:
        _lock(path, file)
        yield Out(path, file)


def _lock(path: Path, file: FileIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{path} is being written by another process: wait for it") from None
    except OSError:
        pass  # a file system without locks: the ledger still lets one process run a batch


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


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
        batch_items.reset_failed(book, start.batch_id, error_type)
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


_LINES = 200
"""Lines that are written at a time."""


async def deliver(book: Ledger, batch_id: str, out: Out) -> None:
    """Write lines to OUT until one is not there yet; what OUT holds the ledger forgets."""
    while True:
        first = out.lines
        lines = batch_outputs.outputs(book, batch_id, first, _LINES)
        if not lines:
            return
        await asyncio.to_thread(out.append, lines, first)
        batch_outputs.written(book, batch_id, out.lines)
