"""Makes a conversation one that servers accept, whatever models, tools and callers put into it.

Servers refuse a request for one wrong name or id in an earlier answer, although a model made it up.
So what is sent has legal names, ids that occur once, exactly one result after each tool call, one
system message at the beginning, and no empty texts. The same messages always become the same
request, so that a provider's cache finds the beginning of a conversation again.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.models.protocol.calls import arguments_in, joined, mended
from aideon_agents.models.protocol.reading import DETAILS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.messages import BaseMessage

    from aideon_agents.models.protocol.calls import Calls

THOUGHTS_FROM = "aideon_thoughts_from"
"""Key in `additional_kwargs` of an answer: the provider and the field that its thoughts came from."""
CALLS_FROM = "aideon_calls_from"
"""The same for its tool calls: the provider, and the id and the further fields of each call."""

_LONGEST_NAME = 64
_NOT_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")
_SYSTEM = frozenset({"system", "developer"})
_NOTHING = "(empty)"
"""The text of a message without any."""
_NO_RESULT = "Error: this call was not run"
_NO_THOUGHTS = " "
_RETURNED, _SHOWN_BELOW = "(what the tools returned as pictures)", "(a picture, shown below)"
_ABSENT = object()
NO_TEXT: Mapping[str, object] = {
    "null content": None,
    "absent content": _ABSENT,
    "empty content": "",
    "no text": _NOTHING,
}
"""What may stand for the text beside tool calls; the first is sent that a server has not refused."""
_USUAL = frozenset({"role", "name", "content", "tool_calls", "function_call"}) | {
    *("id", "type", "function", "arguments"),
}
"""The fields of messages and calls that every server knows."""


def valid(
    payload: dict[str, Any],
    messages: Sequence[BaseMessage],
    provider: str,
    refused: Collection[str] = (),
) -> dict[str, Any]:
    """A request in a form that servers accept. `messages` are those that it was made from.

    `refused` holds the names of what this server does not take.
    """
    names: dict[str, str] = {}
    if payload.get("tools"):
        names = _legal_names(payload["tools"])
        payload["tools"] = [_renamed(tool, names) for tool in payload["tools"]]
    if isinstance(payload.get("tool_choice"), dict):
        payload["tool_choice"] = _renamed(payload["tool_choice"], names)
    sent: list[dict[str, Any]] | None = payload.get("messages")
    if sent is None:
        return payload
    systems: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    has_calls = False
    for message in sent:
        content = message.get("content")
        is_plain = isinstance(content, str) and content.isascii() and content.strip()
        if not is_plain or "name" in message:
            _fill(message, refused)
        if message["role"] not in _SYSTEM:
            others.append(message)
            has_calls = has_calls or message["role"] == "tool" or bool(message.get("tool_calls"))
        elif message["content"] != _NOTHING:
            systems.append(message)
    if has_calls:
        if len(sent) == len(messages):
            _add_thoughts(sent, messages, provider, refused)
            _add_fields(sent, messages, provider, refused)
        others = list(_paired(others, names))
    payload["messages"] = [*(systems if len(systems) < 2 else [_joined(systems)]), *others]  # noqa: PLR2004 - many chat templates take no second one
    return payload


def came_from(
    provider: str,
    thoughts: str | None,
    calls: Calls | None,
    details: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What is kept of an answer besides its text; `thoughts` is the field that had them."""
    kept: dict[str, Any] = {DETAILS: details} if details else {}
    if thoughts:
        kept[THOUGHTS_FROM] = [provider, thoughts]
    if calls and any(len(one) > 1 for one in calls.beside):
        kept[CALLS_FROM] = [provider, calls.beside]
    return kept


def own_names(tools: object) -> dict[str, str]:
    """The names of tools by the names that a model is sent, where these differ."""
    return {legal: own for own, legal in _legal_names(tools).items() if own != legal}


def _legal_names(tools: object) -> dict[str, str]:
    """The name that a model is sent for each tool."""
    listed = cast("list[Any]", tools) if isinstance(tools, list) else []
    own = [name for tool in listed if (name := _name_of(tool)) is not None]
    names = {name: name for name in own if _legal(name) == name}
    for name in own:
        if name not in names:
            names[name] = _unlike(_legal(name), names.values())
    return names


def _name_of(tool: object) -> str | None:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else None


def _legal(name: str) -> str:
    return _NOT_IN_NAME.sub("_", name)[:_LONGEST_NAME] or "unnamed"


def _unlike(name: str, others: Any) -> str:
    """A name that is none of the others."""
    tried = name
    for number in itertools.count(2):
        if tried not in others:
            break
        tried = f"{name[: _LONGEST_NAME - 4]}_{number}"
    return tried


def _renamed(tool: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    name = _name_of(tool)
    if name is None or name not in names:
        return tool
    return {**tool, "function": {**tool["function"], "name": names[name]}}


def _add_thoughts(
    sent: Sequence[dict[str, Any]],
    messages: Sequence[BaseMessage],
    provider: str,
    refused: Collection[str],
) -> None:
    """Add the thoughts before tool calls where this provider sent them: some refuse calls without."""
    origins = [one.additional_kwargs.get(THOUGHTS_FROM) for one in messages]
    fields = {origin[1] for origin in origins if origin and origin[0] == provider}
    if not fields - set(refused):
        return
    usual = min(fields - {DETAILS}, default=None)
    for message, origin, known in zip(sent, origins, messages, strict=True):
        if not message.get("tool_calls"):
            continue
        if origin and origin[0] == provider:
            kept = known.additional_kwargs
            text = kept.get("reasoning_content") or _NO_THOUGHTS
            message[origin[1]] = text
            if kept.get(DETAILS):
                message[DETAILS] = kept[DETAILS]
        elif usual:  # another model's call
            message[usual] = _NO_THOUGHTS


def _add_fields(
    sent: Sequence[dict[str, Any]],
    messages: Sequence[BaseMessage],
    provider: str,
    refused: Collection[str],
) -> None:
    """Give tool calls the further fields with which this provider sent them, such as signatures."""
    for message, known in zip(sent, messages, strict=True):
        calls: list[dict[str, Any]] = message.get("tool_calls") or []
        origin = known.additional_kwargs.get(CALLS_FROM)
        if not calls or not origin or origin[0] != provider:
            continue
        left: list[dict[str, Any]] = list(origin[1])
        for nth, call in enumerate(calls):
            of_call = next((one for one in left if one["id"] == call.get("id")), None)
            if of_call is not None:
                left.remove(of_call)
                calls[nth] = joined({**_accepted(of_call, refused), "id": None}, call)


def _accepted(fields: Mapping[str, Any], refused: Collection[str]) -> dict[str, Any]:
    known = {name: one for name, one in fields.items() if name not in refused}
    if "function" in known:
        known["function"] = _accepted(known["function"], refused)
    return known


def further_fields(messages: Sequence[Mapping[str, Any]]) -> set[str]:
    """The names of fields beside tool calls that only some servers know."""
    found: set[str] = set()
    for message in messages:
        if calls := message.get("tool_calls"):
            found |= message.keys() - _USUAL
            for call in calls:
                found |= (call.keys() | call["function"].keys()) - _USUAL
    return found


def no_text_in(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Which of NO_TEXT is the content beside tool calls; None: all of these have a text."""
    contents = [one.get("content", _ABSENT) for one in messages if one.get("tool_calls")]
    return next((name for name, content in NO_TEXT.items() if content in contents), None)


def _fill(message: dict[str, Any], refused: Collection[str]) -> None:
    """Make a message's name and content acceptable."""
    if message.get("name"):
        message["name"] = _legal(str(message["name"]))
    content = message.get("content")
    if isinstance(content, str):
        content = (content if content.isascii() else mended(content)) if content.strip() else None
    elif isinstance(content, list):
        content = [_mended_part(part) for part in cast("list[Any]", content) if not _is_blank(part)]
    if content:
        message["content"] = content
    elif not message.get("tool_calls") and not message.get("function_call"):
        message["content"] = _NOTHING
    else:
        message["content"] = next(one for name, one in NO_TEXT.items() if name not in refused)
        if message["content"] is _ABSENT:
            del message["content"]


def _is_blank(part: object) -> bool:
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else part
    return isinstance(text, str) and not text.strip()


def _mended_part(part: Any) -> Any:
    if isinstance(part, str):
        return mended(part)
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return {**part, "text": mended(part["text"])}
    return part


def _joined(systems: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All system messages as one."""
    contents = [one["content"] for one in systems]
    if all(isinstance(content, str) for content in contents):
        return {**systems[0], "content": "\n\n".join(contents)}
    parts = [
        part
        for content in contents
        for part in ([{"type": "text", "text": content}] if isinstance(content, str) else content)
    ]
    return {**systems[0], "content": parts}


def _paired(
    messages: Sequence[dict[str, Any]], names: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """The messages, each tool call followed by its one result, under an id of its own."""
    used: set[str] = set()
    placed: set[int] = set()
    """Results that stand after their call, by `id`."""
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            if id(message) not in placed:
                yield {"role": "user", "content": message["content"]}
            continue
        calls = message.get("tool_calls")
        if not calls:
            yield message
            continue
        results = _results_of(calls, messages[at + 1 :])
        placed |= {id(result) for result in results if result}
        fixed = [_fixed_call(call, names, used) for call in calls]
        yield {**message, "tool_calls": fixed}
        pictures: list[Any] = []
        for call, result in zip(fixed, results, strict=True):
            content = result["content"] if result else _NO_RESULT
            if isinstance(content, list):
                content, shown = _without_pictures(cast("list[Any]", content))
                pictures += shown
            yield {"role": "tool", "tool_call_id": call["id"], "content": content}
        if pictures:
            yield {"role": "user", "content": [{"type": "text", "text": _RETURNED}, *pictures]}


def _without_pictures(content: list[Any]) -> tuple[list[Any] | str, list[Any]]:
    """A tool's result without its pictures, and these: servers take them from a user alone."""
    pictures = [one for one in content if isinstance(one, Mapping) and "image_url" in one]
    texts = [one for one in content if one not in pictures]
    return (texts or _SHOWN_BELOW) if pictures else content, pictures


def _results_of(
    calls: Sequence[Mapping[str, Any]], after: Sequence[dict[str, Any]]
) -> list[dict[str, Any] | None]:
    """The result of each call among the messages until the next calls; None: there is none."""
    until = itertools.takewhile(lambda one: not one.get("tool_calls"), after)
    left = [one for one in until if one["role"] == "tool"]
    results: list[dict[str, Any] | None] = []
    for call in calls:
        wanted = call.get("id") or ""
        found = next((one for one in left if (one.get("tool_call_id") or "") == wanted), None)
        results.append(found)
        left = [one for one in left if one is not found]
    return results


def _fixed_call(
    call: Mapping[str, Any], names: Mapping[str, str], used: set[str]
) -> dict[str, Any]:
    """A call with a legal name, a new id if its own is used or illegal, and readable arguments.

    Its further fields stay as they are.
    """
    function = call.get("function") or {}
    name = str(function.get("name") or "")
    legal = names.get(name) or _legal(name)
    if name not in names and legal in names.values():
        legal = _legal(f"unknown_{legal}")  # a tool that the model made up is none of ours
    call_id = str(call.get("id") or "")
    if not _ID.fullmatch(call_id) or call_id in used:
        call_id = next(new for n in itertools.count() if (new := f"call_{n}") not in used)
    used.add(call_id)
    arguments = arguments_in(str(function.get("arguments") or ""))
    arguments = "{}" if arguments is None else arguments
    fixed = {**function, "name": legal, "arguments": arguments}
    return {**call, "id": call_id, "type": "function", "function": fixed}
