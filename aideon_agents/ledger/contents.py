"""What was asked and answered, as JSON: kept only of runs that were told to record content."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import BaseMessage, convert_to_openai_messages

from aideon_agents.ledger.redaction import without_keys

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult


def prompt_text(messages: Any) -> str:
    """The JSON of what a start event says was asked."""
    first = messages[0] if messages else []
    is_chat = isinstance(first, list)
    return _json([_plain(one) for one in (cast("list[Any]", first) if is_chat else messages)])


def answer_text(response: LLMResult) -> str | None:
    """The JSON of what was answered."""
    answers = response.generations[0] if response.generations else []
    if not answers:
        return None
    return _json(_plain(getattr(answers[0], "message", answers[0].text)))


def _plain(message: Any) -> Any:
    return convert_to_openai_messages(message) if isinstance(message, BaseMessage) else message


def _json(values: Any) -> str:
    return json.dumps(redacted(values), ensure_ascii=False, default=repr)


def redacted(value: Any) -> Any:
    """The same values with `[key]` for keys: in the texts, because in JSON quotes are escaped."""
    if isinstance(value, str):
        return without_keys(value)
    if isinstance(value, list):
        return [redacted(one) for one in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: redacted(one) for name, one in cast("dict[Any, Any]", value).items()}
    return value
