"""The chat model that answers when no provider may be asked.

It answers by rule from the prompt's own material, at once and for nothing, in the name of the
model that would have answered. Its token counts are estimates and say so.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import invalid_tool_call, tool_call

from aideon_agents.errors import Malformed
from aideon_agents.ledger import tags
from aideon_agents.models.answers import Answer, Ask, Turn, reply, text_of
from aideon_agents.models.inprocess import InProcessChatModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.language_models import LangSmithParams
    from langchain_core.messages import BaseMessage

_ROLES = (
    (HumanMessage, "human"),
    (AIMessage, "ai"),
    (SystemMessage, "system"),
    (ToolMessage, "tool"),
)


class RehearsalChatModel(InProcessChatModel):
    """Rehearses a model's part: valid answers by rule, no network, nothing to pay."""

    provider: str
    """Our name of the provider that would have been asked."""
    model: str
    """The model that would have answered."""
    max_tokens: int | None = None
    """The most output tokens, by estimate; None sets no bound."""
    longest: bool = False
    """Each answer is as long and as dear as it can be."""

    @property
    def _llm_type(self) -> str:
        return "rehearsal"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"provider": self.provider, "model": self.model, "max_tokens": self.max_tokens}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        return {**params, "ls_provider": self.provider, "ls_model_name": self.model}

    def answer_to(self, messages: list[BaseMessage], options: dict[str, Any]) -> AIMessage:
        """Answer by rule."""
        asked = ask_of(messages, {"max_tokens": self.max_tokens, **options})
        ask = dataclasses.replace(asked, longest=self.longest)
        try:
            answer = reply(ask)
        except ValueError as error:
            raise Malformed(
                f"{self.provider}:{self.model} cannot be rehearsed here: {error}", billed=False
            ) from error
        message = message_of(answer, ask, self.model)
        message.response_metadata[tags.USAGE_SOURCE] = "estimated"
        return message


def ask_of(messages: Sequence[BaseMessage], options: Mapping[str, Any]) -> Ask:
    """Read what LangChain passes to a chat model."""
    extra = options.get("extra_body") or {}
    stop = options.get("stop") or ()
    return Ask(
        turns=tuple(_turn(message) for message in messages),
        tools=tuple(options.get("tools") or ()),
        tool_choice=options.get("tool_choice"),
        response_format=options.get("response_format") or extra.get("response_format"),
        max_tokens=options.get("max_completion_tokens") or options.get("max_tokens"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def _turn(message: BaseMessage) -> Turn:
    role = next((name for kind, name in _ROLES if isinstance(message, kind)), message.type)
    made = message.tool_calls if isinstance(message, AIMessage) else ()
    calls = tuple((call["name"], json.dumps(call["args"], ensure_ascii=False)) for call in made)
    return Turn(role, text_of(message.content), calls)


def message_of(answer: Answer, ask: Ask, model: str) -> AIMessage:
    """Put an answer into LangChain's form."""
    given = max(answer.output_tokens, ask.max_tokens or 0) if ask.longest else answer.output_tokens
    message = AIMessage(
        content=answer.text,
        usage_metadata={
            "input_tokens": ask.input_tokens,
            "output_tokens": given,
            "total_tokens": ask.input_tokens + given,
        },
        response_metadata={
            "model_name": model,
            "finish_reason": answer.finish_reason,
        },
    )
    if answer.tool is not None:
        identity = f"call_{len(ask.turns)}"
        try:
            arguments = json.loads(answer.arguments)
        except json.JSONDecodeError as error:
            broken = invalid_tool_call(
                name=answer.tool, args=answer.arguments, id=identity, error=str(error)
            )
            message.invalid_tool_calls.append(broken)
        else:
            message.tool_calls.append(tool_call(name=answer.tool, args=arguments, id=identity))
    return message
