"""Chat models for tests: one that follows a script, one that answers by rule, and their source."""

from __future__ import annotations

import dataclasses
import json
import threading
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from pydantic import BaseModel, Field, PrivateAttr

from aideon_agents.errors import NoModel
from aideon_agents.models.answers import Answer, reply, text_of
from aideon_agents.models.answers.rehearsal import InProcessChatModel, ask_of, message_of
from aideon_agents.state import Context, ModelRequest, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request to a chat model."""

    messages: tuple[BaseMessage, ...]
    """The conversation, in order."""
    options: dict[str, Any]
    """What was bound or passed with it: tools, tool_choice, response_format, stop."""


class OutOfAnswers(AssertionError):  # noqa: N818 - reads as what happened
    """A scripted model received more requests than it has answers."""


class _RecordingChatModel(InProcessChatModel):
    """A chat model that records its requests."""

    _requests: list[RecordedRequest] = PrivateAttr(default_factory=list[RecordedRequest])
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far, in order, those included that ended in an exception."""
        with self._lock:
            return list(self._requests)

    def _record(self, messages: list[BaseMessage], options: dict[str, Any]) -> int:
        """Record a request; returns its number, from 0."""
        with self._lock:
            self._requests.append(RecordedRequest(tuple(messages), options))
            return len(self._requests) - 1


class ScriptedChatModel(_RecordingChatModel):
    """Answers from a script.

    An answer is a string, an AIMessage, a pydantic object or a dict (both sent as JSON), an
    exception (raised), or a function from the messages to any of these. Token counts that a message
    does not have are estimated from its text, the same each time.
    """

    answers: list[Any] = Field(description="The answers, in order")
    model: str = "scripted"
    """The name of the model in the answers."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def answer_to(self, messages: list[BaseMessage], options: dict[str, Any]) -> AIMessage:
        """Give the next answer of the script.

        Args:
            messages: The conversation.
            options: What was bound or passed with it.

        Returns:
            The answer as a message, with usage.

        Raises:
            OutOfAnswers: The script has no more answers.
        """
        number = self._record(messages, options)
        if number >= len(self.answers):
            raise OutOfAnswers(
                f"{len(self.answers)} answers were scripted and this is request {number + 1}"
            )
        answer = self.answers[number]
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


class SchemaChatModel(_RecordingChatModel):
    """Answers any request by rule: with text, an instance of a schema, or a tool call.

    It is for tests of a workflow's structure, in which an answer only has to be valid.
    """

    model: str = "schema"
    """The name of the model in the answers."""

    @property
    def _llm_type(self) -> str:
        return "schema"

    def answer_to(self, messages: list[BaseMessage], options: dict[str, Any]) -> AIMessage:
        """Answer by rule.

        Args:
            messages: The conversation; the last human message is the material.
            options: What was bound or passed with it.

        Returns:
            The answer, with estimated usage.

        Raises:
            ValueError: A schema has no instance that simple means can find.
        """
        self._record(messages, options)
        ask = ask_of(messages, options)
        return message_of(reply(ask), ask, self.model)


class GivenModels:
    """A source of models that gives each role the chat model which a test chose for it.

    Args:
        default: The chat model of every other role; None: they have none.
        roles: Chat models by role.
        window: The models' context window in tokens; None: unknown.
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
        """The role's chat model.

        Args:
            request: The node's request.
            context: The run's context.

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
        """The context window that the test chose, for every model.

        Args:
            request: The node's request.
            context: The run's context.

        Returns:
            Tokens; None: unknown.
        """
        return self._tokens
