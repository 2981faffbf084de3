"""OUT: the results in the order of ITEMS, as an unbroken prefix of whole lines.

The file itself says how far it has come: it is only ever added to at its end, and a line that a
killed process left half written is cut off. A line is safe on the disk before the ledger forgets
what it holds, so nothing is lost and nothing is there twice, whenever the process dies.
"""

from __future__ import annotations

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

from aideon_agents.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from aideon_agents.batch.source import Source


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
