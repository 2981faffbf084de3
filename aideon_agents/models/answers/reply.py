"""What a chat model is asked, and its answer by rule.

The rehearsing chat model and the simulated provider both answer through `reply`, one from LangChain's
messages and the other from OpenAI's, so that their answers cannot differ.

Without a provider's count, a token is estimated as four UTF-8 bytes, rounded up: about right for
English prose, somewhat low for Chinese. The holds of a budget use the bytes themselves as their
bound, never this estimate.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from aideon_agents.models.answers.digest import digest
from aideon_agents.models.answers.instance import instance
from aideon_agents.models.answers.schemas import Schema
from aideon_agents.models.pictures.blocks import Seen

BYTES_PER_TOKEN = 4


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text: four UTF-8 bytes each."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def cut(text: str, max_tokens: int | None) -> tuple[str, bool]:
    """The part of a text within so many estimated tokens, and whether it was cut; None: no limit."""
    if max_tokens is None or estimate_tokens(text) <= max_tokens:
        return text, False
    head = text.encode("utf-8", "surrogatepass")[: max(0, max_tokens) * BYTES_PER_TOKEN]
    return head.decode("utf-8", "ignore"), True


_A_SENTENCE = 3
"""Words of the shortest prose: a name or a route must stay as it is."""


def filled(text: str, tokens: int) -> str:
    """A text repeated until it has about so many tokens."""
    size = len(text.encode("utf-8", "surrogatepass")) + 1
    return " ".join([text] * (1 + tokens * BYTES_PER_TOKEN // size))


def stretched(text: str, max_tokens: int, may_grow: bool) -> str:  # noqa: FBT001 - a fact of the schema
    """The most expensive form of an instance: no verdict passes, and its prose is long."""
    value = json.loads(text)
    if isinstance(value, dict) and value.get("passed") is True:
        value |= {"passed": False, "score": 0}
    room = max_tokens - estimate_tokens(json.dumps(value, ensure_ascii=False))
    if may_grow and room > 0:
        _lengthen(value, room)
    longer = json.dumps(value, ensure_ascii=False)
    return longer if estimate_tokens(longer) <= max_tokens else text


def _lengthen(value: Any, tokens: int) -> bool:
    """Lengthen the first prose in a value by so many tokens; returns whether there is any."""
    items = cast("Any", value.items() if isinstance(value, dict) else enumerate(value))
    for key, part in list(items):
        if isinstance(part, str) and len(part.split()) >= _A_SENTENCE:
            more = filled(part, tokens).encode()[: (tokens - 1) * BYTES_PER_TOKEN]
            value[key] = f"{part} {more.decode(errors='ignore')}"
            return True
        if isinstance(part, dict | list) and _lengthen(part, tokens):
            return True
    return False


INSTRUCTIONS = "instructions"
"""The tag around the step of an agent: not material."""

PLAN = "The plan, of which this is step"
"""How a plan begins that is shown to the worker of a step: not material either."""

_PLAN = re.compile(rf'<result from="[^"\n]*">\n{PLAN} [^<]*</result>\n*')
_PEOPLE = frozenset({"human", "user"})
_NO_MATERIAL = "There was nothing to answer from."
_WORDS_PER_STRING = (24, 8, 3)
"""Words of the strings of a typed answer: fewer if the answer would not fit."""


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    """LangChain's or OpenAI's name: human or user, ai or assistant, system, tool."""
    text: str
    calls: tuple[tuple[str, str], ...] = ()
    """Its tool calls: name, and arguments as JSON."""
    pictures: tuple[Seen, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Everything an answer depends on."""

    turns: tuple[Turn, ...]
    tools: tuple[Schema, ...] = ()
    """In OpenAI's format."""
    tool_choice: object = None
    """In OpenAI's or LangChain's format; None: the rule decides."""
    response_format: Mapping[str, Any] | None = None
    """In OpenAI's format; None: text."""
    max_tokens: int | None = None
    """The most output tokens; None: no limit."""
    stop: tuple[str, ...] = ()
    """Texts before which an answer ends."""
    picture_tokens: int = 0
    """The tokens of all pictures together, by the rule of the provider."""
    longest: bool = False
    """True: the most expensive answer, as long as possible, and no verdict passes."""

    @property
    def input_tokens(self) -> int:
        """The estimated tokens of messages, tools, schema and pictures together."""
        texts = [turn.text for turn in self.turns]
        texts += [text for turn in self.turns for call in turn.calls for text in call]
        texts += [json.dumps(tool, ensure_ascii=False) for tool in self.tools]
        if self.response_format:
            texts.append(json.dumps(self.response_format, ensure_ascii=False))
        return sum(map(estimate_tokens, texts)) + self.picture_tokens


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a chat model answers."""

    text: str = ""
    tool: str | None = None
    """The name of the called tool; None: the answer is text."""
    arguments: str = ""
    """The arguments of the call as JSON, which max_tokens may cut off."""
    finish_reason: str = "stop"
    """stop, length, tool_calls or content_filter."""

    @property
    def output_tokens(self) -> int:
        """The estimated tokens of the text and of the call."""
        return estimate_tokens(self.text) + estimate_tokens(self.arguments)


def text_of(content: object) -> str:
    """The text of a message's content, which may be a list of strings and blocks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    blocks = cast("Sequence[Any]", content)
    texts = [block if isinstance(block, str) else _block_text(block) for block in blocks]
    return "\n".join(filter(None, texts))


def _block_text(block: object) -> str:
    text = cast("Mapping[str, Any]", block).get("text") if isinstance(block, Mapping) else None
    return text if isinstance(text, str) else ""


def material(turns: Sequence[Turn]) -> str:
    """The material of an answer: the last message of a user without its instruction, else the last text."""
    texts = [turn.text for turn in turns if turn.text.strip()]
    by_people = [turns[nth].text for nth in _asked(turns) if turns[nth].text.strip()]
    given = (by_people or texts or [""])[-1].partition(f"\n\n<{INSTRUCTIONS}>\n")[0]
    return _PLAN.sub("", given)


def _asked(turns: Sequence[Turn]) -> list[int]:
    """Where a person asks. A message right after a tool's result has the pictures that it returned."""
    roles = ["", *(turn.role for turn in turns)]
    return [
        n
        for n, turn in enumerate(turns)
        if turn.role in _PEOPLE and not (turn.pictures and roles[n] == "tool")
    ]


def tool_call(tools: Sequence[Schema], material: str, *, max_words: int = 24) -> dict[str, Any]:
    """A call of the first tool: its `name`, and `args` that are valid for its parameters."""
    function = tools[0]["function"]
    parameters = function.get("parameters") or {"type": "object"}
    return {"name": function["name"], "args": instance(parameters, material, max_words=max_words)}


def reply(ask: Ask) -> Answer:
    """Answer by rule from the given material; ValueError: a schema has no instance that it can find.

    It calls a tool if tools are offered and none has answered since the last message of a user, or
    if the choice is forced. Otherwise a response format gets an instance of its schema as JSON, and
    a plain question the digest of its material.
    """
    given, shown = material(ask.turns), _shown(ask.turns)
    if shown:
        given = f"{given}\n\n{shown}"
    tool = _tool_to_call(ask)
    if tool is not None:
        arguments, shortened = _fitting_json(
            lambda words: tool_call([tool], given, max_words=words)["args"], ask.max_tokens
        )
        reason = "length" if shortened else "tool_calls"
        return Answer(tool=tool["function"]["name"], arguments=arguments, finish_reason=reason)
    if ask.response_format and ask.response_format.get("type") != "text":
        beside = ask.response_format.get("schema")
        schema = ask.response_format.get("json_schema", {}).get("schema") or beside or _ANY_OBJECT
        text, shortened = _fitting_json(
            lambda words: instance(schema, given, max_words=words), ask.max_tokens
        )
        if ask.longest and ask.max_tokens and not shortened:
            text = stretched(text, ask.max_tokens, "maxLength" not in json.dumps(schema))
        return Answer(text=text, finish_reason="length" if shortened else "stop")
    text = digest(given) or _NO_MATERIAL
    if shown and shown not in text:
        text = f"{text} {shown}"
    if ask.longest and ask.max_tokens:
        text = filled(text, ask.max_tokens)
    return limited(text, ask)


_ANY_OBJECT: Schema = {"properties": {"answer": {"type": "string"}}, "required": ["answer"]}
"""The schema of a `json_object` response, which may be any JSON object."""


def limited(text: str, ask: Ask) -> Answer:
    """An answer with a text, cut at `stop` and `max_tokens`."""
    ends = [text.find(stop) for stop in ask.stop if stop and stop in text]
    text, shortened = cut(text[: min(ends)] if ends else text, ask.max_tokens)
    return Answer(text=text, finish_reason="length" if shortened else "stop")


def _shown(turns: Sequence[Turn]) -> str:
    """What pictures a conversation has, in a sentence; empty: none."""
    kinds = [str(one) for turn in turns for one in turn.pictures]
    count = "1 picture" if len(kinds) == 1 else f"{len(kinds)} pictures"
    return f"It was sent {count}: {'; '.join(kinds)}." if kinds else ""


def _fitting_json(made: Callable[[int], object], max_tokens: int | None) -> tuple[str, bool]:
    """The JSON of the first value that fits; else the shortest one, cut off."""
    text, shortened = "", True
    for words in _WORDS_PER_STRING:
        text, shortened = cut(json.dumps(made(words), ensure_ascii=False), max_tokens)
        if not shortened:
            break
    return text, shortened


def _tool_to_call(ask: Ask) -> Schema | None:
    tools = {tool["function"]["name"]: tool for tool in ask.tools if "function" in tool}
    choice = ask.tool_choice
    if isinstance(choice, Mapping):
        named = cast("Mapping[str, Any]", choice).get("function", {}).get("name")
        return tools.get(named)
    if not tools or choice == "none":
        return None
    if isinstance(choice, str) and choice in tools:
        return tools[choice]
    last = max(_asked(ask.turns), default=-1)
    since = ask.turns[last + 1 :]
    if choice in ("any", "required", True):
        # A loop with a forced choice ends when its last tool, the typed answer, is called.
        called = {name for turn in since for name, _ in turn.calls}
        waiting = [tool for name, tool in tools.items() if name not in called]
        return waiting[0] if waiting else list(tools.values())[-1]
    answered = any(turn.role == "tool" for turn in since)
    return None if answered else next(iter(tools.values()))
