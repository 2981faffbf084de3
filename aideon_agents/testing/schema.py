"""A chat model that always answers, and always validly."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from aideon_agents.models.answers import reply
from aideon_agents.models.inprocess import InProcessChatModel
from aideon_agents.models.rehearsal import ask_of, message_of
from aideon_agents.testing.asked import Asked

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage


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
