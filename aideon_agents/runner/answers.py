"""Whether an answer fits the questions that a run waits with, before anything goes on."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic_core import to_jsonable_python

from aideon_agents.errors import InputError
from aideon_agents.ledger.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonschema.exceptions import ValidationError

    from aideon_agents.runner.events import Question


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
