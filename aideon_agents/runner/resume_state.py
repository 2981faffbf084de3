"""What is left of a run that ended before its end, read before anything goes on.

That its state names no next node does not mean that it is done: a branch that stopped may lie
deeper. So it goes on wherever there is a checkpoint, and LangGraph finds what is left to do.

Whether an answer fits the questions that a run waits with, before anything goes on.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME
from langgraph.types import Command
from pydantic_core import to_jsonable_python

from aideon_agents.errors import InputError, UserError
from aideon_agents.ledger.checkpointer import Checkpoints
from aideon_agents.ledger.redaction import one_line
from aideon_agents.ledger.rows import Run, RunStart
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner import state
from aideon_agents.runner.events import Question
from aideon_agents.runner.roots import Root, results_in
from aideon_agents.runner.state import Thread, by_place, question
from aideon_agents.state import StepResult, merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jsonschema.exceptions import ValidationError
    from langgraph.types import Interrupt


class Nothing(enum.Enum):
    """That no answer was given: None is one, JSON's null."""

    NOTHING = enum.auto()


NOTHING: Final = Nothing.NOTHING


def checked(answer: object, questions: Sequence[Question], run_id: str) -> dict[str, Any]:
    """The answers by the ids of their questions."""
    shown = f"`aideon runs show {run_id}` shows what it asks"
    if answer is NOTHING:
        raise InputError(f"run {run_id} waits for an answer, and none was given: {shown}")
    by_id = {one.id: one for one in questions}
    try:
        answers = _by_id(to_jsonable_python(answer), by_id)
    except ValueError as error:
        raise InputError(f"the answer has no equal in JSON: {one_line(str(error))}") from None
    if answers is None:
        raise InputError(
            f"run {run_id} asks {len(questions)} questions: answer with a JSON object, "
            f"{{id: answer}}; {shown}"
        )
    for identity, given in answers.items():
        if identity not in by_id:
            raise InputError(f"run {run_id} asks no question {identity!r}: {shown}")
        asked = by_id[identity]
        if wrong := _wrong(given, asked.schema):
            raise InputError(f"the answer to {asked.node_path} does not fit: {wrong}")
    return answers


def _by_id(answer: object, questions: Mapping[str, Question]) -> dict[str, Any] | None:
    """None: several questions need an object with at least one answer."""
    given = cast("Mapping[str, Any]", answer) if isinstance(answer, Mapping) else {}
    if len(questions) > 1:
        return dict(given) or None
    (only,) = questions
    return dict(given) if given.keys() == {only} else {only: answer}


def _wrong(given: object, schema: object) -> str | None:
    """What of an answer is not as its schema says, with the path of the field; None: nothing."""
    # A twelfth of a second, which only answers need.
    from jsonschema.exceptions import SchemaError, best_match  # noqa: PLC0415
    from jsonschema.validators import validator_for  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    if not isinstance(schema, dict):
        return None
    known = cast("dict[str, Any]", schema)
    kind = validator_for(known)
    try:
        kind.check_schema(known)
        # A registry of its own: what a schema refers to elsewhere is fetched from nowhere.
        error = best_match(kind(known, registry=Registry()).iter_errors(cast("Any", given)))
    except (SchemaError, Unresolvable, re.error):  # not the fault of whoever answers
        return None
    return None if error is None else _said(error)


def _said(error: ValidationError) -> str:
    path = error.json_path.removeprefix("$").removeprefix(".")
    return one_line(f"{path}: {error.message}" if path else error.message)


_NO_OUTPUT = frozenset((ERROR, INTERRUPT, RESUME, "__error_source_node__"))
"""Channels that say how a task fared. One that wrote into any other came to its end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leftover:
    """What a run goes on with."""

    entry: Any
    """What the graph is given: its input at first, then an answer, or None to go on without."""
    task: str
    done: dict[str, StepResult] = dataclasses.field(default_factory=dict[str, StepResult])
    """What nodes have given so far."""
    finished: frozenset[str] = frozenset()
    """LangGraph's ids of the tasks that came to their end."""
    asked: tuple[Question, ...] = ()
    """What it waited for an answer to."""


async def left_by(
    root: Root,
    start: RunStart,
    book: Ledger,
    seen: Run,
    answer: object,
    *,
    saver: Checkpoints | None = None,
) -> Leftover:
    """Read what a run has left, and check the answer to what it asks."""
    async with state.joined(root, start, book, keeps=True, saver=saver) as thread:
        saver = _saver(thread)
        kept = await saver.aget_tuple(thread.config)
        if kept is None or kept.metadata.get(state.RUN) != start.run_id:
            raise UserError(_nothing_left(start, kept.metadata if kept else {}))
        known = await state.kept(saver, start.run_id)
        read = await _read(thread, start.run_id)
    asked = read.questions(known)
    answers = _answers(answer, asked, seen)
    return Leftover(
        entry=Command(resume=answers) if answers else None,
        task=str(kept.checkpoint["channel_values"].get("task", "")),
        done=read.done,
        finished=frozenset(read.finished),
        asked=tuple(asked),
    )


async def still_open(thread: Thread, run_id: str, known: Iterable[Question]) -> list[Question]:
    """What a run waits for that has taken some answers and refused another."""
    return (await _read(thread, run_id)).questions(known)


@dataclasses.dataclass(frozen=True)
class _Read:
    """What the checkpoints of a run say, at every depth."""

    done: dict[str, StepResult]
    finished: set[str]
    open: dict[str, Interrupt]

    def questions(self, known: Iterable[Question]) -> list[Question]:
        """What is open, with the places where it was asked."""
        asked = {one.id: one for one in known if one.id in self.open}
        for identity, one in self.open.items():
            if identity not in asked:
                asked[identity] = question(identity, "", one.value, one.response_schema)
        return by_place(asked.values())


async def _read(thread: Thread, run_id: str) -> _Read:
    """Read a run's checkpoints.

    A graph around a question repeats it in a checkpoint of its own, and may do so still when the
    task that asked is done: so what a task has asked that is done is not open.
    """
    done: dict[str, StepResult] = {}
    fared: dict[str, set[str]] = {}
    asked: dict[str, dict[str, Interrupt]] = {}
    place = {"thread_id": thread.config.get("configurable", {})["thread_id"]}
    filtered = _saver(thread).alist({"configurable": place}, filter={state.RUN: run_id})
    async for one in filtered:
        done = merge(done, results_in(one.checkpoint["channel_values"]))
        for task, channel, value in one.pending_writes or ():
            done = merge(done, results_in({channel: value}))
            fared.setdefault(task, set()).add(channel)
            if channel == INTERRUPT:
                asked.setdefault(task, {}).update({each.id: each for each in value})
    finished = {task for task, channels in fared.items() if channels - _NO_OUTPUT}
    closed = {identity for task in finished for identity in asked.get(task, ())}
    everything = {identity: each for told in asked.values() for identity, each in told.items()}
    still = {identity: one for identity, one in everything.items() if identity not in closed}
    return _Read(done, finished, still)


def _saver(thread: Thread) -> Checkpoints:
    if thread.saver is None:
        raise TypeError("a thread that keeps nothing was asked what it keeps")
    return thread.saver


def _nothing_left(start: RunStart, metadata: Mapping[str, Any]) -> str:
    if other := metadata.get(state.RUN):
        since = f"its thread {start.thread!r} has gone on with run {other} since"
        return f"run {start.run_id} cannot go on: {since}"
    return (
        f"run {start.run_id} has left nothing to go on from (it ended before its first "
        "checkpoint, kept none, or was pruned): start it again"
    )


def _answers(answer: object, asked: list[Question], seen: Run) -> dict[str, Any]:
    """By the ids of their questions; empty: it goes on without, and asks them again."""
    may_answer = asked and seen.status in ("waiting", "crashed")
    if answer is not NOTHING and not may_answer:
        again = "; its questions come again when it is resumed without one" if asked else ""
        raise InputError(f"run {seen.run_id} is {seen.status} and waits for no answer{again}")
    if answer is NOTHING and (seen.status != "waiting" or not asked):
        return {}
    return checked(answer, asked, seen.run_id)
