"""A chat model that says what a test wrote down, in that order."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from pydantic import BaseModel, Field, PrivateAttr

from aideon_agents.models.answers import Answer, text_of
from aideon_agents.models.inprocess import InProcessChatModel
from aideon_agents.models.rehearsal import ask_of, message_of
from aideon_agents.testing.asked import Asked

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage


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
        text = text_of(answer.content) if isinstance(answer, AIMessage) else _said(answer)
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


def _said(answer: object) -> str:
    if isinstance(answer, str):
        return answer
    if isinstance(answer, BaseModel):
        return answer.model_dump_json()
    return json.dumps(answer, ensure_ascii=False)
