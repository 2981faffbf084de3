"""Reads what OpenAI-compatible servers send, whatever their dialect, into what LangChain converts.

LangChain's conversion reads OpenAI's own form. Servers differ from it: counts have other names or are
text, arguments of a tool call are an object or are encoded twice, a role is missing or unknown, the
end of a stream carries no delta. A missing count stays unknown: it must not look like 0.

Arguments of a tool call are accepted only as one whole JSON object. LangChain completes JSON that
broke off, and would call a tool with half an argument.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, cast

import orjson

from aideon_agents.ledger.calls import MET_MAX_TOKENS
from aideon_agents.ledger.pricing import MOST

_NAMES = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
_FILTERED = frozenset(
    {"content_filter", "sensitive", "safety", "recitation", "prohibited_content", "refusal"}
)
_FAILED = frozenset(
    {"error", "network_error", "abort", "insufficient_system_resource", "malformed_function_call"}
)
"""Reasons of answers that the server could not complete: not an answer."""
_HIGH_SURROGATES = ("\ud800", "\udbff")


def from_json(data: bytes) -> Any:
    """A JSON value; ValueError: it is none.

    orjson refuses what some servers send: a byte order mark, NaN, half an emoji as an escape.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data.decode("utf-8-sig", "replace"))


def error_in(body: Mapping[str, Any]) -> object | None:
    """The error inside a body or a chunk that was sent with status 200; None: there is none."""
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    choice = cast("Mapping[str, Any]", first) if isinstance(first, Mapping) else {}
    if error := body.get("error") or choice.get("error"):
        is_bare = isinstance(error, str) and not choice
        return body if is_bare or error is True else error  # the rest of the body says more
    if str(choice.get("finish_reason")).lower() in _FAILED:
        return {"message": f"the answer ended with {choice['finish_reason']}", "status": 500}
    says_something = any(body.get(name) for name in ("message", "detail", "msg"))
    if body.get("object") == "error" or (says_something and not isinstance(choices, list)):
        return body
    return None


def normalized(body: dict[str, Any]) -> dict[str, Any]:
    """A whole answer in OpenAI's form. It is changed in place."""
    if body.get("usage") is not None:
        body["usage"] = fixed_usage(body["usage"])
    for choice in body.get("choices") or ():
        message = choice.get("message")
        if not isinstance(message, dict):
            choice["message"] = message = {"content": choice.get("text")}
        message["role"] = "assistant"
        message["content"] = text_of(message.get("content"))
        choice["finish_reason"] = finish_reason(choice.get("finish_reason"))
        if message.get("tool_calls") is not None:
            message["tool_calls"] = whole_calls(message["tool_calls"])
    return body


def finish_reason(sent: object) -> str | None:
    """The reason why an answer ended, where the many words for one reason are one."""
    if not isinstance(sent, str) or not sent:
        return None
    if sent.lower() in _FILTERED:
        return "content_filter"
    return "length" if sent.lower() in MET_MAX_TOKENS else sent


def text_of(content: object) -> str:
    """The text of an answer, which some servers send in parts."""
    if isinstance(content, str):
        return mended(content)
    parts = cast("list[Any]", content) if isinstance(content, list) else []
    texts = [one if isinstance(one, str) else _part_text(one) for one in parts]
    return mended("".join(texts))


def _part_text(part: object) -> str:
    if not isinstance(part, Mapping):
        return ""
    text = cast("Mapping[str, Any]", part).get("text")
    return text if isinstance(text, str) else ""


def mended(text: str) -> str:
    """A text whose halves of characters are joined; a half alone becomes the replacement character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def whole_calls(sent: object) -> list[dict[str, Any]]:
    """The tool calls of an answer, with arguments as text that LangChain reads as sent.

    Arguments that are no JSON object become text that LangChain lists among the invalid calls.
    """
    calls = cast("list[Any]", sent) if isinstance(sent, list) else []
    whole: list[dict[str, Any]] = []
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            continue
        known = cast("Mapping[str, Any]", function)
        name = known.get("name")
        arguments = call_arguments(known.get("arguments"))
        whole.append(
            {
                **cast("Mapping[str, Any]", call),
                "type": "function",
                "function": {
                    "name": name if isinstance(name, str) else "",
                    "arguments": arguments if arguments is not None else _unreadable(known),
                },
            }
        )
    return whole


def call_arguments(sent: object) -> str | None:
    """The arguments of a tool call as a JSON object; None: they are no object.

    An object that was encoded twice is decoded; nothing at all is an empty object.
    """
    value: object = sent
    for _ in range(2):
        if not isinstance(value, str):
            break
        if not value.strip():
            return "{}"
        try:
            value = json.loads(value, strict=False)
        except ValueError:
            return None
    if value is None:
        return "{}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else None


def _unreadable(function: Mapping[str, Any]) -> str:
    """Arguments in a form that LangChain never takes for an object, not even in part."""
    sent = function.get("arguments")
    return sent if isinstance(sent, str) else json.dumps(sent, default=str)


@dataclasses.dataclass(slots=True)
class StreamedAnswer:
    """What a stream has sent so far, and what is still kept back.

    Tool calls are kept until the end, when their arguments are whole. So is usage: a total so far is
    not what the answer costs.
    """

    finish_reason: str | None = None
    has_text: bool = False
    usage: dict[str, Any] | None = None
    """The last usage that covers the whole answer; None: none was sent yet."""
    _half: str = ""
    """The first half of a character, whose second half comes in the next chunk."""
    _calls: dict[int, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def take(self, chunk: dict[str, Any]) -> dict[str, Any] | None:
        """One chunk in OpenAI's form, without what is kept back; None: nothing of it is shown now."""
        usage = chunk.pop("usage", None)
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            self._count(usage)
            return None
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = {"content": choice.get("text")}  # none at the end, text from older servers
        ended = finish_reason(choice.get("finish_reason"))
        self.finish_reason = ended or self.finish_reason
        if usage is not None and self.finish_reason:
            self._count(usage)
        self._keep_calls(delta.pop("tool_calls", None))
        text = self._joined(delta.get("content"))
        choice["finish_reason"] = ended
        choice["delta"] = {**delta, "role": "assistant", "content": text}
        shown = text or ended or delta.get("refusal") or delta.get("reasoning_content")
        self.has_text = self.has_text or bool(text.strip())
        return chunk if shown or choice.get("logprobs") else None

    def calls(self) -> list[dict[str, Any]]:
        """The tool calls, whole, as chunks of LangChain's; call it at the end."""
        chunks: list[dict[str, Any]] = []
        for index, call in enumerate(self._calls.values()):
            arguments = call_arguments(call["arguments"])
            if arguments is None:  # as a JSON text: LangChain would complete what broke off
                arguments = json.dumps(call["arguments"], ensure_ascii=False)
            chunks.append({**call, "args": arguments, "index": index, "type": "tool_call_chunk"})
        for chunk in chunks:
            del chunk["arguments"]
        return chunks

    def _count(self, usage: object) -> None:
        if usage is not None:
            self.usage = fixed_usage(usage) or self.usage

    def _joined(self, content: object) -> str:
        """The text of a chunk, without half a character at its end."""
        if not self._half and isinstance(content, str) and content.isascii():
            return content
        parts = content if isinstance(content, str) else text_of(content)
        text, self._half = self._half + parts, ""
        if text and _HIGH_SURROGATES[0] <= text[-1] <= _HIGH_SURROGATES[1]:
            text, self._half = text[:-1], text[-1]
        return mended(text)

    def _keep_calls(self, sent: object) -> None:
        for part in cast("list[Any]", sent) if isinstance(sent, list) else []:
            if not isinstance(part, dict):
                continue
            piece = cast("dict[str, Any]", part)
            function = piece.get("function")
            known = cast("dict[str, Any]", function) if isinstance(function, dict) else {}
            call = self._calls.setdefault(
                self._index_of(piece), {"id": None, "name": "", "arguments": ""}
            )
            call["id"] = call["id"] or piece.get("id")
            name, arguments = known.get("name"), known.get("arguments")
            if isinstance(name, str) and name != call["name"]:  # some servers repeat it
                call["name"] += name
            if isinstance(arguments, str):
                call["arguments"] += arguments
            elif arguments is not None:
                call["arguments"] += json.dumps(arguments)

    def _index_of(self, piece: Mapping[str, Any]) -> int:
        """Which call a part belongs to. Without an index, a part with a new id begins a call."""
        index = piece.get("index")
        if isinstance(index, int):
            return index
        known = [nth for nth, call in self._calls.items() if call["id"] == piece.get("id")]
        if piece.get("id") and known:
            return known[-1]
        begins = piece.get("id") or not self._calls
        return max(self._calls, default=-1) + 1 if begins else max(self._calls)


def fixed_usage(reported: object) -> dict[str, Any] | None:
    """A body's `usage` with OpenAI's names; None: input or output tokens are missing or no counts."""
    if not isinstance(reported, dict):
        return None
    usage = cast("dict[str, Any]", reported)
    known = dict(usage)
    for name, other in _NAMES:
        count = _count(usage.get(name))
        count = _count(usage.get(other)) if count is None else count
        if count is None:
            return None
        known[name] = count
    known["total_tokens"] = (
        _count(usage.get("total_tokens")) or known["prompt_tokens"] + known["completion_tokens"]
    )
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = usage.get(name)
        known[name] = _counts(details) if isinstance(details, dict) else {}
    cached = _count(usage.get("cached_tokens"))
    if cached is not None:
        known["prompt_tokens_details"].setdefault("cached_tokens", cached)
    return known


def _counts(details: Mapping[str, Any]) -> dict[str, int]:
    counts = {name: _count(value) for name, value in details.items()}
    return {name: count for name, count in counts.items() if count is not None}


def _count(value: object) -> int | None:
    """A number of tokens; some servers send it as text."""
    if (
        isinstance(value, str)
        and value.isascii()
        and value.isdigit()
        and len(value) <= len(str(MOST))
    ):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST:
        return value
    return None
