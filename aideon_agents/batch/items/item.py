"""One item, and what makes it a valid one.

A line that cannot be read is an item with a problem: it does not stop the batch. Its position and its
line number count like any other, so the results of other items keep their places when it is corrected.
"""

from __future__ import annotations

import dataclasses
import string
import textwrap
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from aideon_agents.errors import InputError
from aideon_agents.graphs.material import as_text, unsendable
from aideon_agents.models.pictures import pictures

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from aideon_agents.state import Picture

_LONGEST_ID = 500
"""Characters: Postgres cannot index longer ids."""

_LISTED = 200
"""Characters that names of columns take in a message."""


class ItemOptions(TypedDict, total=False):
    """Which items of a file are read, and what they are made of."""

    task_column: str | None
    """The column, or the key, of the task; None: `task`."""
    id_column: str | None
    """The column, or the key, of the id; None: `id`. An item without one has the number of its line."""
    template: str | None
    """The text of each task, with columns in braces: `"Summarise {title}: {body}"`. An item that lacks
    one of them is invalid. None: the task is in a column."""
    limit: int | None
    """Read only this many items, the first ones; None: all."""
    sample: int | None
    """Read only this many items, chosen at random and kept in their order; None: all."""
    seed: int | None
    """Chooses the sample: with the same seed it is the same one. None: 0."""
    delimiter: str | None
    """What separates the cells of a table, one character or `tab`; None: as its header shows."""


_TEXTS, _NUMBERS = (
    ("task_column", "id_column", "template", "delimiter"),
    ("limit", "sample", "seed"),
)
ITEM_KINDS: Mapping[str, tuple[Any, str]] = {
    **dict.fromkeys(_TEXTS, ((str, NoneType), "text")),
    **dict.fromkeys(_NUMBERS, ((int, NoneType), "a whole number")),
}
"""The types of these options, and what they are called in a message."""


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
    """The number of its line, or of its first one, from 1. In a JSON array, the number of the item."""
    problem: str | None = None
    """Why the item is invalid; None: it is valid."""
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """Its keys and values as they are in the file, in the same order, with those of its id and its
    task; empty if the line cannot be read."""
    has_own_id: bool = False
    """Its id was given, and is not only the number of its line."""
    images: tuple[Picture, ...] = ()
    """The pictures of its task, under its key `images`."""


class Wrong(Exception):  # noqa: N818 - it is not raised, but says what is wrong with a line
    """A line is not a valid item. `values` are those that can be read, for its id."""

    def __init__(self, why: str, values: Mapping[str, Any] | None = None) -> None:
        super().__init__(why)
        self.values = values or {}


Given: TypeAlias = "Mapping[str, Any] | Wrong"

Found: TypeAlias = "tuple[int, int, Given]"
"""What a reader has found: the number of the item, which is its line unless it is in a JSON array, the
line, and the values."""


class Maker:
    """Makes items of what the readers find.

    `shared` are the keys of the inputs of all items, which an empty cell does not replace. `needed`
    are the inputs that the texts of the workflow name: a column that is the id or a part of the task
    is an input too, if it is one of these.
    """

    def __init__(
        self,
        options: ItemOptions | None = None,
        shared: Collection[str] = (),
        needed: Collection[str] = (),
    ) -> None:
        options = options or {}
        self.folder: Path | None = None
        """Where the paths of pictures begin; None: in the working directory."""
        self.is_table = False
        """Whether an empty cell has no value, and an id or a task may be a number."""
        template, task_column = options.get("template"), options.get("task_column") or None
        if template is not None and task_column:
            raise InputError("give a template or the column of the task, not both")
        self._template = None if template is None else _parsed(template)
        self._task_column = task_column or "task"
        self._id_column = options.get("id_column") or "id"
        self._shared, self._needed = shared, needed
        self.has_task = bool(task_column or template)
        """Whether the caller has said what the task is."""
        parts = [name for _, name in self._template or () if name is not None]
        self.wanted = [*parts, *filter(None, (task_column, options.get("id_column")))]
        """The columns that the caller named."""
        self._expected = [*self.wanted, *([] if self.has_task else ["task"])]
        self._absent, self._some = set(self._expected), dict[str, None]()

    def check_columns(self, columns: Sequence[str], where: str) -> None:
        """Refuse a table that lacks the column of the task, or another one that was named."""
        self._note(columns)
        self.refuse_absent(where)
        for wanted in (*self.wanted, "id", "task"):
            if len(alike := _alike(columns, wanted)) > 1:
                raise InputError(
                    f"{where}: two columns are called {alike[0]!r} and {alike[1]!r}: rename one"
                )

    def refuse_absent(self, where: str) -> None:
        """Refuse a file in which no item has a column that was named, or a task."""
        if not self._absent or not self._some:
            return
        name = next(name for name in self._expected if name in self._absent)
        advice = ": rename the one that holds the task, or name it with --task-column"
        raise InputError(
            f"{where}: there is no column {name}, only {_listed([*self._some])}"
            f"{'' if name in self.wanted else advice}"
        )

    def _note(self, columns: Collection[str]) -> None:
        if self._absent:
            self._absent = {name for name in self._absent if not _alike(columns, name)}
            self._some.update(dict.fromkeys(columns) if len(self._some) < _LISTED else {})

    def item(self, position: int, found: Found) -> Item:
        """Make an item."""
        number, line, given = found
        values = given.values if isinstance(given, Wrong) else given
        if not isinstance(given, Wrong):
            self._note(values)
        item_id, taken = str(number), {"task"}
        try:
            own = self._id(values, taken)
            item_id = own or item_id
            if isinstance(given, Wrong):
                raise given
            self._check(values)
            task = self._task(values, taken)
            images = self._images(values.get("images"))
            taken.add("images")
        except Wrong as wrong:
            where = f"line {line}" if line == number else f"item {number}, line {line}"
            problem = f"{where}: {wrong}"
            return Item(position, item_id, "", {}, number, problem, _writable(values))
        inputs = {
            key: value
            for key, value in values.items()
            if value is not None
            and (key not in taken or (key != "task" and key in self._needed))
            and not (self.is_table and value == "" and key in self._shared)
        }
        is_own = own is not None
        return Item(position, item_id, task, inputs, number, None, values, is_own, images)

    def _images(self, given: Any) -> tuple[Picture, ...]:
        """The pictures of an item; the cell of a table has their paths with `;` between them."""
        if self.is_table and isinstance(given, str) and not given.startswith("data:"):
            given = [one.strip() for one in given.split(";") if one.strip()]
        try:
            return pictures(given, self.folder)
        except InputError as error:
            raise Wrong(str(error)) from None

    def _check(self, values: Mapping[str, Any]) -> None:
        tasks = _alike(values, self._task_column)
        for key, value in values.items():
            name = "the task" if key in tasks else f"the input {key}"
            if wrong := unsendable(key, "the name of an input") or unsendable(value, name):
                raise Wrong(wrong)

    def _id(self, values: Mapping[str, Any], taken: set[str]) -> str | None:
        value = _value(values, self._id_column, taken)
        if isinstance(value, float) and value.is_integer():  # as pandas writes whole numbers
            value = int(value)
        if self.is_table and value is not None:
            value = as_text(value).strip() or None
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise Wrong("the id must be text that is not empty")
        own = str(value)
        if not own.strip() or unsendable(own, ""):
            raise Wrong("the id must be text that is not empty")
        if len(own) > _LONGEST_ID:
            raise Wrong(f"the id is longer than {_LONGEST_ID} characters")
        return own

    def _task(self, values: Mapping[str, Any], taken: set[str]) -> str:
        if self._template:
            return "".join(
                text + ("" if name is None else _part(values, name, taken))
                for text, name in self._template
            )
        task = _value(values, self._task_column, taken)
        if self.is_table and task is not None:
            task = as_text(task)
        if not isinstance(task, str):
            raise Wrong("there is no task" if task is None else "the task must be text")
        if not task.strip():
            raise Wrong("the task is empty")
        return task


def _part(values: Mapping[str, Any], name: str, taken: set[str]) -> str:
    """The text of a column that a template names."""
    value = _value(values, name, taken)
    if value is None or not (text := as_text(value)).strip():
        raise Wrong(f"it has no {name}, which the template names")
    return text


def _value(values: Mapping[str, Any], wanted: str, taken: set[str]) -> Any:
    """The value of a column, whose name is noted; None: there is none."""
    alike = _alike(values, wanted)
    if len(alike) > 1:
        raise Wrong(f"both {alike[0]!r} and {alike[1]!r} could be its {wanted}")
    taken.update(alike)
    return values[alike[0]] if alike else None


def _alike(columns: Collection[str], wanted: str) -> list[str]:
    """The column of this name, else those that differ from it in case or spaces only."""
    if wanted in columns:
        return [wanted]
    plain = wanted.strip().casefold()
    return [name for name in columns if name.strip().casefold() == plain]


def _writable(values: Mapping[str, Any]) -> dict[str, Any]:
    """What can be read of the values of an invalid item, as text that can be written."""
    return {
        _text(key): _text(as_text(value)) if unsendable(value, "") else value
        for key, value in values.items()
    }


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode().replace("\0", "?")


def _listed(columns: Sequence[str]) -> str:
    return textwrap.shorten(", ".join(columns), _LISTED, placeholder=" ...")


def _parsed(template: str) -> Sequence[tuple[str, str | None]]:
    """Pieces of text, each with the column that comes after it; None: none does."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(
            f"the template {template!r} cannot be read ({error}): name columns as {{title}}, and "
            "write a brace as {{"
        ) from None
    if any(name == "" or form or conversion for _, name, form, conversion in parts):
        raise InputError(
            f"the template {template!r} has more or less than the name of a column in braces"
        )
    if not any(name for _, name, _, _ in parts):
        raise InputError(f"the template {template!r} names no column: name one as {{title}}")
    return [(text, name) for text, name, _, _ in parts]
