"""The tool calls of an answer, read in the same way whether they came whole or in pieces.

A call's arguments are accepted only as one whole JSON object. LangChain completes JSON that broke
off, and would run a tool with half an argument.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages.tool import (
    ToolCall,
    ToolCallChunk,
    invalid_tool_call,
    tool_call,
    tool_call_chunk,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from langchain_core.messages.content import InvalidToolCall

_MOST_ENCODED = 3
"""How often arguments may be encoded as JSON."""


def mended(text: str) -> str:
    """A text whose halves of characters are joined; a half alone becomes the replacement character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def arguments_in(sent: str) -> str | None:
    """The arguments of a call as one JSON object; None: they are none.

    An object that was encoded twice is decoded; nothing at all is an empty object.
    """
    value: object = sent
    try:
        for _ in range(_MOST_ENCODED):
            if not isinstance(value, str):
                break
            value = json.loads(value, strict=False) if value.strip() else {}
        if value is None:
            return "{}"
        if not isinstance(value, dict):
            return None
        return mended(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (ValueError, RecursionError):
        return None


class Calls:
    """The tool calls of one answer, as far as they were sent."""

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self.beside: list[dict[str, Any]] = []
        """The id and the further fields of each call, in the order of `sorted`."""

    def take(self, sent: object, *, are_whole: bool = False) -> None:
        """Add calls, or pieces of them unless they are whole."""
        parts = [sent] if isinstance(sent, Mapping) else sent
        earlier = len(self._calls)
        for part in cast("list[Any]", parts) if isinstance(parts, list) else []:
            if not isinstance(part, Mapping):
                continue
            piece = _fields(cast("Mapping[str, Any]", part))
            call = None if are_whole else self._continued(piece, earlier)
            if call is None:
                self._calls.append(piece)
            else:
                _extend(call, piece)

    def _continued(self, piece: dict[str, Any], earlier: int) -> dict[str, Any] | None:
        """The call that a piece continues; None: it begins one.

        Servers number calls, name them by an id, do both, or send them whole one after the other.
        Some give all calls of an answer the same number, and some a new id to each piece.
        """
        number = piece["index"]
        known = [one for one in self._calls if number is None or one["index"] == number]
        if not known:
            return None
        with_id = [one for one in known if piece["id"] and one["id"] == piece["id"]]
        call = (with_id or known)[-1]
        began_now = any(call is one for one in self._calls[earlier:])
        if number is None and began_now and piece["name"]:
            return None
        return call if _continues(call, piece) else None

    def sorted(
        self, finish_reason: str | None, names: Mapping[str, str]
    ) -> tuple[list[ToolCall], list[InvalidToolCall]]:
        """The calls that can be run, and those whose arguments cannot be read.

        `names` holds the tools' own names by those that the model knows.
        """
        readable: list[ToolCall] = []
        unreadable: list[InvalidToolCall] = []
        others: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for nth, call in enumerate(self._calls, 1):
            name, call_id = names.get(call["name"], call["name"]), call["id"] or None
            # The last call of an answer that met its limit broke off before its arguments.
            is_cut = finish_reason == "length" and nth == len(self._calls)
            found = arguments_in(call["arguments"])
            is_unreadable = found is None or (is_cut and not call["arguments"].strip())
            others[is_unreadable].append({"id": call_id, **call["beside"]})
            if found is None or is_unreadable:
                unreadable.append(
                    invalid_tool_call(
                        name=name, args=mended(call["arguments"]), id=call_id, error=None
                    )
                )
            else:
                readable.append(tool_call(name=name, args=json.loads(found), id=call_id))
        self.beside = [*others[0], *others[1]]
        return readable, unreadable


_KNOWN = frozenset({"index", "id", "type", "function"})
_IN_FUNCTION = frozenset({"name", "arguments"})


def _fields(part: Mapping[str, Any]) -> dict[str, Any]:
    """A call, or a piece of one: its index, and as text its id, its name and its arguments.

    Further fields are kept as they are: some servers refuse a call that comes back without them.
    """
    function = part.get("function")
    known = cast("Mapping[str, Any]", function) if isinstance(function, Mapping) else part
    name, arguments, call_id = known.get("name"), known.get("arguments"), part.get("id")
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else json.dumps(arguments)
    has_function = known is not part
    beside = _without(part, _KNOWN if has_function else _KNOWN | _IN_FUNCTION)
    if has_function and (inner := _without(known, _IN_FUNCTION)):
        beside["function"] = inner
    return {
        "index": part.get("index"),
        "id": "" if call_id is None else str(call_id),
        "name": name if isinstance(name, str) else "",
        "arguments": arguments,
        "beside": beside,
    }


def _without(fields: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: one for name, one in fields.items() if name not in names and one is not None}


def joined(fields: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of two pieces of a call; a text or a list continues in the second one."""
    whole = dict(fields)
    for name, new in more.items():
        old = whole.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            whole[name] = joined(cast("dict[str, Any]", old), cast("dict[str, Any]", new))
        elif isinstance(old, str | list) and type(old) is type(new) and old != new:
            whole[name] = old + new
        else:
            whole[name] = new
    return whole


def _continues(call: Mapping[str, Any], piece: Mapping[str, Any]) -> bool:
    """Whether a piece belongs to the call that its index, its id or its place point to."""
    has_other_id = bool(piece["id"] and call["id"] and piece["id"] != call["id"])
    is_numbered, is_same_name = piece["index"] is not None, piece["name"] == call["name"]
    if not piece["name"] and not has_other_id:
        return True
    if call["arguments"].strip() and arguments_in(call["arguments"]) is not None:
        # Whole: only a repetition of it belongs to it.
        is_repeated = not piece["arguments"].strip() or piece["arguments"] == call["arguments"]
        is_known = is_numbered or bool(piece["id"])
        return is_known and is_same_name and is_repeated and not has_other_id
    if not piece["name"]:
        return True
    if has_other_id:
        return is_numbered and is_same_name
    return is_numbered or bool(piece["id"]) or is_same_name


def _extend(call: dict[str, Any], piece: Mapping[str, Any]) -> None:
    call["id"] = call["id"] or piece["id"]
    call["beside"] = joined(call["beside"], piece["beside"])
    if piece["name"] != call["name"]:  # some servers repeat it
        call["name"] += piece["name"]
    is_repeated = piece["name"] and piece["arguments"] == call["arguments"]
    if not (is_repeated and arguments_in(call["arguments"]) is not None):
        call["arguments"] += piece["arguments"]


def as_chunks(readable: list[ToolCall], unreadable: list[InvalidToolCall]) -> list[ToolCallChunk]:
    """Calls as part of a stream, where LangChain reads their arguments again.

    Unreadable arguments become a JSON text, because LangChain would complete what broke off.
    """
    texts: list[tuple[Any, str]] = [(call, json.dumps(call["args"])) for call in readable]
    texts += [(call, json.dumps(call["args"])) for call in unreadable]
    return [
        tool_call_chunk(name=call["name"], args=text, id=call["id"], index=nth)
        for nth, (call, text) in enumerate(texts)
    ]


def raw_arguments(sent: str | None) -> str:
    """Unreadable arguments as the model sent them, whether they were streamed or not."""
    text = sent or ""
    for _ in range(_MOST_ENCODED + 1):
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            break
        if not isinstance(inner, str):
            break
        text = inner
    return text
