"""OUT: the results in the order of the items, as an unbroken prefix of complete lines.

The file is only appended to, and its last line shows how far it has come. A partial line, as a
killed process leaves it, is cut off. A line is on the disk before the ledger deletes it, so no line
is lost or written twice, at whatever moment the process is killed.

Before a batch continues, OUT and the ledger are brought to the same state. OUT belongs to the batch
if each line has the id and the run of the item at its position. Lines that the ledger does not know
are cut off, and lines after an item that is run again are kept in the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import stat
import threading
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from aideon_agents.batch.items import Source
from aideon_agents.errors import InputError, RunError, UserError
from aideon_agents.ledger import batch_items
from aideon_agents.ledger.batch_items import ItemRow
from aideon_agents.ledger.batches import Batch
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator


_CHUNK = 1024 * 1024
"""Bytes that are copied at a time."""
_AT_A_TIME = 500
"""Rows, or lines, that are in memory."""
_LINES = 200
"""Lines that are written at a time."""

OUT_OF_BUDGET = "OutOfBudget"
"""The error type of an item that reached its own budget."""


Written: TypeAlias = tuple[Path, int, int]
"""A file, the number of its lines that are of a batch, and the offset after them in bytes."""


class Out:
    """The open file of the results."""

    def __init__(self, path: Path, file: FileIO, line_of: Callable[[int], int]) -> None:
        self.path = path
        self._line_of = line_of
        self.lines = 0
        """The number of lines of this batch."""
        self._file = file
        self._end = 0
        self._writing = threading.Lock()

    @property
    def real_path(self) -> str:
        """The absolute path, without symbolic links."""
        return os.path.realpath(self.path)

    @property
    def is_empty(self) -> bool:
        """Whether the file has no content, also no partial line."""
        return os.fstat(self._file.fileno()).st_size == 0

    def truncate(self, lines: int, end: int) -> None:
        """Cut off everything after the lines of this batch, which end at an offset in bytes."""
        self.lines, self._end = lines, end
        with self._whole_lines():
            self._file.truncate(end)

    def append(self, documents: Iterable[str], first: int) -> None:
        """Append lines, from number `first` on; they are on the disk when this returns.

        Lines that OUT holds are skipped: a task that was cancelled while this ran in a thread does
        not know how many were written.
        """
        with self._writing:
            missing = itertools.islice(documents, self.lines - first, None)
            made = [
                _with_line(document, self._line_of(position)).encode() + b"\n"
                for position, document in enumerate(missing, self.lines)
            ]
            self._refuse_changed()
            with self._whole_lines():
                self._file.seek(self._end)
                self._write(b"".join(made))
                os.fsync(self._file.fileno())
            self._end += sum(map(len, made))
            self.lines += len(made)

    def copy(self, other: Path, end: int) -> None:
        """Copy the beginning of another file, up to an offset in bytes."""
        with self._whole_lines(), other.open("rb") as source:
            while chunk := source.read(min(_CHUNK, end - source.tell())):
                self._write(chunk)
            os.fsync(self._file.fileno())

    def _refuse_changed(self) -> None:
        """Do not write to a file that was removed, or that another process has changed."""
        now = os.fstat(self._file.fileno())
        if not now.st_nlink or now.st_size != self._end:
            raise RunError(
                f"{self.path} was {'changed' if now.st_nlink else 'removed'} while the batch was "
                "running: the results that it does not hold are kept; put the file back, and the "
                "same command continues"
            )

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]

    @contextlib.contextmanager
    def _whole_lines(self) -> Generator[None]:
        """Cut off a partial line when a write fails, and report the failure as a RunError."""
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise RunError(
                f"{self.path} cannot be written any more ({error.strerror or error}): finished items "
                "are kept, and the same command continues once it can be written"
            ) from None


def _with_line(document: str, line: int) -> str:
    """The line of an item with the number of its line among the items behind its id."""
    start = document.index(":") + 1
    _, end = _DECODER.raw_decode(document, start + (document[start] == " "))
    if document.startswith((', "line":', ',"line":'), end):  # it was in OUT before
        return document
    return f'{document[:end]}, "line": {line}{document[end:]}'


_DECODER = json.JSONDecoder()


def read(path: Path) -> Generator[tuple[dict[str, Any], str, int]]:
    """Read the complete lines of an OUT: values, text, and the offset in bytes of the next line.

    A line that is not from a batch has no values.
    """
    end = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield _parsed(line), line[:-1].decode("utf-8", "replace"), end


def refuse_unusable(path: Path, source: Source) -> None:
    """Refuse a path that cannot be an OUT, before anything is created."""
    try:
        if not path.exists():
            parent = Path(os.path.realpath(path)).parent
            if not parent.is_dir():
                raise InputError(
                    f"{path} cannot be written: there is no folder {parent}: create it"
                )
            return
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder: name a file for the results, {path}/out.jsonl")
        if not stat.S_ISREG(mode):
            raise InputError(
                f"{path} is not a regular file: a batch that continues reads its results again, so name a file"
            )
        if source.path is not None and source.path.exists() and path.samefile(source.path):
            raise InputError(f"{path} is the file of the items: write the results to another one")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def opened(path: Path, line_of: Callable[[int], int]) -> Generator[Out]:
    """Open OUT, creating it if it is missing; no other process can open it meanwhile.

    `line_of` gives the number of an item's line by its position.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
    with FileIO(descriptor, "r+") as file:
        _lock(path, file)
        yield Out(path, file, line_of)


def _lock(path: Path, file: FileIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{path} is being written by another process: wait for it") from None
    except OSError:
        pass  # a file system without locks: the ledger still allows only one process for a batch


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def find_written(ledger: Ledger, out: Out, before: Batch | None) -> Written:
    """Find the lines of this batch in OUT, or in its earlier OUT. Nothing is changed."""
    if before is None:
        if not out.is_empty:
            raise InputError(_not_ours(ledger, out.path))
        return out.path, 0, 0
    found = _matching(ledger, out.path, before)
    if not found[1] and out.real_path != before.out_path:
        if not out.is_empty:
            raise InputError(_not_ours(ledger, out.path))
        earlier = Path(before.out_path)
        if earlier.is_file():
            found = _matching(ledger, earlier, before)
    lost = batch_items.first_lost(ledger, before.batch_id, found[1])
    if lost is not None:
        raise UserError(
            f"results of batch {before.batch_id} were written to {before.out_path} and are missing "
            f"there from line {lost + 1} on: put that file back, or run `aideon batches forget "
            f"{before.batch_id}`, after which the same command starts a new batch"
        )
    return found


def restore(ledger: Ledger, out: Out, start: Batch, found: Written, *, retry: bool | str) -> None:
    """Make OUT hold the lines of this batch and nothing else, without failed items to be retried.

    `retry` is True for all failed items, or the error type of those that are run again.
    """
    path, lines, end = found
    if path != out.path:
        out.copy(path, end)
    batch_items.written(ledger, start.batch_id, lines)
    error_type = retry if isinstance(retry, str) else None
    first = batch_items.first_failed(ledger, start.batch_id, error_type) if retry else None
    if first is not None and first < lines:
        lines, end = first, _keep_again(ledger, path, start.batch_id, first, lines)
    if first is not None:
        batch_items.reset_failed(ledger, start.batch_id, error_type)
    out.truncate(lines, end)


def _keep_again(ledger: Ledger, path: Path, batch_id: str, first: int, lines: int) -> int:
    """Keep the lines from number `first` on in the ledger again; returns the offset of that line."""
    begins = 0
    behind = read(path)
    for _, _, end in itertools.islice(behind, first):
        begins = end
    texts = ((position, text) for position, (_, text, _) in enumerate(behind, first))
    left = itertools.islice(texts, lines - first)
    while some := list(itertools.islice(left, _AT_A_TIME)):
        batch_items.put_back(ledger, batch_id, some)
    return begins


def _matching(ledger: Ledger, path: Path, before: Batch) -> Written:
    lines = end = 0
    read_lines = zip(read(path), _rows(ledger, before.batch_id), strict=False)
    for (values, _, line_end), row in read_lines:
        item_id, run_id = values.get("id"), values.get("run_id")
        if row is not None and row.status not in batch_items.DONE and row.item_id == item_id:
            break  # the item is run again, and its line was about to be cut off
        if row is None or (row.item_id, row.run_id) != (item_id, run_id):
            if not lines:
                raise InputError(_not_ours(ledger, path))
            raise InputError(
                f"{path}:{lines + 1} is not a line of batch {before.batch_id}: cut the file off "
                "there, or name another one with -o"
            )
        lines, end = lines + 1, line_end
    return path, lines, end


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


async def write_ready(ledger: Ledger, batch_id: str, out: Out) -> None:
    """Write the lines that are next in order to OUT, and then delete them from the ledger."""
    while True:
        first = out.lines
        lines = batch_items.outputs(ledger, batch_id, first, _LINES)
        if not lines:
            return
        await asyncio.to_thread(out.append, lines, first)
        batch_items.written(ledger, batch_id, out.lines)
