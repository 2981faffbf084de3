"""What clients get wrong about a body: token counts that they drop or make up, odd arguments.

LangChain reads a missing count as 0, and an unknown sum must not look like nothing; it knows only
OpenAI's names of the counts; and it drops Together's top-level `cached_tokens`, which are cheaper
than the rest. Older servers send a tool's arguments as an object instead of as text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from langchain_openai.chat_models.base import BaseChatOpenAI
from openai.types.completion_usage import CompletionUsage

from aideon_agents.ledger.usage import MOST

if TYPE_CHECKING:
    import openai
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

_NAMES = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))


class Counted(BaseChatOpenAI):
    """Reads `usage` as it was meant, in an answer and in a stream. Mixed in before a client."""

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: Any = None
    ) -> ChatResult:
        body: Any = response
        usage = getattr(body, "usage", None)
        if usage is not None:
            is_read = isinstance(usage, CompletionUsage)
            counts = counted(usage.model_dump(warnings=False) if is_read else usage)
            body.usage = None if counts is None else CompletionUsage.construct(**counts)
        for choice in getattr(body, "choices", None) or []:
            for call in getattr(getattr(choice, "message", None), "tool_calls", None) or []:
                _as_text(getattr(call, "function", None))
        return super()._create_chat_result(response, generation_info)

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: Any
    ) -> ChatGenerationChunk | None:
        if chunk.get("usage") is not None:
            chunk["usage"] = counted(chunk["usage"])
        return super()._convert_chunk_to_generation_chunk(
            chunk, default_chunk_class, base_generation_info
        )


def counted(reported: object) -> dict[str, Any] | None:
    """A body's `usage` in OpenAI's words."""
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
    total = _count(usage.get("total_tokens"))
    known["total_tokens"] = known["prompt_tokens"] + known["completion_tokens"]
    known["total_tokens"] = total or known["total_tokens"]
    if usage.get("cached_tokens") is not None:
        details = dict(usage.get("prompt_tokens_details") or {})
        if details.get("cached_tokens") is None:
            details["cached_tokens"] = _count(usage["cached_tokens"])
        known["prompt_tokens_details"] = details
    return known


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


def _as_text(function: Any) -> None:
    if isinstance(getattr(function, "arguments", None), dict):
        function.arguments = json.dumps(function.arguments)
