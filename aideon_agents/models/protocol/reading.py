"""Reads what OpenAI-compatible servers send, whatever their dialect, into what LangChain converts.

LangChain's conversion reads OpenAI's own form. Servers differ from it: counts have other names or are
text, arguments of a tool call are an object or are encoded twice, a role is missing or unknown, the
end of a stream carries no delta. A missing count stays unknown: it must not look like 0.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

from aideon_agents.ledger.calls import MET_MAX_TOKENS
from aideon_agents.ledger.pricing import MOST
from aideon_agents.models.protocol.calls import Calls, mended

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_NAMES = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
_FILTERED = frozenset(
    {"content_filter", "sensitive", "safety", "recitation", "prohibited_content", "refusal"}
)
_FAILED = frozenset(
    {"error", "network_error", "abort", "insufficient_system_resource", "malformed_function_call"}
)
"""Reasons of answers that the server could not complete: not an answer."""
THOUGHTS = ("reasoning_content", "reasoning")
"""Names of a model's thoughts in a message."""
DETAILS = "reasoning_details"
"""The name of its thoughts as a list of parts, some of which are signed or encrypted."""
_CONTINUED = frozenset({"text", "summary", "data"})
"""The fields of such a part that a stream sends in pieces."""
_BESIDE = {
    "cached_tokens": ("prompt_tokens_details", "cached_tokens"),
    "prompt_cache_hit_tokens": ("prompt_tokens_details", "cached_tokens"),
    "cache_read_input_tokens": ("prompt_tokens_details", "cached_tokens"),
    "cache_creation_input_tokens": ("prompt_tokens_details", "cache_write_tokens"),
    "reasoning_tokens": ("completion_tokens_details", "reasoning_tokens"),
}
"""Parts of a count that some servers send beside it instead of inside, and their place."""
_DETAILS = {
    "input_token_details": "prompt_tokens_details",
    "output_token_details": "completion_tokens_details",
}
_CONVERTED = frozenset({"cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens"})
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
        if sent := message.pop("tool_calls", None):
            choice["calls"] = Calls()
            choice["calls"].take(sent, are_whole=True)
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
        return content if content.isascii() else mended(content)
    parts = cast("list[Any]", content) if isinstance(content, list) else [content]
    texts = [one if isinstance(one, str) else _part_text(one) for one in parts]
    return mended("".join(texts))


def _part_text(part: object) -> str:
    if not isinstance(part, Mapping):
        return ""
    text = cast("Mapping[str, Any]", part).get("text")
    return text if isinstance(text, str) else ""


@dataclasses.dataclass(slots=True)
class StreamedAnswer:
    """What a stream has sent so far, and what is still kept back.

    Tool calls are kept until the end, when their arguments are whole. So is usage: a total so far is
    not what the answer costs.
    """

    finish_reason: str | None = None
    has_text: bool = False
    model: str | None = None
    """The model that was named last."""
    usage: dict[str, Any] | None = None
    """The last usage that covers the whole answer; None: none was sent yet."""
    thoughts: str | None = None
    """The field that had the model's thoughts; None: there were none."""
    details: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """The parts of its thoughts, where they are sent as parts."""
    service_tier: str | None = None
    """The service tier that was named last, which is the one that answers."""
    _half: str = ""
    """The first half of a character, whose second half comes in the next chunk."""
    calls: Calls = dataclasses.field(default_factory=Calls)

    def take(self, chunk: dict[str, Any]) -> dict[str, Any] | None:
        """One chunk in OpenAI's form, without what is kept back; None: nothing of it is shown now."""
        usage = chunk.pop("usage", None)
        self.service_tier = chunk.pop("service_tier", None) or self.service_tier
        self.model = chunk.get("model") or self.model
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(choice, dict) and usage is None:
            usage = choice.pop("usage", None)  # where Moonshot has it
        if not isinstance(choice, dict):
            self._count(usage)
            return None
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            # None at the end; a whole message, or text from older servers.
            message = choice.get("message")
            delta = message if isinstance(message, dict) else {"content": choice.get("text")}
        ended = finish_reason(choice.get("finish_reason"))
        self.finish_reason = ended or self.finish_reason
        if self.finish_reason is None:
            self.usage = None  # the answer continues, so what was sent before is a total so far
        self._count(usage if self.finish_reason else None)
        self.calls.take(delta.pop("tool_calls", None))
        if details := delta.pop(DETAILS, None):
            for piece in _parts(details):
                _add_part(self.details, piece)
                self.thoughts = self.thoughts or DETAILS
        text = self._joined(delta.get("content"))
        choice["finish_reason"] = ended
        choice["delta"] = {**delta, "role": "assistant", "content": text}
        shown = text or ended or any(delta.get(name) for name in (*THOUGHTS, "refusal"))
        self.has_text = self.has_text or bool(text.strip())
        return chunk if shown or choice.get("logprobs") else None

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


def _parts(details: object) -> list[dict[str, Any]]:
    listed = cast("list[Any]", details) if isinstance(details, list) else []
    return [part for part in listed if isinstance(part, dict)]


def _add_part(parts: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """Add a part of a model's thoughts, or a piece that continues one: the part must come back whole."""
    part: dict[str, Any] = {}
    for known in parts if piece.get("index") is not None else ():
        ids = {known.get("id"), piece.get("id")} - {None}
        if len(ids) < 2 and all(known.get(key) == piece.get(key) for key in ("index", "type")):  # noqa: PLR2004 - two ids are two parts
            part = known
    for name, new in piece.items():
        old = part.get(name)
        is_continued = name in _CONTINUED and isinstance(old, str) and isinstance(new, str)
        if new is not None or name not in part:
            part[name] = f"{old}{new}" if is_continued else new
    if not any(part is known for known in parts):
        parts.append(part)


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
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = usage.get(name)
        known[name] = _counts(details) if isinstance(details, dict) else {}
    for beside, (details, name) in _BESIDE.items():
        if (count := _count(usage.get(beside))) is not None:
            known[details].setdefault(name, count)
    total = _count(usage.get("total_tokens"))
    reasoning = known["completion_tokens_details"].get("reasoning_tokens", 0)
    plain = known["completion_tokens"]
    if reasoning > plain or (reasoning and total == known["prompt_tokens"] + plain + reasoning):
        known["completion_tokens"] = plain + reasoning  # some servers leave it out
    known["total_tokens"] = total or known["prompt_tokens"] + known["completion_tokens"]
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


def keep_usage(message: Any, usage: Mapping[str, Any] | None, tier: object) -> bool:
    """Keep the service tier, and the kinds of tokens that LangChain's conversion drops.

    Returns whether thoughts are among them.
    """
    reported: Any = getattr(message, "usage_metadata", None)
    for ours, theirs in _DETAILS.items() if usage and reported else ():
        for name, count in usage[theirs].items() if usage else ():
            if count and name not in _CONVERTED:
                reported.setdefault(ours, {})[name.removesuffix("_tokens")] = count
    if tier := tier or (usage or {}).get("service_tier"):
        message.response_metadata["service_tier"] = tier
    return bool(usage and usage["completion_tokens_details"].get("reasoning_tokens"))


def keep_beside(message: BaseMessage, sent: Mapping[str, Any]) -> str | None:
    """Keep what LangChain's conversion drops; returns the name of the field that had thoughts."""
    if sent.get("refusal"):
        message.additional_kwargs["refusal"] = sent["refusal"]
    if details := sent.get(DETAILS):
        message.additional_kwargs[DETAILS] = details = _parts(details)
    for name in THOUGHTS:
        thoughts = sent.get(name)
        if isinstance(thoughts, str) and thoughts:
            message.additional_kwargs["reasoning_content"] = thoughts
            return name
    return DETAILS if details else None
