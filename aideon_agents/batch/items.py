"""The items of a batch, read one after another: only one is in memory.

A line that cannot be read is an item with a problem: it does not stop the batch. Its position and its
line number count like any other, so the results of other items keep their places when it is corrected.

Items are read twice: to count and digest them, and to run them. A stream that can be read only once
(stdin, a pipe) is copied to a temporary file first. A file is read in place, so every read checks
whether it was changed.
"""

from __future__ import annotations

import bisect
import codecs
import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import os
import shutil
import stat
import sys
import tempfile
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from typing import BinaryIO


Form: TypeAlias = Literal["jsonl", "csv"]

LONGEST = 16 * 1024 * 1024
"""Bytes of one line: a longer one does not fit into any model."""

_SHALLOW = 100
"""Brackets of a line up to which its nesting is not checked."""

_LONGEST_ID = 500
"""Characters: Postgres cannot index longer ids."""

_ID_OR_TASK = ("id", "task")


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One item, as it was read."""

    position: int
    """Its index among the items, from 0."""
    item_id: str
    """Its own id, or the number of its line."""
    task: str
    inputs: Mapping[str, Any]
    """Its other keys."""
    line: int = 0
    """The number of its line, or of its first one, from 1."""
    problem: str | None = None
    """Why the item is invalid; None: it is valid."""


def read(file: BinaryIO, form: Form, name: str) -> Generator[Item]:
    """Read items."""
    found = _csv(file, name) if form == "csv" else _jsonl(file)
    for position, (line, given) in enumerate(found):
        yield _item(position, line, given)


def form_of(name: str, start: bytes) -> Form:
    """The format of items, by the name of their file, else by its first line."""
    if name.lower().endswith(".csv"):
        return "csv"
    if name.lower().endswith((".jsonl", ".ndjson", ".json")):
        return "jsonl"
    first = (
        start.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0].decode("utf-8", "replace")
    )
    try:
        json.loads(first)
    except ValueError:
        header = next(csv.reader([first]), [])
        return "csv" if "task" in [cell.strip() for cell in header] else "jsonl"
    return "jsonl"


def refuse_binary(name: str, start: bytes) -> None:
    """Refuse a file that is not text."""
    first = start.lstrip().split(b"\n", 1)[0]
    try:
        codecs.getincrementaldecoder("utf-8")().decode(
            first
        )  # its last character may be incomplete
    except UnicodeDecodeError:
        is_text = False
    else:
        is_text = b"\0" not in start
    if not is_text:
        raise InputError(f"{name} is not text in UTF-8: items are JSON lines, or CSV")


class _Wrong(Exception):  # noqa: N818 - it is not raised, but says what is wrong with a line
    """A line is not a valid item."""

    def __init__(self, why: str, item_id: object = None) -> None:
        super().__init__(why)
        self.item_id = item_id


_Given: TypeAlias = "Mapping[str, Any] | _Wrong"


def _item(position: int, line: int, given: _Given) -> Item:
    wrong = given if isinstance(given, _Wrong) else _mistake(given)
    if wrong:
        item_id = wrong.item_id if _is_id(wrong.item_id) else line
        return Item(position, str(item_id), "", {}, line, f"line {line}: {wrong}")
    values = cast("Mapping[str, Any]", given)
    item_id = values.get("id")
    inputs = {key: value for key, value in values.items() if key not in _ID_OR_TASK}
    own_id = str(line if item_id is None else item_id)
    return Item(position, own_id, values["task"], inputs, line)


def _mistake(given: Mapping[str, Any]) -> _Wrong | None:
    item_id, task = given.get("id"), given.get("task")
    if item_id is not None and not _is_id(item_id):
        return _Wrong("the id must be text that is not empty")
    if len(str(item_id)) > _LONGEST_ID:
        return _Wrong(f"the id is longer than {_LONGEST_ID} characters")
    if not isinstance(task, str):
        missing = "there is no task" if task is None else "the task must be text"
        return _Wrong(missing, item_id)
    if not task.strip():
        return _Wrong("the task is empty", item_id)
    if not _is_unicode(task):
        return _Wrong("the task is not text in UTF-8", item_id)
    return None


def _is_id(value: object) -> bool:
    """Whether it can name an item: text, or a whole number as other tools write them."""
    if isinstance(value, int):
        return not isinstance(value, bool)
    return (
        isinstance(value, str) and bool(value.strip()) and "\0" not in value and _is_unicode(value)
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _jsonl(file: BinaryIO) -> Iterator[tuple[int, _Given]]:
    for number, line in _lines(file):
        if isinstance(line, _Wrong):
            yield number, line
        elif line.strip():
            yield number, _parsed(line.rstrip("\r\n"))


def _parsed(line: str) -> _Given:
    try:
        value: object = json.loads(line)
        if line.count("[") + line.count("{") > _SHALLOW:
            json.dumps([[value]])  # a line that is nested too deeply can be read, but not written
    except json.JSONDecodeError as error:
        return _Wrong(f"it is not JSON ({error.msg}, column {error.colno})")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a thousand [
        return _Wrong(f"it cannot be read ({type(error).__name__})")
    if isinstance(value, str):
        return {"task": value}
    if not isinstance(value, Mapping):
        return _Wrong('it is neither an object with a "task" nor a string')
    return cast("Mapping[str, Any]", value)


def _csv(file: BinaryIO, name: str) -> Iterator[tuple[int, _Given]]:
    csv.field_size_limit(LONGEST)  # the module's own limit is 128 kB, too little for a document
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _records(text, name)
    finally:
        text.detach()  # the caller closes the file


def _records(text: Iterable[str], name: str) -> Iterator[tuple[int, _Given]]:
    reader = csv.reader(text)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, _Wrong(f"it is not CSV ({error})")
            continue
        if not cells:
            continue
        if header is None:
            header = _header(cells, f"{name}:{line}")
            continue
        yield line, _row(header, cells)


def _header(cells: list[str], where: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    twice = [name for index, name in enumerate(header) if name in header[:index]]
    if "task" not in header:
        raise InputError(
            f"{where}: there is no column task, only {', '.join(header)}: rename the one that "
            "holds the task"
        )
    if twice:
        raise InputError(f"{where}: two columns are called {twice[0]!r}: rename one")
    return header


def _row(header: list[str], cells: list[str]) -> _Given:
    if len(cells) != len(header):
        return _Wrong(f"it has {len(cells)} cells, and the header has {len(header)}")
    if not all(_is_unicode(cell) for cell in cells):
        return _Wrong("it is not text in UTF-8")
    values: dict[str, Any] = dict(zip(header, cells, strict=True))
    return {key: value for key, value in values.items() if key != "id" or value.strip()}


def _lines(file: BinaryIO) -> Iterator[tuple[int, str | _Wrong]]:
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST)
            yield number, _Wrong(f"it is longer than {LONGEST // 1024 // 1024} MB")
            continue
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            yield number, _Wrong("it is not text in UTF-8")


Items: TypeAlias = "str | Path | Iterable[str | Mapping[str, Any]]"
"""A file's name, `-` for stdin, or the items themselves."""

_LOOKED_AT = 64 * 1024
"""Bytes from the beginning that tell text from anything else."""

_STDIN = "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Items that can be read more than once."""

    name: str
    """The name in messages."""
    path: Path | None
    """The file as the caller named it; None: the items are not in a file."""
    form: Form
    file: BinaryIO
    digest: str
    """SHA-256 in hex of the items, independent of their format."""
    count: int
    """The number of items."""
    jumps: tuple[array[int], array[int]]
    """Where lines are left out between items: positions of items, and by how much their lines, and
    those after them, are ahead of their positions."""
    seen: tuple[int, int]
    """Size and modification time (ns) of the file when the items were counted."""

    def items(self) -> Generator[Item]:
        """Read the items."""
        self.file.seek(0)
        with contextlib.closing(read(self.file, self.form, self.name)) as found:
            for item in found:
                self.refuse_changed()  # before each item: none is run and paid that was not counted
                yield item
        self.refuse_changed()

    def line_of(self, position: int) -> int:
        """The number of an item's line, from 1."""
        positions, ahead = self.jumps
        found = bisect.bisect_right(positions, position)
        return position + (ahead[found - 1] if found else 1)

    def refuse_changed(self) -> None:
        """Refuse a file that was changed since its items were counted."""
        if _seen(self.file) != self.seen:
            raise InputError(
                f"{self.name} was changed while the batch was running: finished items are kept, and "
                "the same command starts a new batch with its current content"
            )


@contextlib.contextmanager
def opened(given: Items) -> Generator[Source]:
    """Open items, and read them once to count them."""
    with contextlib.ExitStack() as open_while_used:
        name, path, file = _file(given, open_while_used)
        try:
            start = file.read(_LOOKED_AT)
            refuse_binary(name, start)
            form = form_of(name, start)
            file.seek(0)
            seen = _seen(file)
            digest, count, jumps = _digest(file, form, name)
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
        if not count:
            raise InputError(f"there is no item in {name}: write one JSON line for each")
        yield Source(
            name=name,
            path=path,
            form=form,
            file=file,
            digest=digest,
            count=count,
            jumps=jumps,
            seen=seen,
        )


def _file(given: Items, open_while_used: contextlib.ExitStack) -> tuple[str, Path | None, BinaryIO]:
    if not isinstance(given, str | Path):
        return "the items", None, _written(given, open_while_used)
    if str(given) == _STDIN:
        return "stdin", None, _spooled(sys.stdin.buffer, open_while_used)
    path = Path(given)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder: name a file of items, JSON lines or CSV")
        file = open_while_used.enter_context(path.open("rb"))
        if not stat.S_ISREG(mode):
            return str(path), path, _spooled(file, open_while_used)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return str(path), path, file


def _spooled(once: BinaryIO, open_while_used: contextlib.ExitStack) -> BinaryIO:
    """A temporary copy of a stream that can be read only once."""
    spool = open_while_used.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it is entered
    shutil.copyfileobj(once, spool)
    spool.seek(0)
    return spool


def _written(
    given: Iterable[str | Mapping[str, Any]], open_while_used: contextlib.ExitStack
) -> BinaryIO:
    spool = open_while_used.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it is entered
    for number, one in enumerate(given, 1):
        if not isinstance(cast("object", one), str | Mapping):
            kind = type(one).__name__
            raise InputError(f"item {number} is a {kind}: it must be a task, or a mapping")
        try:
            line = json.dumps(one if isinstance(one, str) else dict(one))
        except (TypeError, ValueError) as error:
            raise InputError(f"item {number} cannot be written as JSON: {error}") from None
        spool.write(line.encode() + b"\n")
    spool.seek(0)
    return spool


def _digest(
    file: BinaryIO, form: Form, name: str
) -> tuple[str, int, tuple[array[int], array[int]]]:
    """The digest of the items, their number, and where lines are left out between them."""
    digest, count, ahead = hashlib.sha256(), 0, 1
    jumps = array("q"), array("q")
    with contextlib.closing(read(file, form, name)) as found:
        for item in found:
            what = [item.item_id, item.task, item.inputs, item.problem]
            digest.update(json.dumps(what, sort_keys=True).encode())
            if item.line - item.position != ahead:
                ahead = item.line - item.position
                jumps[0].append(item.position)
                jumps[1].append(ahead)
            count += 1
    return digest.hexdigest(), count, jumps


def _seen(file: BinaryIO) -> tuple[int, int]:
    now = os.fstat(file.fileno())
    return now.st_size, now.st_mtime_ns
