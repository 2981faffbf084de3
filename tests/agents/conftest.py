"""One agent in a graph of its own, asked once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from aideon_agents import Context, sequential
from aideon_agents.testing import GivenModels, ScriptedChatModel

if TYPE_CHECKING:
    from aideon_agents.state import ModelRequest, StepResult


@dataclasses.dataclass(frozen=True)
class Answered:
    """The prompt of one agent, its request, and its result."""

    values: dict[str, Any]
    """The graph's answer."""
    system: str
    prompt: str
    """The human message."""
    options: dict[str, Any]
    request: ModelRequest

    @property
    def result(self) -> StepResult:
        (only,) = self.values["results"].values()
        return only


@pytest.fixture
def ask():
    """Runs an agent on a scripted model; keywords are the state's."""

    def run(agent, answer="said", *, context=None, **state):
        model = ScriptedChatModel(answers=[answer])
        models = GivenModels(model)
        given = dataclasses.replace(context or Context(), models=models)
        values = sequential(agent).invoke({"task": "Heat pumps."} | state, context=given)
        (asked,), (request,) = model.requests, models.requests
        system, human = (str(message.content) for message in asked.messages)
        return Answered(values, system, human, asked.options, request)

    return run
