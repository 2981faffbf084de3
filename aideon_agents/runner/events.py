"""What happens in a run, as it happens."""

from __future__ import annotations

import dataclasses
from typing import Any

from aideon_agents.ledger.costs import NodeCost
from aideon_agents.state import StepResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeStarted:
    """A node begins. Patterns are places, not nodes: only what is inside them starts and ends."""

    node_path: str
    """As in the ledger."""
    role: str
    """planner, executor, validator or creative; empty: no agent of ours."""
    round: int
    """The n-th time round in the innermost loop, from 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Token:
    """A piece of a model's answer; the whole answer where the model does not stream."""

    node_path: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restart:
    """The answer that was being shown broke off: what comes next begins it again from nothing."""

    node_path: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeEnded:
    """A node is done. One that waits for an answer, or is cancelled say, has no such end."""

    node_path: str
    role: str
    round: int
    result: StepResult | None
    """None: it gave none, or it failed."""
    cost: NodeCost | None
    """What the node has cost so far, in this and earlier rounds; None: it called no model."""
    error: str | None
    """One line; None: it did not fail."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """A node waits for an answer. The run goes on as far as it can without, then ends `waiting`."""

    node_path: str
    id: str
    """LangGraph's, for `{id: answer}` where a run asks several questions."""
    question: Any
    """What is asked, as JSON values."""
    schema: Any
    """The JSON Schema that the answer must fit; None: any answer does."""

    def document(self) -> dict[str, Any]:
        """The question as it stands in the JSON document of a run."""
        return {name: getattr(self, name) for name in ("id", "node_path", "question", "schema")}
