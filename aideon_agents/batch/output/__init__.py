"""OUT: the results as complete lines, in the order of the items, or as the items end.

An OUT that ends in `.csv` or `.xlsx` has its lines in a file beside it, `out.csv.jsonl`, and is made
from them when the batch ends (`tables`). The file of the lines is only appended to. In the order of
the items it is an unbroken prefix, and its last line shows how far it has come. A partial line, as a
killed process leaves it, is cut off. A line is on the disk before the ledger deletes it, so no line
is lost or written twice, at whatever moment the process is killed.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import fcntl
import itertools
import json
import logging
import os
import sys
import threading
from io import FileIO
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.batch.output.columns import InputColumns
from aideon_agents.errors import InputError, RunError
from aideon_agents.ledger import outputs
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path


_CHUNK = 1024 * 1024
"""Bytes that are copied at a time."""
_LINES = 200
"""Lines that are written at a time."""

_log = logging.getLogger("aideon_agents.batch")


class Out:
    """The open file of the results."""

    def __init__(
        self,
        path: Path,
        file: FileIO,
        line_of: Callable[[int], int],
        *,
        is_unordered: bool,
        columns: InputColumns | None = None,
    ) -> None:
        self.path = path
        self.columns = columns
        """The input's columns, which each line repeats; None: it does not."""
        self.is_unordered = is_unordered
        """Whether lines are written as items end, and not in the order of the items."""
        self._undeleted: set[int] = set()
        """The positions of lines that OUT holds, and the ledger as well."""
        self.line_of = line_of
        """Gives the number of the line of the item at a position."""
        self.lines = 0
        """The number of lines of this batch."""
        self._file = file
        self._place = path.absolute()  # code in a node may change the working directory
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
            self._add(enumerate(missing, self.lines))

    def add(self, documents: Iterable[tuple[int, str]]) -> None:
        """Append lines of items at any positions, as `append` does.

        Lines that OUT holds are skipped, until `deleted` names them.
        """
        with self._writing:
            new = {at: document for at, document in documents if at not in self._undeleted}
            self._add(new.items())
            self._undeleted.update(new)

    def deleted(self, positions: Iterable[int]) -> None:
        """Note which lines the ledger does not have any more."""
        self._undeleted.difference_update(positions)

    def _add(self, documents: Iterable[tuple[int, str]]) -> None:
        made = [self._line(document, position).encode() + b"\n" for position, document in documents]
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
            self._file.seek(0)
            while chunk := source.read(min(_CHUNK, end - source.tell())):
                self._write(chunk)
            os.fsync(self._file.fileno())

    def _line(self, document: str, position: int) -> str:
        """The line of an item, with the number of its line and its columns behind its id."""
        _, end = _DECODER.raw_decode(document, _value_at(document, 0))
        own = f', "line": {self.line_of(position)}'
        if self.columns is not None:
            own += f', "columns": {self.columns.at(position)}'
        rest = end
        while document.startswith(_OWN_KEYS, rest):  # it was in OUT before
            _, rest = _DECODER.raw_decode(document, _value_at(document, rest))
        return f"{document[:end]}{own}{document[rest:]}"

    @property
    def is_in_place(self) -> bool:
        """Whether the path still names the open file: it was not removed, renamed or replaced."""
        try:
            return os.path.samestat(self._place.stat(), os.fstat(self._file.fileno()))
        except OSError:
            return False

    def put_back(self, ledger: Ledger, batch_id: str) -> None:
        """Keep all lines in the ledger again, so that they can be written anew."""
        with self._writing, os.fdopen(os.dup(self._file.fileno()), "rb") as file:
            file.seek(0)
            lines = itertools.islice(_whole(file), self.lines)
            held = ((self._position(line, at), line[:-1].decode()) for at, line in enumerate(lines))
            outputs.put_back(ledger, batch_id, held)
            self._undeleted.clear()

    def _position(self, line: bytes, at: int) -> int:
        """The position of the item of a line; those of earlier versions have no number."""
        number = _parsed(line).get("line")
        if not isinstance(number, int):
            return at
        return bisect.bisect_left(range(sys.maxsize), number, key=self.line_of)

    def reopen(self) -> None:
        """Continue with a new file at the path. The lines of the old one are in the ledger."""
        try:
            file = _file_at(self._place)
        except (OSError, InputError) as error:
            why = getattr(error, "strerror", None) or error
            raise RunError(f"{self._gone()}, and cannot be written anew ({why}): {_KEPT}") from None
        if os.fstat(file.fileno()).st_size:
            file.close()
            raise RunError(f"{self._gone()}, and another file is there now: move it; {_KEPT}")
        self._file.close()
        self._file, self.lines, self._end = file, 0, 0
        _log.warning("%s: all results are written anew", self._gone())

    def _gone(self) -> str:
        return f"{self.path} was removed, renamed or replaced while the batch was running"

    def close(self) -> None:
        """Close the file, and release its lock."""
        self._file.close()

    def _refuse_changed(self) -> None:
        """Do not write to a file that another process has changed."""
        if os.fstat(self._file.fileno()).st_size != self._end:
            raise RunError(
                f"{self.path} was changed while the batch was running: the results that it does not "
                "hold are kept; put the file back, and the same command continues"
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


def _value_at(document: str, start: int) -> int:
    """Where the value of the key that begins at an index starts."""
    colon = document.index(":", start) + 1
    return colon + (document[colon] == " ")


_KEPT = "the results are kept, and the same command continues"
_OWN_KEYS = (', "line":', ',"line":', ', "columns":')
_DECODER = json.JSONDecoder()


def read(path: Path) -> Generator[tuple[dict[str, Any], str, int]]:
    """Read the complete lines of an OUT: values, text, and the offset in bytes of the next line.

    A line that is not from a batch has no values.
    """
    end = 0
    for line in whole_lines(path):
        end += len(line)
        yield _parsed(line), line[:-1].decode("utf-8", "replace"), end


def whole_lines(path: Path) -> Generator[bytes]:
    """The complete lines of a file."""
    with path.open("rb") as file:
        yield from _whole(file)


def _whole(file: Iterable[bytes]) -> Iterator[bytes]:
    return itertools.takewhile(lambda line: line.endswith(b"\n"), file)


@contextlib.contextmanager
def opened(
    path: Path,
    line_of: Callable[[int], int],
    *,
    is_unordered: bool = False,
    columns: InputColumns | None = None,
) -> Generator[Out]:
    """Open OUT, creating it if it is missing; no other process can open it meanwhile.

    `line_of` gives the number of an item's line by its position.
    """
    try:
        file = _file_at(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
    out = Out(path, file, line_of, is_unordered=is_unordered, columns=columns)
    with contextlib.closing(out):
        yield out


def _file_at(path: Path) -> FileIO:
    file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
    try:
        _lock(path, file)
    except BaseException:
        file.close()
        raise
    return file


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


def conform(ledger: Ledger, batch_id: str, out: Out) -> None:
    """Have all lines written anew if they repeat the input's columns and are not to, or vice versa."""
    first = next(read(out.path), None)
    if first is not None and ("columns" in first[0]) != (out.columns is not None):
        out.put_back(ledger, batch_id)
        out.truncate(0, 0)


async def write_ready(ledger: Ledger, batch_id: str, out: Out) -> None:
    """Write the lines to OUT that it is to hold next, and then delete them from the ledger."""
    while True:
        if not out.is_in_place:
            await asyncio.to_thread(out.put_back, ledger, batch_id)
            out.reopen()
        if out.is_unordered:
            found = outputs.kept(ledger, batch_id, _LINES)
            await asyncio.to_thread(out.add, found)
            positions = [position for position, _ in found]
            if not outputs.delete(ledger, batch_id, positions):
                return  # there are none, or another process has taken the batch over
            out.deleted(positions)
            continue
        first = out.lines
        lines = outputs.in_order(ledger, batch_id, first, _LINES)
        if not lines:
            return
        await asyncio.to_thread(out.append, lines, first)
        outputs.written(ledger, batch_id, out.lines)
