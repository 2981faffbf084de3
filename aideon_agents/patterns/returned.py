"""What functions that are nodes return, as an update of the state."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast, get_type_hints

from langchain_core.messages import BaseMessage, convert_to_messages
from langgraph.types import Command
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from aideon_agents.errors import StepFailed
from aideon_agents.state import Decision, Plan, State, StepResult, Verdict

_USABLE = (
    "return a text, a dict, a list, a number, a bool, a pydantic object, a dataclass, a StepResult "
    "or None"
)
_JUDGEMENT = "return a Verdict, True or False, (bool, feedback), or a dict with one of these"


def update(returned: Any, own: StepResult, who: str) -> Mapping[str, Any] | None:
    """The update of the state; `own` is the node's result without its content.

    The keys of the state in a mapping update it, the other keys are the result's data. StepFailed:
    `who`, the node and its function, returned what is no update and no result.
    """
    returned = _uncommanded(returned, who)
    if returned is None:
        return None
    if isinstance(returned, StepResult):
        place = {"node_path": own.node_path, "round": own.round, "order": own.order}
        models = returned.models or own.models
        return _with(dataclasses.replace(returned, **place, models=models), {})
    if isinstance(returned, str | BaseMessage):
        text = returned if isinstance(returned, str) else str(returned.text)
        return _with(dataclasses.replace(own, content=text), {})
    if isinstance(returned, Mapping):
        return _from_mapping(cast("Mapping[Any, Any]", returned), own, who)
    if isinstance(returned, Verdict):
        return judgement(returned, own, who)
    result = dataclasses.replace(own, content=_json(returned, who), data=returned)
    changes: dict[str, Any] = {}
    if isinstance(returned, Plan):
        changes = {"plan": returned}
    elif isinstance(returned, Decision):
        changes = {"route": returned.route}
    return _with(result, changes)


def _from_mapping(values: Mapping[Any, Any], own: StepResult, who: str) -> Mapping[str, Any]:
    changes = {key: _valid(key, value, who) for key, value in values.items() if _is_key(key)}
    rest = {key: value for key, value in values.items() if not _is_key(key)}
    if not rest:
        return changes
    content, data = content_and_data(rest, functools.partial(_json, who=who))
    return _with(dataclasses.replace(own, content=content, data=data), changes)


def judgement(returned: Any, own: StepResult, who: str) -> Mapping[str, Any] | None:
    """The update of the state by a loop's check, with its `verdict`; None: it returned nothing."""
    returned = _uncommanded(returned, who)
    if returned is None:
        return None
    changes: dict[str, Any] = {}
    given = returned
    if isinstance(returned, Mapping) and "verdict" in returned:
        changes = {key: value for key, value in returned.items() if key != "verdict"}
        given = cast("Any", returned["verdict"])
    verdict = _verdict(given, who)
    others = update(changes, own, who) or {}
    result = dataclasses.replace(
        own, role="validator", content=_verdict_text(verdict), data=verdict
    )
    return _with(result, {**others, "verdict": verdict})


def _verdict_text(verdict: Verdict) -> str:
    """A verdict as the text of a result, as a validator writes it."""
    word = "passed" if verdict.passed else "not passed"
    feedback = f": {verdict.feedback}" if verdict.feedback else ""
    return f"{word}, score {round(verdict.score, 2):g}{feedback}"


def _verdict(given: Any, who: str) -> Verdict:
    if isinstance(given, Verdict):
        return given
    values: Any = given
    if isinstance(given, tuple) and len(cast("tuple[Any, ...]", given)) == 2:  # noqa: PLR2004
        values = dict(zip(("passed", "feedback"), cast("tuple[Any, Any]", given), strict=True))
    elif isinstance(given, bool):
        values = {"passed": given}
    passed = (
        cast("Mapping[str, Any]", values).get("passed") if isinstance(values, Mapping) else None
    )
    if not isinstance(passed, bool):
        raise StepFailed(f"{who} returned {_kind(given)}, which is no judgement: {_JUDGEMENT}")
    try:
        filled = {"score": float(passed), **values, "feedback": values.get("feedback") or ""}
        return Verdict.model_validate(filled)
    except ValidationError as error:
        raise StepFailed(f"{who} returned a judgement with {_first(error)}: {_JUDGEMENT}") from None


def content_and_data(
    changed: Mapping[str, Any], as_json: Any
) -> tuple[str, Mapping[str, Any] | None]:
    """The text of the last message, else what changed as JSON; and what changed as data."""
    rest = {key: value for key, value in changed.items() if key != "messages"}
    if messages := cast("list[Any]", changed.get("messages")):
        return str(convert_to_messages(messages[-1:])[0].text), rest or None
    return as_json(rest), rest


def _with(result: StepResult, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**changes, "results": {**changes.get("results", {}), result.node_path: result}}


def _uncommanded(returned: Any, who: str) -> Any:
    """What a function returned; of a Command its update."""
    if not isinstance(returned, Command):
        return returned
    command = cast("Command[Any]", returned)
    if command.goto or command.graph or command.resume is not None:
        raise StepFailed(
            f"{who} returned a Command with more than an update: the pattern says which node is next"
        )
    if command.update is not None and not isinstance(command.update, Mapping):
        raise StepFailed(
            f"{who} returned a Command whose update is {_kind(command.update)}: give a dict"
        )
    return cast("Any", command.update)


@functools.cache
def _keys() -> Mapping[str, TypeAdapter[Any]]:
    """What validates each key of the state."""
    return {key: TypeAdapter(hint) for key, hint in get_type_hints(State).items()}


def _is_key(key: object) -> bool:
    return isinstance(key, str) and key in _keys()


def _valid(key: str, value: Any, who: str) -> Any:
    try:
        return _keys()[key].validate_python(value)
    except ValidationError as error:
        raise StepFailed(
            f"{who} returned {_kind(value)} as {key!r}, which is a key of the state: {_first(error)}"
        ) from None


def _first(error: ValidationError) -> str:
    """The first mistake, with its place and the type of what is there."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    found = "" if first["type"] == "missing" else f", not {_kind(first['input'])}"
    return f"{where}: {first['msg']}{found}" if where else f"{first['msg']}{found}"


def _json(value: Any, who: str) -> str:
    kinds = (BaseModel, Mapping, list, tuple, int, float, Decimal)
    is_usable = isinstance(value, kinds) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    )
    if not is_usable:
        raise StepFailed(f"{who} returned {_kind(value)}: {_USABLE}")
    try:
        return to_json(value, indent=2).decode()
    except (PydanticSerializationError, ValueError) as error:
        inner = str(error).removeprefix("Error serializing to JSON: ")
        raise StepFailed(
            f"{who} returned {_kind(value)} that cannot be written as JSON ({inner}): {_USABLE}"
        ) from None


def _kind(value: object) -> str:
    """A value's type with its article; never the value, which may be long or secret."""
    name = type(value).__name__
    return "None" if value is None else f"a{'n' if name[0] in 'aeioAEIO' else ''} {name}"
