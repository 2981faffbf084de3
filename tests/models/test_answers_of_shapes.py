"""The JSON in what models say, with all that stands around it."""

from __future__ import annotations

import json

import pytest
from langchain_core.messages import AIMessage
from pydantic import BaseModel, RootModel

from aideon_agents import errors
from aideon_agents.models.shape import parse
from aideon_agents.state import Plan, Verdict


class Facts(BaseModel):
    facts: list[str]


class Lenient(BaseModel):
    """Nearly everything fits it."""

    title: str = ""
    description: str = ""


GOOD = '{"facts": ["a", "b"]}'
DRAFT = '{"facts": ["wrong"]}'
AROUND = {
    "nothing": "{}",
    "words before": "Sure! Here is the JSON you asked for:\n\n{}",
    "words behind": "{}\n\nI hope this helps! Let me know if you need {{more}}.",
    "a smile behind": "{} :-}}",
    "im_end": "{}<|im_end|>",
    "s": "{}</s>",
    "eot_id": "{}<|eot_id|>",
    "end of turn": "{}<end_of_turn>\n",
    "endoftext": "{}<|endoftext|>",
    "deepseek": "{}<\uff5cend▁of▁sentence\uff5c>",
    "twice": "{}\n{}",
    "twice without space": "{}{}",
    "fence": "```json\n{}\n```",
    "fence without language": "```\n{}\n```",
    "fence on one line": "```json {} ```",
    "fence not closed": "Here:\n```json\n{}",
    "fence and words": "Here it is:\n\n```json\n{}\n```\n\nThis JSON has the facts.",
    "another language first": "```python\nfacts = [1]\nprint({{'a': 1}})\n```\n\n```json\n{}\n```",
    "code that would fit, behind": '```json\n{}\n```\n```python\nx = {{"facts": ["no"]}}\n```',
    "bom": "\ufeff{}",
    "heading": "### Answer\n\n**JSON:** {}",
    "think": "<think>\nlet me see {{}}\n</think>\n\n{}",
    "thinking": "<thinking>x</thinking>{}",
    "reasoning": "<reasoning>x</reasoning>\n{}",
    "thought": "<thought>x</thought>\n{}",
    "with attributes": '<think time="3">x</think>{}',
    "capitals": "<THINK>x</THINK>{}",
    "mistral": "[THINK]x[/THINK]{}",
    "kimi": "◁think▷x◁/think▷{}",
    "seed": "<seed:think>x</seed:think>{}",
    "cohere": "<|START_THINKING|>x<|END_THINKING|>{}",
    "end mark alone": "x is so\n</think>\n\n{}",
    "empty thoughts": "<think>\n\n</think>\n\n{}",
    "thought twice": "<think>a</think><think>b</think>{}",
    "nested thoughts": "<think>a <think>b</think> c</think>{}",
    "gpt-oss": "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>{}",
    "gpt-oss short": "<|channel|>analysis x <|channel|>final<|message|>{}",
    "gpt-oss to the end": (
        "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final "
        "<|constrain|>JSON<|message|>{}<|return|>"
    ),
    "gpt-oss without marks": "analysisWe need facts.assistantfinal{}",
    "answer tag": "<answer>{}</answer>",
    "tool call as text": '<tool_call>\n{{"name": "Facts", "arguments": {}}}\n</tool_call>',
    "under its name": '{{"Facts": {}}}',
    "citation": "[1] says so. {}",
    "broken object first": "Use {{facts: ...}} like this: {}",
    "half an object first": '{{"facts": ["a",\n\nLet me start again.\n{}',
    "next turns": '{}<|im_end|>\n<|im_start|>user\nMore!<|im_end|>\n{{"facts": ["z"]}}',
    "schema first": '{{"type": "object", "properties": {{"facts": {{"type": "array"}}}}}}\n{}',
}


@pytest.mark.parametrize("around", AROUND.values(), ids=list(AROUND))
@pytest.mark.parametrize("said", [GOOD, json.dumps(json.loads(GOOD), indent=2)], ids=["", "lines"])
def test_what_stands_around_the_json_is_ignored(around, said):
    text = around.replace("{}", "\0").replace("{{", "{").replace("}}", "}").replace("\0", said)
    assert parse(AIMessage(text), Facts).facts == ["a", "b"]


@pytest.mark.parametrize(
    "thoughts",
    [
        "<think>A draft: \0 is too short.</think>",
        "A draft: \0 is too short.\n</think>\n\n",
        "<thinking>\0</thinking>",
        "<reasoning>\0</reasoning>",
        "[THINK]\0[/THINK]",
        "<|channel|>analysis<|message|>\0<|end|><|start|>assistant<|channel|>final<|message|>",
        "analysis \0 assistantfinal",
        "<think>the mark </think> ends it: \0</think>",
        "```json\n\0\n```\n</think>",
    ],
)
def test_a_draft_in_the_thoughts_is_no_answer(thoughts):
    before = thoughts.replace("\0", DRAFT)
    assert parse(AIMessage(before + GOOD), Facts).facts == ["a", "b"]
    with pytest.raises(errors.Malformed):
        parse(AIMessage(before), Facts)


@pytest.mark.parametrize("begins", ["<think>", "[THINK]", "<|channel|>analysis<|message|>"])
def test_thoughts_that_never_end_hold_no_answer(begins):
    with pytest.raises(errors.Malformed):
        parse(AIMessage(f"{begins}So: {DRAFT}"), Facts)
    assert parse(AIMessage(f"{GOOD}\n{begins}So: {DRAFT}"), Facts).facts == ["a", "b"]


@pytest.mark.parametrize(
    "fact", ["</think>", "<think>", "```json", "<|im_end|>", '{"facts": ["x"]}', "[THINK]", "}{"]
)
@pytest.mark.parametrize("around", ["\0", "Here: \0", "```json\n\0\n```", "<think>x</think>\0!"])
def test_marks_inside_the_texts_of_an_answer_are_part_of_them(fact, around):
    said = json.dumps({"facts": [fact]})
    assert parse(AIMessage(around.replace("\0", said)), Facts).facts == [fact]


def test_of_several_objects_that_fit_the_last_counts():
    assert parse(AIMessage(f"{DRAFT}\nBetter: {GOOD}\n{{}}"), Facts).facts == ["a", "b"]


@pytest.mark.parametrize("around", ["\0", "Here: \0.", "```json\n\0\n```", "<think>x</think>\n\0"])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_inside_a_json_text_is_read(around, indent):
    said = json.dumps(json.dumps(json.loads(GOOD), indent=indent))
    assert parse(AIMessage(around.replace("\0", said)), Facts).facts == ["a", "b"]


@pytest.mark.parametrize("schema", [Plan, Verdict, Facts, Lenient])
@pytest.mark.parametrize("around", ["\0", "The schema is:\n```json\n\0\n```"])
def test_the_schema_itself_is_no_answer(schema, around):
    said = around.replace("\0", json.dumps(schema.model_json_schema()))
    with pytest.raises(errors.Malformed, match=rf"no {schema.__name__}"):
        parse(AIMessage(said), schema)


def test_a_list_is_no_object_with_one_list():
    for said in ('["a", "b"]', f"[{GOOD}]", f"Here: [{GOOD}]"):
        with pytest.raises(errors.Malformed):
            parse(AIMessage(said), Facts)


def test_a_schema_whose_root_is_a_list_takes_a_list():
    names = RootModel[list[str]]
    assert parse(AIMessage('Here: ["a", "b"] :-)'), names).root == ["a", "b"]


def test_line_breaks_inside_texts_and_half_characters_are_forgiven():
    assert parse(AIMessage('{"facts": ["a\nb", "\\ud83d"]}'), Facts).facts == ["a\nb", "\ufffd"]


def test_arguments_of_the_tool_that_stands_for_the_shape_are_the_answer():
    calls = [{"name": "facts", "args": json.loads(GOOD), "id": "1"}]
    assert parse(AIMessage("Here you are.", tool_calls=calls), Facts).facts == ["a", "b"]
    broken = [{"name": "Facts", "args": '{"facts": ["a"', "id": "1", "error": None}]
    with pytest.raises(errors.Malformed):
        parse(AIMessage("", invalid_tool_calls=broken), Facts)
    other = [{"name": "search", "args": json.loads(GOOD), "id": "1"}]
    with pytest.raises(errors.Malformed):
        parse(AIMessage("", tool_calls=other), Facts)


LENGTH = 2 * 10**5  # characters; coverage makes more of them slow
LONG = {
    "open braces": "{" * LENGTH,
    "open brackets": "[" * LENGTH,
    "open objects": '{"a":' * (LENGTH // 5),
    "empty objects": "{} " * (LENGTH // 3),
    "quotes": '{"' * (LENGTH // 2),
    "escaped quotes": '"{\\' * (LENGTH // 3),
    "encoded objects": '"{\\"a\\": ' * (LENGTH // 9),
    "backslashes": '{"' + "\\" * LENGTH,
    "a long text": '{"' + "x" * LENGTH,
    "thoughts": "<think>" * (LENGTH // 7),
    "ends of thoughts": "{}</think>" * (LENGTH // 10),
    "thoughts with ends": "<think></think>" * (LENGTH // 15),
    "ends of turns": "{}</s>" * (LENGTH // 6),
    "fences": "```" * (LENGTH // 3),
    "space": '"' + " " * LENGTH + "{",
    "many spaces": '"            ' * (LENGTH // 13),
    "digits": '{"a": ' + "9" * LENGTH,
    "deep digits": '{"a": [' * (LENGTH // 14) + "9" * (LENGTH // 2),
    "angle brackets": "<think " * (LENGTH // 7),
    "channels": "<|channel|>" * (LENGTH // 11),
    "broken items": '{"a": [1, 2}, ' * (LENGTH // 14),
    "prose": "The [1] {quick} brown fox. " * (LENGTH // 27),
}


@pytest.mark.parametrize("text", LONG.values(), ids=list(LONG))
@pytest.mark.timeout(60)  # a second or two each, unless the time grows with the square
def test_a_long_answer_without_a_shape_is_read_once(text):
    with pytest.raises(errors.Malformed):
        parse(AIMessage(text), Facts)


@pytest.mark.parametrize("text", ["prose", "broken items", "fences"])
def test_an_answer_behind_a_long_text_is_found(text):
    assert parse(AIMessage(f"{LONG[text]}\n{GOOD}"), Facts).facts == ["a", "b"]
