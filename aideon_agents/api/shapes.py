"""The documents of the own API, declared for OpenAPI. They are those of the command line's `--json`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

RunState = Literal["running", "completed", "failed", "stopped", "waiting", "cancelled", "crashed"]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class CostDocument(_Open):
    """What a run cost."""

    usd: str
    """US dollars as a decimal string: the sum of what is known."""
    complete: bool
    """False: some cost is unknown, and `usd` is a lower bound."""
    calls: int
    failed_calls: int
    input_tokens: int | None
    output_tokens: int | None


class RunDocument(_Open):
    """A run."""

    run_id: str
    workflow: str
    status: RunState
    stop_reason: str | None
    output: str | None
    results: dict[str, Any]
    cost: CostDocument
    nodes: list[dict[str, Any]]
    rehearsed: bool
    error: str | None
    failed_node: str | None
    questions: list[dict[str, Any]]
    started_at: str
    ended_at: str | None
    thread: str | None
    metadata: dict[str, str]


class ListedRun(_Open):
    """A run in a list."""

    run_id: str
    workflow: str
    status: RunState
    stop_reason: str | None
    user: str | None
    started_at: str
    ended_at: str | None
    rehearsed: bool
    simulated: bool
    cost: CostDocument


class RunPage(BaseModel):
    """A page of runs, the newest first."""

    items: list[ListedRun]
    next: str | None


class StartedRun(BaseModel):
    """A run that has begun."""

    run_id: str
    status: RunState


class WorkflowDocument(_Open):
    """A workflow that a caller may run."""

    name: str
    description: str | None
    inputs: dict[str, Any]


class WorkflowPage(BaseModel):
    """The workflows that a caller may run."""

    items: list[WorkflowDocument]
    next: str | None


class Health(BaseModel):
    """Whether a process of the service works."""

    status: Literal["ok"]
