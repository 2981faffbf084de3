"""What a run that ended early has left, and whether an answer fits the questions it waits with.

All of it is read and checked before the run resumes. A state that names no next node is not
necessarily complete: a branch that stopped may be deeper. So a run resumes wherever there is a
checkpoint, and LangGraph finds what is left to do.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME
from langgraph.types import Command
from pydantic_core import to_jsonable_python

from aideon_agents.errors import InputError, UserError
from aideon_agents.ledger.checkpointer import Checkpointer
from aideon_agents.ledger.redaction import one_line
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.events import Question
from aideon_agents.runner.outcome import results_in
from aideon_agents.runner.spec import NOTHING, RunSpec
from aideon_agents.runner.state import RUN, Thread, by_path, open_thread, question, saved_questions
from aideon_agents.state import StepResult, merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jsonschema.exceptions import ValidationError
    from langgraph.types import Interrupt


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResumeState:
    """What a graph continues from; of a run that begins, its input and its task."""

    entry: Any
    """The input of the graph: of a run that resumes a Command with answers, or None."""
    task: str
    done: dict[str, StepResult] = dataclasses.field(default_factory=dict[str, StepResult])
    """What nodes have given so far."""
    finished: frozenset[str] = frozenset()
    """LangGraph's ids of the tasks that completed."""
    asked: tuple[Question, ...] = ()
    """The questions that it waited with."""


async def load_resume_state(spec: RunSpec, ledger: Ledger, seen: Run) -> ResumeState:
    """Read what a run has left, and check the answer to its questions."""
    run_id = spec.start.run_id
    async with open_thread(spec, ledger, keeps_state=True) as thread:
        checkpointer = _checkpointer(thread)
        kept = await checkpointer.aget_tuple(thread.config)
        if kept is None or kept.metadata.get(RUN) != run_id:
            raise UserError(_nothing_left(spec.start, kept.metadata if kept else {}))
        known = await saved_questions(checkpointer, run_id)
        done, finished, asked = await _read(thread, run_id, known)
    answers = _answers(spec.answer, asked, seen)
    return ResumeState(
        entry=Command(resume=answers) if answers else None,
        task=str(kept.checkpoint["channel_values"].get("task", "")),
        done=done,
        finished=frozenset(finished),
        asked=tuple(asked),
    )


async def still_open(thread: Thread, run_id: str, known: Iterable[Question]) -> list[Question]:
    """What a run waits with after its nodes took some answers and rejected another."""
    _, _, asked = await _read(thread, run_id, known)
    return asked


_NO_OUTPUT = frozenset((ERROR, INTERRUPT, RESUME, "__error_source_node__"))
"""Channels that say what happened to a task. One that wrote into any other channel completed."""


async def _read(
    thread: Thread, run_id: str, known: Iterable[Question]
) -> tuple[dict[str, StepResult], set[str], list[Question]]:
    """Read the results, the completed tasks and the open questions from a run's checkpoints.

    A graph around a question repeats it in a checkpoint of its own, and may still do so when the
    task that asked has completed: so the questions of a completed task are not open. What was asked
    is in `known`, with its node path.
    """
    done: dict[str, StepResult] = {}
    channels: dict[str, set[str]] = {}
    asked: dict[str, dict[str, Interrupt]] = {}
    thread_id = thread.config.get("configurable", {})["thread_id"]
    filtered = _checkpointer(thread).alist(
        {"configurable": {"thread_id": thread_id}}, filter={RUN: run_id}
    )
    async for one in filtered:
        done = merge(done, results_in(one.checkpoint["channel_values"]))
        for task, channel, value in one.pending_writes or ():
            done = merge(done, results_in({channel: value}))
            channels.setdefault(task, set()).add(channel)
            if channel == INTERRUPT:
                asked.setdefault(task, {}).update({each.id: each for each in value})
    finished = {task for task, written in channels.items() if written - _NO_OUTPUT}
    closed = {identity for task in finished for identity in asked.get(task, ())}
    everything = {identity: each for some in asked.values() for identity, each in some.items()}
    still = {identity: one for identity, one in everything.items() if identity not in closed}
    open_ = {one.id: one for one in known if one.id in still}
    for identity, one in still.items():
        if identity not in open_:
            open_[identity] = question(identity, "", one.value, one.response_schema)
    return done, finished, by_path(open_.values())


def _checkpointer(thread: Thread) -> Checkpointer:
    if thread.checkpointer is None:
        raise TypeError("this thread keeps no state")
    return thread.checkpointer


def _nothing_left(start: Run, metadata: Mapping[str, Any]) -> str:
    if other := metadata.get(RUN):
        return (
            f"run {start.run_id} cannot resume: run {other} has continued its thread "
            f"{start.thread!r} since"
        )
    return (
        f"run {start.run_id} has left nothing to resume from (it ended before its first "
        "checkpoint, was run without checkpoint=True, or was pruned): start it again"
    )


def _answers(answer: object, asked: list[Question], seen: Run) -> dict[str, Any]:
    """By the ids of their questions; empty: the run resumes without, and asks them again."""
    may_answer = asked and seen.status in ("waiting", "crashed")
    if answer is not NOTHING and not may_answer:
        again = "; its questions come again when it is resumed without one" if asked else ""
        raise InputError(f"run {seen.run_id} is {seen.status} and waits for no answer{again}")
    if answer is NOTHING and (seen.status != "waiting" or not asked):
        return {}
    return _valid_answers(answer, asked, seen.run_id)


def _valid_answers(answer: object, questions: Sequence[Question], run_id: str) -> dict[str, Any]:
    """The answers by the ids of their questions."""
    shown = f"`aideon runs show {run_id}` shows what it asks"
    if answer is NOTHING:
        raise InputError(f"run {run_id} waits for an answer, and none was given: {shown}")
    by_id = {one.id: one for one in questions}
    try:
        answers = _by_id(to_jsonable_python(answer), by_id)
    except ValueError as error:
        raise InputError(f"the answer cannot be written as JSON: {one_line(str(error))}") from None
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
    """The answers by id; None: several questions need an object with at least one answer."""
    given = cast("Mapping[str, Any]", answer) if isinstance(answer, Mapping) else {}
    if len(questions) > 1:
        return dict(given) or None
    (only,) = questions
    return dict(given) if given.keys() == {only} else {only: answer}


def _wrong(given: object, schema: object) -> str | None:
    """What does not fit the schema, with the path of the field; None: nothing, or a bad schema."""
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
        # An empty registry, so that no reference in a schema is fetched from the network.
        error = best_match(kind(known, registry=Registry()).iter_errors(cast("Any", given)))
    except (SchemaError, Unresolvable, re.error):  # the answer is not to blame
        return None
    return None if error is None else _error_line(error)


def _error_line(error: ValidationError) -> str:
    path = error.json_path.removeprefix("$").removeprefix(".")
    return one_line(f"{path}: {error.message}" if path else error.message)
