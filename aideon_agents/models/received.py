"""What came back, looked at before anybody believes it: an answer without an answer is none.

An empty body is paid for like any other. So the errors raised here carry the tokens that the
provider reported, and the row of the attempt has its cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aideon_agents import errors
from aideon_agents.ledger.redaction import quoted
from aideon_agents.ledger.usage import Usage, usage_of

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult

_MAY_BE_EMPTY = ("length", "content_filter")
"""Finish reasons that explain why there is no text."""


def checked(result: ChatResult, asked: str) -> ChatResult:
    """Pass an answer on if it is one."""
    if not result.generations:
        raise _paid(errors.Transient(f"{asked} sent no answer"), result, _usage_beside(result))
    message: Any = result.generations[0].message
    info = result.generations[0].generation_info or {}
    if message.additional_kwargs.get("refusal"):
        refusal = f"{asked} refused{quoted(str(message.additional_kwargs['refusal']))}"
        raise _paid(errors.Refused(refusal), result, usage_of(message))
    if is_empty(message) and not may_be_empty(info.get("finish_reason")):
        empty = errors.Transient(f"{asked} sent an empty answer")
        raise _paid(empty, result, usage_of(message))
    return result


def may_be_empty(finish_reason: str | None) -> bool:
    """Whether a finish reason explains that there is no text."""
    return finish_reason in _MAY_BE_EMPTY


def is_empty(message: BaseMessage) -> bool:
    """Whether a message, or a piece of one, says nothing and calls nothing."""
    calls = ("tool_calls", "invalid_tool_calls", "tool_call_chunks")
    return not (message.text.strip() or any(getattr(message, name, None) for name in calls))


def _paid(
    error: errors.ProviderError, result: ChatResult, usage: Usage | None
) -> errors.ProviderError:
    error.usage = usage
    error.response_model = (result.llm_output or {}).get("model_name")
    return error


def _usage_beside(result: ChatResult) -> Usage | None:
    """The usage of a body without a message to carry it."""
    counts: Any = (result.llm_output or {}).get("token_usage") or {}
    if not counts:
        return None
    return Usage(input_tokens=counts["prompt_tokens"], output_tokens=counts["completion_tokens"])
