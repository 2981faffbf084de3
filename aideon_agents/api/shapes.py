"""The documents of the own API, declared for OpenAPI. They are those of the command line's `--json`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from aideon_agents.serving.sources import Indicator

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
    model_source_indicator: Indicator | None
    """Of the newest answer. None: there is none, or the flag `together_ai_ui_indicators` is off."""
    started_at: str
    ended_at: str | None
    thread: str | None
    metadata: dict[str, str]
    feedback: dict[str, Any] | None


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


class CallDocument(_Open):
    """One attempt at a model."""

    call_id: str
    node_path: str
    role: str
    round: int
    provider: str
    requested_model: str
    response_model: str | None
    status: str
    input_tokens: int | None
    output_tokens: int | None
    usd: str | None
    started_at: str


class CallPage(BaseModel):
    """A page of a run's calls, in the order in which they began."""

    items: list[CallDocument]
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


class EstimateDocument(BaseModel):
    """What a run would cost, in US dollars as decimal strings; None: a price is not known."""

    as_rehearsed: str | None
    """With the short answers of a rehearsal."""
    about: str | None
    """With answers as long as in earlier runs."""
    at_most: str | None
    """With every round and the longest answers; without retries."""
    nodes: int
    nodes_with_earlier_answers: int
    quota_after: dict[str, int]
    """Requests and tokens that today's quotas would leave, with short answers; absent: unlimited."""


class Rated(BaseModel):
    """What a rating has recorded."""

    run_id: str
    score: float
    outcomes: int


class UsageDocument(_Open):
    """A costs report, as `aideon costs --json`."""

    by: str
    since: str | None
    until: str | None
    rows: list[dict[str, Any]]
    total: dict[str, Any]
    charge: dict[str, Any] | None = None
    """Of the caller, for a month, as it is reported; nothing collects it. Left out for other users."""


class ThreadDocument(BaseModel):
    """A conversation."""

    thread_id: str
    status: Literal["idle", "busy", "waiting"]
    run_id: str | None
    """Its newest run."""
    workflow: str | None
    metadata: dict[str, Any]
    created_at: str
    updated_at: str


class ThreadPage(BaseModel):
    """A page of threads, those that were used last first."""

    items: list[ThreadDocument]
    next: str | None


class StartedBatch(BaseModel):
    """A batch in progress."""

    batch_id: str
    status: str


class AnsweredBatch(BaseModel):
    """A batch that continues."""

    batch_id: str
    answered: int
    """How many items were given the answer."""


class BatchDocument(_Open):
    """A batch."""

    batch_id: str
    workflow: str
    status: Literal["running", "completed", "stopped", "crashed"]
    stop_reason: str | None
    items: int
    completed: int
    failed: int
    invalid: int
    pending: int
    waiting: int
    usd: str
    complete: bool
    started_at: str
    ended_at: str | None


class BatchPage(BaseModel):
    """A page of batches, the newest first."""

    items: list[BatchDocument]
    next: str | None


class Health(BaseModel):
    """Whether a process of the service works."""

    status: Literal["ok"]
