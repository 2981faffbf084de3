"""What a run that ended early has left, and whether an answer fits the questions it waits with.

All of it is read and checked before the run resumes. A state that names no next node is not
necessarily complete: a branch that stopped may be deeper. So a run resumes wherever there is a
checkpoint, and LangGraph finds what is left to do.

A question has a JSON Schema, or none. An answer that fits the schema is taken as it is. Of another
one, such as `yes`, several readings are tried, and the first that fits is the answer.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME
from langgraph.types import Command
from pydantic_core import to_jsonable_python

from aideon_agents.errors import InputError, UserError
from aideon_agents.ledger.checkpointer import Checkpointer, readable
from aideon_agents.ledger.redaction import one_line
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.events import Question
from aideon_agents.runner.outcome import results_in
from aideon_agents.runner.spec import NOTHING, RunSpec
from aideon_agents.runner.state import RUN, Thread, by_path, open_thread, question, saved_questions
from aideon_agents.state import Model, StepResult, merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
        with readable(run_id):
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
        answers[identity] = answer_to(given, asked.question, asked.schema)
        if wrong := misfit(answers[identity], asked.schema):
            raise InputError(f"the answer to {asked.node_path} does not fit: {wrong}")
    return answers


def _by_id(answer: object, questions: Mapping[str, Question]) -> dict[str, Any] | None:
    """The answers by id; None: several questions need an object with at least one answer."""
    given = cast("Mapping[str, Any]", answer) if isinstance(answer, Mapping) else {}
    if len(questions) > 1:
        return dict(given) or None
    (only,) = questions
    return dict(given) if given.keys() == {only} else {only: answer}


_YES = ("yes", "y", "true", "ok", "okay", "approve", "approved", "accept", "accepted", "allow")
_NO = ("no", "n", "false", "decline", "declined", "reject", "rejected", "deny", "denied")
_REASONED_NO = re.compile(r"no\s*[,.:;!-]\s*(?=\S)", re.IGNORECASE)
"""The beginning of `no, shorter`: the words after it say what to change."""
_STARTS_AS_YES = re.compile(r"(yes|ok|okay)\b", re.IGNORECASE)


def from_text(text: str) -> Any:
    """The value that an answer's text is: of JSON its value, of any other text the text.

    Raises a ValueError for text that begins as JSON does and is none.
    """
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        if text.lstrip().startswith(("{", "[", '"')):
            raise
    return text


def answer_to(given: Any, question: Any, schema: Any) -> Any:
    """The reading of an answer that fits the schema; the answer itself if none does."""
    if isinstance(schema, Mapping):
        known = cast("Mapping[str, Any]", schema)
        if misfit(given, known) is None:
            return given
        return next((one for one in _readings(given, known) if not misfit(one, known)), given)
    if (agreed := _yes_or_no(given)) is not None and (count := _tool_calls(question)):
        # What LangChain's HumanInTheLoopMiddleware asks about each call of a tool.
        return {"decisions": [{"type": "approve" if agreed else "reject"}] * count}
    return given


def reading(asked: Question, answer: Any) -> Any:
    """One of several answers to many questions, as this one takes it: an approval is a yes for it."""
    given = cast("Mapping[str, Any]", answer) if isinstance(answer, Mapping) else {}
    is_plain = given in ({"approved": True}, {"approved": False})
    if is_plain and not is_approval(asked.schema) and is_yes_or_no(asked.question, asked.schema):
        answer = "yes" if given["approved"] else "no"
    return answer_to(answer, asked.question, asked.schema)


def is_yes_or_no(question: Any, schema: Any) -> bool:
    """Whether a yes answers the question."""
    if not isinstance(schema, Mapping):
        return bool(_tool_calls(question))
    return answer_to("yes", question, schema) != "yes" or "yes" in _words(schema)


def is_approval(schema: Any) -> bool:
    """Whether the answer may be a feedback or an edited content, as an agent's approval takes it."""
    known = _properties(schema)
    return known.keys() >= {"approved", "feedback", "content"}


def misfit(given: object, schema: object) -> str | None:
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
    except (SchemaError, Unresolvable, RecursionError, re.error):  # the answer is not to blame
        return None
    return None if error is None else _error_line(error)


def _error_line(error: ValidationError) -> str:
    path = error.json_path.removeprefix("$").removeprefix(".")
    return one_line(f"{path}: {error.message}" if path else error.message)


def _readings(given: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    """What a person may mean with an answer that does not fit the schema as it is."""
    if not isinstance(given, str | int | float):
        return
    text = given if isinstance(given, str) else json.dumps(given)
    known = _properties(schema)
    flags = [name for name, one in known.items() if "boolean" in _types(one)]
    required = cast("list[str]", _object(schema).get("required") or [])
    field = required[0] if len(required) == 1 else flags[0] if len(flags) == 1 else None
    agreed = _yes_or_no(given)
    same = _YES if agreed else _NO if agreed is not None else (text.strip().casefold(),)
    words = [one for one in _words(schema) if one.casefold() in same]
    for value in [*([] if agreed is None else [agreed]), *words, text]:
        yield value
        if field is not None:
            yield {field: value}
    if is_approval(schema) and agreed is None and not _STARTS_AS_YES.match(text.strip()):
        yield {"approved": False, "feedback": _REASONED_NO.sub("", text.strip(), count=1)}


def _yes_or_no(given: Any) -> bool | None:
    """Whether an answer is a yes or a no; None: it is neither."""
    if isinstance(given, bool):
        return given
    word = given.strip().rstrip(".!").casefold() if isinstance(given, str) else ""
    return True if word in _YES else False if word in _NO else None


def _tool_calls(question: Any) -> int:
    asked = cast("Mapping[str, Any]", question) if isinstance(question, Mapping) else {}
    calls = asked.get("action_requests")
    return len(cast("list[Any]", calls)) if isinstance(calls, list) else 0


def _object(schema: Any, root: Any = None, depth: int = 5) -> Mapping[str, Any]:
    """The first object that a schema allows; empty: it allows none. A schema may name itself."""
    if not isinstance(schema, Mapping) or not depth:
        return {}
    known = cast("Mapping[str, Any]", schema)
    named = str(known.get("$ref", "")).removeprefix("#/$defs/")
    defined = cast("Mapping[str, Any]", (known if root is None else root).get("$defs") or {})
    if known.get("properties"):
        return known
    inner = [defined.get(named), *(known.get("anyOf") or ()), *(known.get("oneOf") or ())]
    found = (_object(one, root or known, depth - 1) for one in inner)
    return next(filter(None, found), {})


def _properties(schema: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", _object(schema).get("properties") or {})


def _types(schema: Any) -> set[Any]:
    """The types that a schema allows, also where it allows several."""
    if not isinstance(schema, Mapping):
        return set()
    one = cast("Mapping[str, Any]", schema)
    inner = [*(one.get("anyOf") or ()), *(one.get("oneOf") or ())]
    kind = one.get("type")
    own: set[Any] = set(cast("list[Any]", kind)) if isinstance(kind, list) else {kind}
    return own.union(*map(_types, inner))


def _words(schema: Any) -> list[str]:
    """The texts that a schema names as values, at any depth."""
    if isinstance(schema, list):
        return [word for one in cast("list[Any]", schema) for word in _words(one)]
    if not isinstance(schema, Mapping):
        return []
    known = cast("Mapping[str, Any]", schema)
    named = [*(known.get("enum") or ()), *([known["const"]] if "const" in known else [])]
    inner = [word for one in known.values() for word in _words(one)]
    return [one for one in named if isinstance(one, str)] + inner


def models_again(
    seen: Run, given: Mapping[str, Model | Sequence[Model]] | None
) -> Mapping[str, Any]:
    """The models by role of a run that resumes. The ledger has the names of objects, not the objects."""
    before = seen.options or {}
    if missing := [role for role in before.get("objects") or () if role not in (given or {})]:
        raise UserError(
            f"run {seen.run_id} had a chat model for the {missing[0]} that is no name: give it again, "
            f'with resume(..., model={{"{missing[0]}": ...}})'
        )
    return {**(before.get("model") or {}), **(given or {})}
