"""ITEMS at hand: read once to know what they are, and a second time to run them.

What can be read only once, stdin or a pipe, is written to a temporary file first. A file is read
where it lies, so it is looked at whether it changes meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from aideon_agents.batch import items
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import BinaryIO

    from aideon_agents.batch.items import Form, Item

Items: TypeAlias = "str | Path | Iterable[str | Mapping[str, Any]]"
"""A file's name, `-` for stdin, or the items themselves."""

_LOOKED_AT = 64 * 1024
"""Bytes from the beginning that tell text from anything else."""

_STDIN = "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Items that can be read again and again."""

    name: str
    """For what is said of it."""
    path: Path | None
    """The file as it was named; None: it is none."""
    form: Form
    file: BinaryIO
    digest: str
    """SHA-256 in hex of what was given, whatever the form it was written in."""
    count: int
    """How many items there are."""
    seen: tuple[int, int]
    """Size and time of the file when the items were counted."""

    def items(self) -> Generator[Item]:
        """Read the items."""
        self.file.seek(0)
        with contextlib.closing(items.read(self.file, self.form, self.name)) as found:
            for item in found:
                self.refuse_changed()  # before each: none is run and paid that nobody counted
                yield item
        self.refuse_changed()

    def refuse_changed(self) -> None:
        """Refuse to go on with a file that is another by now."""
        if _seen(self.file) != self.seen:
            raise InputError(
                f"{self.name} was changed while the batch was running: what is done is kept, and "
                "the same command begins another batch with what it holds now"
            )


@contextlib.contextmanager
def opened(given: Items) -> Generator[Source]:
    """Open items and read them once."""
    with contextlib.ExitStack() as open_while_used:
        name, path, file = _file(given, open_while_used)
        try:
            start = file.read(_LOOKED_AT)
            items.refuse_binary(name, start)
            form = items.form_of(name, start)
            file.seek(0)
            seen = _seen(file)
            digest, count = _digest(file, form, name)
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
        if not count:
            raise InputError(f"{name} holds no items: write one JSON line for each")
        yield Source(
            name=name, path=path, form=form, file=file, digest=digest, count=count, seen=seen
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
    """What can be read only once, in a file that goes with this process."""
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


def _digest(file: BinaryIO, form: Form, name: str) -> tuple[str, int]:
    """What is given, as a number, and how many items it is."""
    read, count = hashlib.sha256(), 0
    with contextlib.closing(items.read(file, form, name)) as found:
        for item in found:
            what = [item.item_id, item.task, item.inputs, item.problem]
            read.update(json.dumps(what, sort_keys=True).encode())
            count += 1
    return read.hexdigest(), count


def _seen(file: BinaryIO) -> tuple[int, int]:
    now = os.fstat(file.fileno())
    return now.st_size, now.st_mtime_ns
