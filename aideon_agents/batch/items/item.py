"""One item, and the checks that make it a valid one.

A line that cannot be read is an item with a problem: it does not stop the batch. Its position and its
line number count like any other, so the results of other items keep their places when it is corrected.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

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
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """Its keys and values as they are in the file, in the same order, with those of its id and its
    task; empty if the line cannot be read."""
    has_own_id: bool = False
    """Its id was given, and is not only the number of its line."""


class Wrong(Exception):  # noqa: N818 - it is not raised, but says what is wrong with a line
    """A line is not a valid item."""

    def __init__(self, why: str, item_id: object = None) -> None:
        super().__init__(why)
        self.item_id = item_id


Given: TypeAlias = "Mapping[str, Any] | Wrong"


def made(found: Iterable[tuple[int, Given]]) -> Generator[Item]:
    """The items of what a reader has found, each with the number of its line."""
    for position, (line, given) in enumerate(found):
        yield _item(position, line, given)


def _item(position: int, line: int, given: Given) -> Item:
    wrong = given if isinstance(given, Wrong) else _mistake(given)
    if wrong:
        item_id = wrong.item_id if _is_id(wrong.item_id) else line
        columns = {} if isinstance(given, Wrong) else given
        return Item(position, str(item_id), "", {}, line, f"line {line}: {wrong}", columns)
    values = cast("Mapping[str, Any]", given)
    item_id = values.get("id")
    inputs = {key: value for key, value in values.items() if key not in _ID_OR_TASK}
    own_id = str(line if item_id is None else item_id)
    has_own = item_id is not None
    return Item(position, own_id, values["task"], inputs, line, None, values, has_own)


def _mistake(given: Mapping[str, Any]) -> Wrong | None:
    item_id, task = given.get("id"), given.get("task")
    if item_id is not None and not _is_id(item_id):
        return Wrong("the id must be text that is not empty")
    if len(str(item_id)) > _LONGEST_ID:
        return Wrong(f"the id is longer than {_LONGEST_ID} characters")
    if not isinstance(task, str):
        missing = "there is no task" if task is None else "the task must be text"
        return Wrong(missing, item_id)
    if not task.strip():
        return Wrong("the task is empty", item_id)
    if not is_unicode(task):
        return Wrong("the task is not text in UTF-8", item_id)
    return None


def _is_id(value: object) -> bool:
    """Whether it can name an item: text, or a whole number as other tools write them."""
    if isinstance(value, int):
        return not isinstance(value, bool)
    return (
        isinstance(value, str) and bool(value.strip()) and "\0" not in value and is_unicode(value)
    )


def is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
