"""What an agent's `output` may be, what a model is asked for, and what the answer becomes."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import pytest
from pydantic import BaseModel, HttpUrl, RootModel

from aideon_agents import Ledger, Settings, executor, resume, run, sequential
from aideon_agents.errors import UserError
from aideon_agents.testing import SimulatedProvider

T = TypeVar("T")


class Fact(BaseModel):
    text: str
    source: HttpUrl | None = None


class Page(BaseModel, Generic[T]):
    items: list[T]


class Größe(BaseModel):  # noqa: PLC2401 - which is what is tried
    meter: float


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Numbers(RootModel[list[int]]):
    pass


class Wrapped(RootModel[Fact]):
    pass


@dataclasses.dataclass
class Point:
    """A place."""

    x: int
    facts: list[Fact] = dataclasses.field(default_factory=list)
    y: int = 7


class Draft(TypedDict):
    title: str
    fact: NotRequired[Fact]


PLAIN = {"text": "a", "source": "https://a.example/"}
FACT = Fact.model_validate(PLAIN)
ITEMS = {"items": [PLAIN]}
SCHEMA = {
    "title": "Order book",
    "type": "object",
    "$defs": {"item": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    "properties": {
        "schema": {"enum": ["a", "b"], "description": "One of two"},
        "_items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        "note": {"type": ["string", "null"]},
    },
    "required": ["schema"],
}
CASES = [
    (Fact, PLAIN, FACT),
    (Annotated[Fact, "described"], PLAIN, FACT),
    (list[Fact], ITEMS, [FACT]),
    (list[str], {"items": ["a"]}, ["a"]),
    (list[Draft], {"items": [{"title": "a"}]}, [{"title": "a"}]),
    (list[Point], {"items": [{"x": 1}]}, [Point(1)]),
    (Point, {"x": 1, "facts": [PLAIN]}, Point(1, [FACT])),
    (Draft, {"title": "a"}, {"title": "a"}),
    (Draft, {"title": "a", "fact": PLAIN}, {"title": "a", "fact": FACT}),
    (Page[int], {"items": [1]}, Page[int](items=[1])),
    (Größe, {"meter": 1.5}, Größe(meter=1.5)),
    (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree(name="a", children=[Tree(name="b")])),
    (Numbers, {"items": [1, 2]}, Numbers([1, 2])),
    (Wrapped, PLAIN, Wrapped(FACT)),
    (SCHEMA, {"schema": "b", "_items": [{"n": 1}]}, {"schema": "b", "_items": [{"n": 1}]}),
]


@pytest.fixture
def asked(tmp_path):
    """Runs an agent whose model gives an answer; the result, and the schema that it was asked for."""

    def run_one(output: Any, answer: Any, edited: str | None = None) -> Any:
        with (
            SimulatedProvider(answer=lambda _: answer) as provider,
            Ledger(tmp_path / "ledger.db") as ledger,
        ):
            settings = Settings(openai_api_key="key", openai_base_url=provider.base_url)
            graph = sequential(executor("a", output=output, approve=edited is not None))
            result = run(graph, "Go.", settings=settings, ledger=ledger)
            if edited is not None:
                said = {"approved": True, "content": edited}
                result = resume(graph, answer=said, settings=settings, ledger=ledger)
            return result, provider.requests[0].body["response_format"]["json_schema"]

    return run_one


@pytest.mark.parametrize(("output", "answer", "data"), CASES)
def test_an_answer_becomes_what_the_agent_was_made_with(asked, output, answer, data):
    result, schema = asked(output, answer)
    assert result.raise_for_status().results["a"].data == data
    assert type(result.results["a"].data) is type(data)
    assert schema["name"].isascii()
    assert schema["name"].replace("_", "").isalnum()
    assert (schema["schema"]["type"], "$ref" in schema["schema"]) == ("object", False)
    assert "properties" in schema["schema"]


def test_the_text_of_a_list_is_a_list_and_a_dataclass_is_described_by_its_docstring(asked):
    result, _ = asked(list[Fact], ITEMS)
    assert json.loads(result.output) == [PLAIN]
    _, schema = asked(Point, {"x": 1})
    assert schema["schema"]["description"] == "A place."
    assert schema["schema"]["required"] == ["x"]


@pytest.mark.parametrize(
    ("output", "answer", "edited", "data"),
    [
        (list[Fact], {"items": [{"text": "a"}]}, '[{"text": "b"}]', [Fact(text="b")]),
        (list[Draft], {"items": [{"title": "a"}]}, '[{"title": "b"}]', [{"title": "b"}]),
        (Point, {"x": 1}, '{"x": 2}', Point(2)),
        (Numbers, {"items": [1]}, "[2]", Numbers([2])),
        (SCHEMA, {"schema": "b"}, '{"schema": "a"}', {"schema": "a"}),
    ],
)
def test_a_person_who_approves_can_edit_it(asked, output, answer, edited, data):
    result, _ = asked(output, answer, edited)
    assert result.raise_for_status().results["a"].data == data


def test_a_json_schema_is_sent_as_it_is_and_its_fields_are_checked(asked):
    result, schema = asked(SCHEMA, {"schema": "c"})
    assert result.status == "failed"
    assert "schema: Input should be 'a' or 'b'" in result.error
    sent = schema["schema"]["properties"]
    assert sent["schema"] == SCHEMA["properties"]["schema"]
    assert sent["_items"] == SCHEMA["properties"]["_items"]


def unfinished() -> Any:
    class Unfinished(BaseModel):
        part: Absent  # noqa: F821 - which is what is tried

    return Unfinished


@dataclasses.dataclass
class AlsoUnfinished:
    part: Absent  # noqa: F821 - the same


class Colour(enum.Enum):
    RED = "red"


class Callback(BaseModel):
    call: Callable[[], int]


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        *[
            (one, "is nothing that a model can be asked for: give a pydantic model, a dataclass")
            for one in (
                dict, dict[str, int], int, str, Fact | None, Fact | Tree, tuple[int, str], set[int],
                list, list[Any], Any, BaseModel, Colour, Literal["a"], FACT, "Fact", RootModel[int],
            )
        ],
        *[
            (one, "a JSON schema needs a title, and properties of an object")
            for one in ({}, {"title": "a"}, {"title": "a", "type": "array", "items": {}})
        ],
        (unfinished(), "output=Unfinished: Absent is not defined yet"),
        (AlsoUnfinished, "output=AlsoUnfinished: Absent is not defined yet"),
        (list[unfinished()], "Absent is not defined yet"),
        (Callback, "output=Callback cannot be described to a model: "),
    ],
)  # fmt: skip
def test_what_no_model_can_be_asked_for_is_refused_when_the_agent_is_made(output, problem):
    with pytest.raises(UserError) as refused:
        executor("a", output=output)
    assert str(refused.value).startswith("a: output")
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)
