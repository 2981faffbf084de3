"""A chat model that says what a test wrote down, in that order.

A chat model that always answers, and always validly.

What a double was asked, for a test to look at.

The double of `state.ModelSource`: hands out given chat models and remembers who asked.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from pydantic import BaseModel, Field, PrivateAttr

from aideon_agents.errors import NoModel
from aideon_agents.models.answers import Answer, reply, text_of
from aideon_agents.models.rehearsal import InProcessChatModel, ask_of, message_of
from aideon_agents.state import Context, ModelRequest, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One request to a chat model."""

    messages: tuple[BaseMessage, ...]
    """The conversation, in order."""
    options: dict[str, Any]
    """What was bound or passed beside it: tools, tool_choice, response_format, stop."""


class OutOfAnswers(AssertionError):  # noqa: N818 - reads as what happened
    """A scripted model was asked more often than its test foresaw."""


class ScriptedChatModel(InProcessChatModel):
    """Answers from a script.

    An answer is a string, an AIMessage, a pydantic object or a dict (said as JSON), an exception
    (raised), or a function from the messages to any of these. Token counts that a message does
    not bring are estimated from its text, the same each time.
    """

    answers: list[Any] = Field(description="What to answer, in order")
    model: str = "scripted"
    """The name that the answers are given in."""

    _requests: list[Asked] = PrivateAttr(default_factory=list[Asked])
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def requests(self) -> list[Asked]:
        """Everything it was asked so far, in order, those that ended in an exception included."""
        with self._lock:
            return list(self._requests)

    def answer_to(self, messages: list[BaseMessage], options: dict[str, Any]) -> AIMessage:
        """Give the next answer of the script.

        Args:
            messages: The conversation.
            options: What was bound or passed beside it.

        Returns:
            The answer as a message, with usage.

        Raises:
            OutOfAnswers: The script is at its end.
        """
        with self._lock:
            nth = len(self._requests)
            self._requests.append(Asked(tuple(messages), options))
        if nth >= len(self.answers):
            raise OutOfAnswers(
                f"{len(self.answers)} answers were scripted and this is request {nth + 1}"
            )
        answer = self.answers[nth]
        if callable(answer):
            answer = answer(messages)
        if isinstance(answer, BaseException):
            raise answer
        return self._message(answer, messages, options)

    def _message(
        self, answer: object, messages: list[BaseMessage], options: dict[str, Any]
    ) -> AIMessage:
        text = text_of(answer.content) if isinstance(answer, AIMessage) else _answer_text(answer)
        plain = message_of(Answer(text=text), ask_of(messages, options), self.model)
        if not isinstance(answer, AIMessage):
            return plain
        if answer.tool_calls:
            plain.response_metadata["finish_reason"] = "tool_calls"
        return answer.model_copy(
            update={
                "usage_metadata": answer.usage_metadata or plain.usage_metadata,
                "response_metadata": {**plain.response_metadata, **answer.response_metadata},
            }
        )


def _answer_text(answer: object) -> str:
    if isinstance(answer, str):
        return answer
    if isinstance(answer, BaseModel):
        return answer.model_dump_json()
    return json.dumps(answer, ensure_ascii=False)


class SchemaChatModel(InProcessChatModel):
    """Answers whatever is asked, by rule: text, an instance of a schema, or a tool call.

    For tests of a workflow's shape, where what is said does not matter as long as it is valid.
    """

    model: str = "schema"
    """The name that the answers are given in."""

    _requests: list[Asked] = PrivateAttr(default_factory=list[Asked])
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "schema"

    @property
    def requests(self) -> list[Asked]:
        """Everything it was asked so far, in order."""
        with self._lock:
            return list(self._requests)

    def answer_to(self, messages: list[BaseMessage], options: dict[str, Any]) -> AIMessage:
        """Answer by rule.

        Args:
            messages: The conversation; the last human message is the material.
            options: What was bound or passed beside it.

        Returns:
            The answer, with estimated usage.

        Raises:
            ValueError: A schema has no instance that simple means can find.
        """
        with self._lock:
            self._requests.append(Asked(tuple(messages), options))
        ask = ask_of(messages, options)
        return message_of(reply(ask), ask, self.model)


class GivenModels:
    """Gives each role the chat model that a test chose for it.

    Args:
        default: For every role without its own; None: such a role has no model.
        roles: Chat models by role.
        window: Tokens that they take; None: unknown.
    """

    def __init__(
        self,
        default: BaseChatModel | None = None,
        roles: Mapping[Role, BaseChatModel] | None = None,
        *,
        window: int | None = None,
    ) -> None:
        self._tokens = window
        self._default = default
        self._roles = dict(roles or {})
        self.requests: list[ModelRequest] = []
        """Every request so far, in order."""

    def chat(self, request: ModelRequest, context: Context) -> BaseChatModel:  # noqa: ARG002 - the protocol's
        """Hand out the role's chat model.

        Args:
            request: What the node asks for.
            context: What the run is given.

        Returns:
            The chat model itself, not a chain.

        Raises:
            NoModel: The role has none.
        """
        self.requests.append(request)
        model = self._roles.get(request.role, self._default)
        if model is None:
            raise NoModel(f"the test gave no chat model for the role {request.role}")
        return model

    def window(self, request: ModelRequest, context: Context) -> int | None:  # noqa: ARG002 - the protocol's
        """How many tokens the models take, as the test said.

        Args:
            request: What the node asks for.
            context: What the run is given.

        Returns:
            Tokens; None: unknown.
        """
        return self._tokens
