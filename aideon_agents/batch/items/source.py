"""Items that can be read more than once, one after another: only one is in memory.

Items are read twice: to count and digest them, and to run them. A stream that can be read only once
(stdin, a pipe) is copied to a temporary file first. A file is read in place, so every read checks
whether it was changed.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import random
import stat
import sys
import tempfile
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from aideon_agents.batch.items.forms import (
    LOOKED_AT,
    Form,
    delimiter_of,
    form_of,
    read,
    refuse_binary,
)
from aideon_agents.batch.items.item import Item, ItemOptions, Maker
from aideon_agents.errors import InputError
from aideon_agents.models.pictures import identities, portable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator
    from typing import BinaryIO

Items: TypeAlias = "str | Path | Iterable[str | Mapping[str, Any]]"
"""A file's name, `-` for stdin, or the items themselves."""

_LARGEST_COPY = 4 * 1024**3
"""Bytes of a stream that are copied: an endless one must not fill the disk."""

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
    reads: Callable[[], Generator[Item]]
    """Reads the items from the beginning of the file."""

    def items(self) -> Generator[Item]:
        """Read the items."""
        with contextlib.closing(self.reads()) as found:
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
def opened(
    given: Items,
    options: ItemOptions | None = None,
    shared: Collection[str] = (),
    needed: Collection[str] = (),
) -> Generator[Source]:
    """Open items, and read them once to count them.

    `shared` are the keys of inputs that all items have, and `needed` those that the workflow names.
    """
    options = options or {}
    delimiter, maker = delimiter_of(options), Maker(options, shared, needed)
    with contextlib.ExitStack() as open_while_used:
        name, path, file = _file(given, open_while_used)
        maker.folder = path.parent if path else None
        try:
            start = file.read(LOOKED_AT)
            file.seek(0)
            form: Form = (
                form_of(file, name, start, maker, delimiter)
                if isinstance(given, str | Path)
                else "jsonl"
            )
            seen = _seen(file)

            def every() -> Generator[Item]:
                file.seek(0)
                return read(file, form, name, maker, delimiter)

            chosen = _chosen(every, options)

            def reads() -> Generator[Item]:
                return every() if chosen is None else _picked(every(), chosen)

            digest, count, jumps = _digest(reads())
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
        maker.refuse_absent(name)
        if not count:
            raise InputError(f"there is no item in {name}: write at least one")
        yield Source(
            name=name,
            path=path,
            form=form,
            file=file,
            digest=digest,
            count=count,
            jumps=jumps,
            seen=seen,
            reads=reads,
        )


def _chosen(
    every: Callable[[], Generator[Item]], options: ItemOptions
) -> range | frozenset[int] | None:
    """The positions of the items that are read; None: all are."""
    limit, sample = options.get("limit"), options.get("sample")
    for word, number in (("limit", limit), ("sample", sample)):
        if number is not None and number < 1:
            raise InputError(f"the {word} is {number}: give at least 1")
    seed = options.get("seed")
    if sample is None:
        if seed is not None:
            raise InputError("a seed is only for a sample: give --sample N too")
        return None if limit is None else range(limit)
    with contextlib.closing(every()) as found:
        count = sum(1 for _ in itertools.islice(found, limit))
    return frozenset(random.Random(seed or 0).sample(range(count), min(sample, count)))  # noqa: S311 - not for secrets


def _picked(every: Generator[Item], chosen: range | frozenset[int]) -> Generator[Item]:
    """The items at the chosen positions, with new positions."""
    until = max(chosen, default=-1) + 1
    with contextlib.closing(every):
        found = (item for item in itertools.islice(every, until) if item.position in chosen)
        for position, item in enumerate(found):
            yield dataclasses.replace(item, position=position)


def _file(given: Items, open_while_used: contextlib.ExitStack) -> tuple[str, Path | None, BinaryIO]:
    if not isinstance(given, str | Path):
        return "the items", None, _written(given, open_while_used)
    if str(given) == _STDIN:
        return "stdin", None, _spooled("stdin", sys.stdin.buffer, open_while_used)
    path = Path(given)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder: name a file of items, JSON lines or CSV")
        file = open_while_used.enter_context(path.open("rb"))
        if not stat.S_ISREG(mode):
            return str(path), path, _spooled(str(path), file, open_while_used)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return str(path), path, file


def _spooled(name: str, once: BinaryIO, open_while_used: contextlib.ExitStack) -> BinaryIO:
    """A temporary copy of a stream that can be read only once."""
    spool = open_while_used.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it is entered
    size = 0
    while chunk := once.read(LOOKED_AT):
        if not size:
            refuse_binary(name, chunk)  # before it is copied: /dev/zero has no end
        size += len(chunk)
        if size > _LARGEST_COPY:
            raise InputError(f"{name} is longer than 4 GB: write the items to a file and name it")
        try:
            spool.write(chunk)
        except OSError as error:
            raise InputError(
                f"there is no room for a copy of {name} in {tempfile.gettempdir()} "
                f"({error.strerror or error}): write the items to a file and name it"
            ) from None
    spool.seek(0)
    return spool


def _written(
    given: Iterable[str | Mapping[str, Any]], open_while_used: contextlib.ExitStack
) -> BinaryIO:
    if hasattr(given, "keys"):  # a mapping, or a table of pandas: it gives its keys
        kind = type(given).__name__
        raise InputError(
            f"the items are a {kind}: give a list, with one task or one mapping for each item"
        )
    spool = open_while_used.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it is entered
    for number, one in enumerate(given, 1):
        if not isinstance(cast("object", one), str | Mapping):
            kind = type(one).__name__
            raise InputError(f"item {number} is a {kind}: it must be a task, or a mapping")
        try:
            line = json.dumps(one if isinstance(one, str) else _portable(one))
        except (TypeError, ValueError) as error:
            raise InputError(f"item {number} cannot be written as JSON: {error}") from None
        spool.write(line.encode() + b"\n")
    spool.seek(0)
    return spool


def _portable(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as JSON values: its pictures may be paths or bytes."""
    images = item.get("images")
    return {**item} if images is None else {**item, "images": portable(images)}


def _digest(items: Generator[Item]) -> tuple[str, int, tuple[array[int], array[int]]]:
    """The digest of the items, their number, and where lines are left out between them."""
    digest, count, ahead = hashlib.sha256(), 0, 1
    jumps = array("q"), array("q")
    with contextlib.closing(items) as found:
        for item in found:
            what = [item.item_id, item.task, item.inputs, item.problem]
            what += identities(item.images)
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
