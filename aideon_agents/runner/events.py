"""The events of a run."""

from __future__ import annotations

import dataclasses
from typing import Any

from aideon_agents.ledger.costs import NodeCost
from aideon_agents.state import StepResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeStarted:
    """A node starts. Patterns are not nodes: only the nodes inside them start and end."""

    node_path: str
    """As in the ledger."""
    role: str
    """planner, executor, validator or creative; empty: it is not an agent."""
    round: int
    """The round of the innermost loop, from 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Token:
    """A piece of a model's answer; the whole answer where the model does not stream."""

    node_path: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restart:
    """The answer so far is void: its stream broke off, or it was the model's thoughts.

    The next tokens begin the answer again.
    """

    node_path: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeEnded:
    """A node ended. One that waits for an answer, or was cancelled, does not send this event."""

    node_path: str
    role: str
    round: int
    result: StepResult | None
    """None: it has none, or it failed."""
    cost: NodeCost | None
    """What the node has cost so far, in this and earlier rounds; None: it called no model."""
    error: str | None
    """One line; None: it did not fail."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """A node waits for an answer. The run continues as far as it can, then ends `waiting`."""

    node_path: str
    id: str
    """LangGraph's, for `{id: answer}` where a run asks several questions."""
    question: Any
    """What it asks, as JSON values."""
    schema: Any
    """The JSON Schema that the answer must fit; None: any answer fits."""

    def document(self) -> dict[str, Any]:
        """The question as in the JSON document of a run."""
        return {name: getattr(self, name) for name in ("id", "node_path", "question", "schema")}
