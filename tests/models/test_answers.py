"""Answers by rule are valid, deterministic and made of their material."""

from __future__ import annotations

import enum
import json
import re
import time
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, HttpUrl, Json, TypeAdapter, create_model

from aideon_agents.models.answers import (
    Ask,
    Turn,
    cut,
    digest,
    estimate_tokens,
    instance,
    material,
    reply,
    text_of,
    tool_call,
)
from aideon_agents.state import Plan, Verdict

PUMPS = (
    "Heat pumps move heat from outdoor air into a house. Electric heaters make heat themselves. "
    "A heat pump needs a third of the electricity. Installers are scarce. "
    "Subsidies lower the price of heat pumps. Old radiators may have to be replaced."
)
README = """# Heat pumps

[![build](https://example.com/b.svg)](https://example.com)

> A **heat pump** moves heat from outdoor air into a [house](https://example.com/house).

```python
pump.run(heat=True, heat_again="heat heat heat heat heat heat")
```

| heat | pump |
|------|------|
| heat | heat |

- The `heat pump` needs a third of the electricity
- Installers are scarce
"""


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(gt=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class Tree(BaseModel):
    value: int
    children: list[Tree]


class Chain(BaseModel):
    value: str
    following: Chain | None


class Party(BaseModel):
    host: Member
    guests: list[Member] = []


class Member(BaseModel):
    parties: list[Party]
    friend: Member | None = None


def of(annotation: Any, text: str = PUMPS) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    made = instance(adapter.json_schema(), text)
    adapter.validate_json(json.dumps(made))
    return made


def test_a_digest_keeps_whole_sentences_in_their_order():
    made = digest(PUMPS, max_words=25)
    sentences = re.split(r"(?<=\.) ", made)
    assert len(made.split()) <= 25
    assert [PUMPS.index(sentence) for sentence in sentences] == sorted(map(PUMPS.index, sentences))


def test_a_digest_prefers_the_sentences_that_speak_of_what_the_text_speaks_of():
    text = (
        "Cats sleep all day long. Heat pumps give houses heat. Birds sing. Houses need heat pumps."
    )
    assert digest(text, max_words=9) == "Heat pumps give houses heat. Houses need heat pumps."


def test_a_readme_is_read_without_its_code_tables_badges_and_headings():
    assert digest(README) == (
        "A heat pump moves heat from outdoor air into a house. "
        "The heat pump needs a third of the electricity. Installers are scarce."
    )


def test_a_text_of_headings_and_code_alone_still_has_a_digest():
    assert digest("# Heat pumps\n```\nprint(1)\n```") == "Heat pumps. print(1)"


@pytest.mark.parametrize("empty", ["", " \n\t ", "\0"])
def test_a_text_without_content_has_an_empty_digest(empty):
    assert digest(empty) == ""


def test_a_text_without_sentence_ends_is_cut_between_words():
    made = digest("heat pump " * 500, max_words=10)
    assert len(made.split()) == 10
    assert set(made.rstrip("…").split()) == {"heat", "pump"}


def test_chinese_is_split_at_its_own_full_stops():
    assert digest("热泵把热量从室外移到室内。安装工很少。热泵更高效。", max_words=20) == (
        "热泵把热量从室外移到室内。 热泵更高效。"
    )


def test_emoji_have_a_digest_of_bounded_length():
    assert digest("😀🔥" * 10) == "😀🔥" * 10
    assert len(digest("😀🔥" * 100_000, max_words=10)) < 200


@pytest.mark.parametrize(
    "unit",
    ["Heat pumps move heat. ", "a", "[[", "![", "<a", "<!--", "- x\n", ".!?", "。", "`", "\n"],
)
def test_a_megabyte_of_anything_is_digested_in_linear_time(unit):
    text = unit * (1_000_000 // len(unit))
    started = time.process_time()
    digest(text)
    # About 0.1 s, more under a coverage tool; a quadratic step anywhere would take minutes.
    assert time.process_time() - started < 20


@given(st.text(), st.integers(1, 60))
@settings(max_examples=150, deadline=None)
def test_any_text_has_a_digest_that_can_be_encoded_and_is_the_same_each_time(text, words):
    made = digest(text, words)
    assert made == digest(text, words)
    made.encode()


def test_a_verdict_passes_with_a_high_score():
    made = Verdict.model_validate(of(Verdict))
    assert made.passed
    assert made.score == 0.9


def test_a_plan_has_distinct_ids_distinct_descriptions_and_no_dependencies():
    steps = Plan.model_validate(of(Plan)).steps
    assert [step.id for step in steps] == ["s1", "s2", "s3"]
    assert len({step.description for step in steps}) == 3
    assert all(step.description in PUMPS for step in steps)
    assert all(step.depends_on == [] for step in steps)


def test_an_enum_gives_its_first_value():
    assert of(Colour) == "red"
    assert of(Literal["yes", "no"]) == "yes"


def test_a_set_of_enums_holds_each_value_once():
    assert sorted(of(set[Colour])) == ["blue", "red"]


def test_members_of_a_union_are_told_apart_by_their_tag():
    assert of(Annotated[Cat | Dog, Field(discriminator="kind")])["kind"] == "cat"


def test_an_optional_field_is_filled_when_there_is_room():
    assert of(Chain)["following"]["following"] is None


@pytest.mark.parametrize("annotation", [Tree, Chain, Party, Member])
def test_recursive_models_come_to_an_end(annotation):
    assert len(json.dumps(of(annotation))) < 10_000


def test_a_recursion_without_an_end_is_refused():
    endless = {
        "$ref": "#/$defs/A",
        "$defs": {"A": {"properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"]}},
    }
    with pytest.raises(ValueError, match="no finite instance"):
        instance(endless, PUMPS)


@dataclass(frozen=True)
class Case:
    annotation: Any
    expected: Any


@pytest.mark.parametrize(
    "case",
    [
        Case(Annotated[float, Field(ge=0, le=1)], 0.9),
        Case(Annotated[float, Field(gt=0, lt=1)], 0.9),
        Case(Annotated[int, Field(ge=1, le=10)], 9),
        Case(Annotated[int, Field(gt=4)], 5),
        Case(Annotated[int, Field(lt=4)], 3),
        Case(Annotated[int, Field(multiple_of=7, ge=15, le=30)], 28),
        Case(Annotated[float, Field(multiple_of=0.25, gt=0.3, lt=0.9)], 0.75),
        Case(Annotated[float, Field(gt=1e300)], None),
        Case(Annotated[float, Field(gt=1, lt=1.0000000000000004)], None),
        Case(Annotated[float, Field(ge=2, le=2)], 2.0),
        Case(Annotated[float, Field(gt=1, lt=1.1, multiple_of=0.06)], 1.08),
        Case(Annotated[float, Field(lt=-1e300)], None),
        Case(Annotated[set[Annotated[float, Field(ge=0, le=1)]], Field(min_length=5)], None),
        Case(Annotated[set[Annotated[int, Field(le=3)]], Field(min_length=3)], None),
        Case(Annotated[set[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=3)], None),
        Case(set[Annotated[int, Field(ge=1, le=2)]], [1, 2]),
        Case(Annotated[set[Colour | bool | None], Field(min_length=5)], None),
        Case(Annotated[dict[str, int], Field(min_length=4)], {str(n): 1 for n in range(1, 5)}),
        Case(Annotated[dict[str, int], Field(max_length=1)], {"1": 1}),
        Case(dict[Annotated[str, Field(pattern="^[a-z]$")], bool], {"a": True, "b": True}),
        Case(dict[UUID, None], None),
        Case(list[list[list[list[int]]]], None),
        Case(bool, expected=True),
        Case(None, None),
        Case(date, "2026-01-01"),
        Case(datetime, "2026-01-01T09:00:00Z"),
        Case(UUID, "00000000-0000-4000-8000-000000000001"),
        Case(HttpUrl, "https://example.com/1"),
        Case(Decimal, 1.0),
        Case(tuple[int, str], [1, "Heat pumps move heat from outdoor air into a house."]),
        Case(dict[int, int], {"1": 1.0, "2": 1.0}),
        Case(dict[Colour, int], {"red": 1, "blue": 1}),
        Case(Json[list[int]], "[1, 1, 1]"),
        Case(Annotated[str, Field(max_length=12)], "Heat pumps"),
        Case(Annotated[str, Field(min_length=60)], None),
        Case(Annotated[str, Field(max_length=0)], ""),
        Case(Annotated[list[int], Field(min_length=5)], [1] * 5),
        Case(Annotated[list[int], Field(max_length=1)], [1]),
        Case(Annotated[set[int], Field(min_length=4)], [1, 2, 3, 4]),
        Case(Annotated[set[Annotated[str, Field(max_length=3)]], Field(min_length=9)], None),
    ],
    ids=lambda case: str(case.annotation),
)
def test_a_value_lies_where_the_schema_wants_it(case):
    made = of(case.annotation)
    assert case.expected is None or made == case.expected


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[A-Z]{3}-\d{4}$",
        r"^(yes|no)$",
        r"^[^a-z\s]+$",
        r"^v?\d+\.\d+(\.\d+)?$",
        r"^(?:ab){2,3}c*$",
        r"^[\w.+-]+@[\w-]+\.\w+$",
        r"heat",
        r"^\S.*\S$",
        r"^(?!x)a|b$",
        r"^#(?P<hex>[0-9a-fA-F]{6})$",
        r"^日本$",
        r"^(?:x|)[ab]?+c{0}d{1,}e{2}?\b$",
    ],
)
def test_a_pattern_is_met(pattern):
    assert re.search(pattern, instance({"type": "string", "pattern": pattern}, PUMPS))


def test_a_set_of_patterned_texts_holds_distinct_ones():
    made = of(Annotated[set[Annotated[str, Field(pattern=r"^[a-z]{2}\d$")]], Field(min_length=12)])
    assert len(set(made)) == 12


@pytest.mark.parametrize(
    "pattern", [r"^(a)\1b(?<!b)$", r"[", r"^\p{L}+$", r"^a{999999}$", r"^[^\s\S]$", r"^(", r"^)"]
)
def test_a_pattern_beyond_simple_means_is_refused(pattern):
    with pytest.raises(ValueError, match="pattern"):
        instance({"type": "string", "pattern": pattern}, PUMPS)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"enum": []},
        {"$ref": "#/$defs/Nobody"},
        {"$ref": "https://example.com/schema"},
        {"type": "array", "uniqueItems": True, "minItems": 3, "items": {"type": "boolean"}},
        {"type": "object", "required": ["a"], "properties": {"a": False}},
        {"type": "tuple"},
        {"type": "string", "pattern": "^ab$", "minLength": 5},
        {"minProperties": 1, "additionalProperties": {"$ref": "#"}},
        {"type": "object", "minProperties": 2, "additionalProperties": False},
        {"type": "object", "minProperties": 2, "propertyNames": {"enum": ["a"]}},
        {"anyOf": [{"enum": []}, {"type": "string", "minLength": 3, "maxLength": 2}]},
        {"anyOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}]}}},
        {"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}]}}},
    ],
)
def test_a_schema_that_nothing_meets_is_refused(schema):
    with pytest.raises(ValueError, match=r"."):
        instance(schema, PUMPS)


def test_every_part_of_an_all_of_counts():
    schema = {
        "$defs": {
            "Low": {"properties": {"n": {"type": "integer", "minimum": 5}}, "required": ["n"]}
        },
        "allOf": [
            {"$ref": "#/$defs/Low"},
            {"properties": {"n": {"maximum": 6}, "m": {"const": 1}}, "required": ["m"]},
        ],
    }
    made = instance(schema, PUMPS)
    assert made["m"] == 1
    assert 5 <= made["n"] <= 6


def test_alternatives_within_alternatives_count_together():
    schema = {
        "required": ["a", "b", "c"],
        "properties": {"a": True, "b": {"type": "string"}, "c": {"enum": [1, 2]}},
        "allOf": [
            {
                "anyOf": [{"properties": {"b": {"maxLength": 4}}}],
                "allOf": [{"required": ["d"]}],
                "minProperties": 1,
            },
            {
                "anyOf": [{"properties": {"c": {"enum": [2, 3]}}}],
                "properties": {"d": {"const": 4}},
                "allOf": [{}],
                "minProperties": 5,
            },
        ],
    }
    made = instance(schema, PUMPS)
    assert (len(made["b"]), made["c"], made["d"]) == (4, 2, 4)
    assert len(made) == 5


def test_an_integer_meets_a_multiple_that_is_none():
    assert instance({"type": "integer", "multipleOf": 1.5, "minimum": 4}, PUMPS) == 6


def test_an_optional_field_that_cannot_be_made_is_left_out():
    schema = {"properties": {"odd": {"type": "string", "pattern": "["}, "plain": {"const": 1}}}
    assert instance(schema, PUMPS) == {"plain": 1}


def test_an_alternative_that_cannot_be_made_gives_way_to_the_next():
    assert instance({"anyOf": [{"enum": []}, {"const": 2}]}, PUMPS) == 2


def test_a_required_field_without_a_schema_is_filled_all_the_same():
    schema = {"required": ["a"], "additionalProperties": {"type": "integer"}}
    assert instance(schema, PUMPS)["a"] == 1


def test_a_short_id_gives_up_its_letter_and_a_whole_one_counts():
    short = {"items": {"properties": {"id": {"type": "string", "maxLength": 1}}}}
    whole = {"items": {"properties": {"id": {"type": "integer"}}}}
    assert instance(short, PUMPS)[0]["id"] == "1"
    assert [item["id"] for item in instance(whole, PUMPS)] == [1, 2, 3]


def hashable() -> st.SearchStrategy[Any]:
    whole = st.integers(-1000, 1000)
    texts = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(
        lambda pair: Annotated[str, Field(min_length=pair[0], max_length=sum(pair))]
    )
    integers = st.tuples(whole, st.integers(0, 50)).map(
        lambda pair: Annotated[int, Field(ge=pair[0], le=sum(pair))]
    )
    multiples = st.tuples(whole, st.integers(1, 30)).map(
        lambda pair: Annotated[int, Field(gt=pair[0], multiple_of=pair[1])]
    )
    reals = st.tuples(whole, st.integers(1, 50)).map(
        lambda pair: Annotated[float, Field(gt=pair[0] / 8, lt=sum(pair) / 8)]
    )
    plain = st.sampled_from([str, int, float, bool, date, datetime, UUID, Colour, Decimal])
    return st.one_of(plain, texts, integers, multiples, reals)


def leaves() -> st.SearchStrategy[Any]:
    return st.one_of(hashable(), st.sampled_from([None, Any, Cat, Tree, Party]))


def composed(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.tuples(parts, st.integers(0, 4), st.integers(0, 3)).map(
        lambda drawn: Annotated[
            list[drawn[0]], Field(min_length=drawn[1], max_length=sum(drawn[1:]))
        ]
    )
    sets = st.tuples(hashable(), st.integers(0, 4)).map(
        lambda drawn: Annotated[set[drawn[0]], Field(max_length=drawn[1])]
    )
    fields = st.lists(st.tuples(parts, st.booleans()), min_size=1, max_size=4)
    return st.one_of(
        lists,
        sets,
        parts.map(lambda part: part | None if part is not None else str | None),
        st.tuples(parts, parts).map(lambda pair: tuple[pair]),
        parts.map(lambda part: dict[str, part]),
        fields.map(model_of),
    )


def model_of(fields: list[tuple[Any, bool]]) -> type[BaseModel]:
    named = {
        f"field{nth}": (annotation, ... if required else None)
        for nth, (annotation, required) in enumerate(fields)
    }
    return create_model("Composed", **named)


@given(st.recursive(leaves(), composed, max_leaves=8), st.sampled_from(["", PUMPS, "热泵。"]))
@settings(max_examples=300, deadline=None)
def test_an_instance_of_any_composed_model_validates_with_that_model(annotation, text):
    assert of(annotation, text) == of(annotation, text)


def test_tokens_are_estimated_as_four_bytes_each_rounded_up():
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde", "热泵")] == [0, 1, 1, 2, 2]


@given(st.text(), st.integers(0, 20))
def test_a_cut_text_fits_and_is_a_beginning(text, tokens):
    kept, shortened = cut(text, tokens)
    assert estimate_tokens(kept) <= tokens
    assert text.startswith(kept)
    assert shortened == (kept != text)


def test_the_material_is_the_last_thing_a_person_said():
    turns = [
        Turn("system", "Be brief."),
        Turn("user", "First."),
        Turn("user", "Second."),
        Turn("tool", "42"),
    ]
    assert material(turns) == "Second."
    assert material(turns[:1]) == "Be brief."
    assert material([]) == ""


def test_the_text_of_blocks_is_their_text():
    blocks = ["a", {"type": "text", "text": "b"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert text_of(blocks) == "a\nb"


def test_the_first_tool_is_called_with_valid_arguments():
    parameters = {"properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
    tools = [{"type": "function", "function": {"name": "first", "parameters": parameters}}]
    assert tool_call(tools, PUMPS) == {"name": "first", "args": {"n": 3}}


def test_a_typed_answer_takes_shorter_strings_before_it_breaks_off():
    schema = {"properties": {f"f{nth}": {"type": "string"} for nth in range(4)}}
    ask = Ask(
        turns=(Turn("user", PUMPS),),
        response_format={"json_schema": {"schema": schema}},
        max_tokens=40,
    )
    answer = reply(ask)
    assert answer.finish_reason == "stop"
    assert len(json.loads(answer.text)) == 4
    assert answer.output_tokens <= 40


def test_a_typed_answer_that_cannot_fit_breaks_off_and_says_so():
    ask = Ask(
        turns=(Turn("user", PUMPS),),
        response_format={"json_schema": {"schema": Plan.model_json_schema()}},
        max_tokens=10,
    )
    assert reply(ask).finish_reason == "length"
    assert reply(ask).output_tokens <= 10
