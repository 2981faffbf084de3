"""Yes, no and plain words in the form that each question wants."""

from __future__ import annotations

import enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, TypeAdapter
from typing_extensions import TypedDict

from aideon_agents.runner.resume_state import answer_to, from_text, is_yes_or_no, misfit
from aideon_agents.state import Approval


class Flag(BaseModel):
    go_on: bool


class Noted(BaseModel):
    fine: bool = False
    note: str = ""


class Choice(enum.Enum):
    APPROVE = "approve"
    REJECT = "reject"


class Chosen(TypedDict):
    choice: Literal["Yes", "No"]


FORMS: dict[str, tuple[Any, Any, Any]] = {
    "a bool": (bool, True, False),
    "a bool or nothing": (bool | None, True, False),
    "a class with a bool": (Flag, {"go_on": True}, {"go_on": False}),
    "a class or nothing": (Flag | None, {"go_on": True}, {"go_on": False}),
    "a class with one bool among others": (Noted, {"fine": True}, {"fine": False}),
    "two words": (Literal["yes", "no"], "yes", "no"),
    "two words in a typed dict": (Chosen, {"choice": "Yes"}, {"choice": "No"}),
    "an enumeration": (Choice, "approve", "reject"),
    "an approval": (Approval, {"approved": True}, {"approved": False}),
}


@pytest.mark.parametrize(("form", "yes", "no"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("capital", [False, True])
def test_yes_and_no_fit_a_yes_no_question_of_any_form(form, yes, no, capital):
    schema = TypeAdapter(form).json_schema()
    words = [("yes", yes), ("y", yes), ("true", yes), ("no", no), ("n", no), ("false", no)]
    assert is_yes_or_no(None, schema)
    for word, meant in words:
        read = answer_to(from_text(word.upper() if capital else word), None, schema)
        assert (read, misfit(read, schema)) == (meant, None)


@pytest.mark.parametrize(
    ("text", "feedback"),
    [
        ("Shorter, please", "Shorter, please"),
        ("no, shorter", "shorter"),
        ("No mention of costs: add them", "No mention of costs: add them"),
        ("7", "7"),
    ],
)
def test_other_words_decline_an_approval_and_say_what_to_change(text, feedback):
    read = answer_to(from_text(text), None, Approval.model_json_schema())
    assert read == {"approved": False, "feedback": feedback}


def test_a_yes_with_more_words_is_not_taken_for_a_no():
    schema = Approval.model_json_schema()
    assert misfit(answer_to("yes, but shorter", None, schema), schema) is not None


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        (str, "yes", "yes"),
        (str, "true", "true"),
        (str, "42", "42"),
        (int, "42", 42),
        (None, "yes", "yes"),
        (None, '{"a": 1}', {"a": 1}),
        (None, "plain words", "plain words"),
        (None, "NaN", "NaN"),
    ],
)
def test_a_question_for_something_else_gets_what_was_written(form, text, value):
    schema = None if form is None else TypeAdapter(form).json_schema()
    assert answer_to(from_text(text), None, schema) == value
    assert not is_yes_or_no(None, schema)


def test_what_a_middleware_asks_about_tool_calls_is_a_yes_no_question_too():
    asked = {"action_requests": [{"name": "send"}, {"name": "pay"}]}
    assert is_yes_or_no(asked, None)
    assert answer_to("yes", asked, None) == {"decisions": [{"type": "approve"}] * 2}
    assert answer_to("no", asked, None) == {"decisions": [{"type": "reject"}] * 2}


def test_text_that_begins_as_json_and_is_none_is_refused():
    with pytest.raises(ValueError, match="Expecting"):
        from_text('{"approved": yes}')


def test_a_schema_that_names_itself_is_read_to_an_end():
    schema = {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}]}}}
    assert answer_to("words", None, schema) == "words"
