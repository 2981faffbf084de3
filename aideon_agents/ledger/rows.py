"""The shapes of the ledger's rows: what is known when something starts, when it ends, and read back.

Times are UTC texts as `clock.utc_text` writes them. What nobody knows is None, never 0 or empty.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from aideon_agents.ledger.ids import new_run_id
from aideon_agents.ledger.pricing import usd

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from aideon_agents.ledger.usage import Usage

RunStatus = Literal["running", "completed", "failed", "stopped", "waiting", "cancelled", "crashed"]
"""`crashed` is worked out on reading: the row says running and its process is gone."""

CallStatus = Literal["started", "ok", "error", "cancelled", "truncated", "cached"]
"""`started`: nothing was heard of its end. `truncated`: the answer broke off on the way."""

UsageSource = Literal["reported", "estimated", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunStart:
    """What is known when a run starts."""

    workflow: str
    """The graph's name."""
    run_id: str = dataclasses.field(default_factory=new_run_id)
    target: str | None = None
    """The address it was started by; None: a graph that was at hand."""
    user: str | None = None
    """Who it is for; None: nobody was named."""
    tier: str | None = None
    thread: str | None = None
    """The conversation it belongs to; None: it stands alone."""
    rehearsed: bool = False
    """Answers are worked out by rule and nothing is paid."""
    options: Mapping[str, Any] | None = None
    """What it was told besides its task and inputs, as JSON values, for going on with it later."""
    target_hash: str | None = None
    """SHA-256 of the target's file; None: it was a graph that was at hand."""
    graph: Mapping[str, Any] | None = None
    """The graph's plain model, as `aideon graph -f json` gives it; None: nobody kept it."""
    batch_id: str | None = None
    item_id: str | None = None
    """Which item of that batch it is; None like the batch: of none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run, as read back."""

    run_id: str
    workflow: str
    target: str | None
    status: RunStatus
    stop_reason: str | None
    """Why the root pattern or the run ended; None: there is nothing to say."""
    error: str | None
    """One line without keys; None: it did not fail."""
    error_type: str | None
    """The name of the error's class."""
    user: str | None
    tier: str | None
    thread: str | None
    rehearsed: bool
    started_at: str
    ended_at: str | None
    """None while it runs, and for good when it crashed."""
    output: str | None
    """The last result's text; None unless content is recorded."""
    results: Mapping[str, Any] | None
    """Every node's result; None unless content is recorded."""
    options: Mapping[str, Any] | None
    target_hash: str | None
    graph: Mapping[str, Any] | None
    batch_id: str | None
    item_id: str | None
    """These five as in `RunStart`; None as well in runs of before there were such columns."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CallStart:
    """What is known when an attempt at a model starts."""

    call_id: str
    """LangChain's run id of the attempt."""
    run_id: str
    node_path: str
    """Empty outside any graph."""
    role: str
    """Empty when the model was not called by an agent of ours."""
    provider: str
    requested_model: str
    started_at: str
    round: int = 1
    purpose: str | None = None
    candidate: int = 0
    """Position in the chain; 0 is the primary."""
    attempt: int = 1
    """The n-th try of this candidate, from 1."""
    rehearsed: bool = False
    shortened: bool = False
    """The answer is given less room than asked for, to fit a budget."""
    economized: bool = False
    """A cheaper model of the chain is preferred, because a budget is nearly used up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CallEnd:
    """What is known when an attempt has ended."""

    status: CallStatus
    duration_ms: int
    response_model: str | None = None
    """The model that the answer names; None: there was no answer, or it names none."""
    error_type: str | None = None
    error: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    usage_source: UsageSource = "none"
    cost_nanousd: int | None = None
    """Billionths of a US dollar; None: unknown, and totals are lower bounds."""
    price_source: str | None = None
    time_to_first_token_ms: int | None = None
    """None unless the answer was streamed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """One attempt at a model, as read back; fields as in `CallStart` and `CallEnd`."""

    call_id: str
    run_id: str
    node_path: str
    role: str
    round: int
    purpose: str | None
    candidate: int
    attempt: int
    provider: str
    requested_model: str
    response_model: str | None
    status: CallStatus
    error_type: str | None
    error: str | None
    finish_reason: str | None
    shortened: bool
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_creation_tokens: int | None
    reasoning_tokens: int | None
    usage_source: UsageSource
    cost_nanousd: int | None
    price_source: str | None
    started_at: str
    duration_ms: int | None
    time_to_first_token_ms: int | None
    rehearsed: bool
    economized: bool

    @property
    def usd(self) -> Decimal | None:
        """US dollars, exactly; None: unknown."""
        return None if self.cost_nanousd is None else usd(self.cost_nanousd)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Content:
    """What one call asked and was answered, as read back."""

    call_id: str
    prompt: Any
    """A list of chat messages (`role`, `content`), or of texts where the model completes text."""
    answer: Any
    """A chat message, or a text; None: there was no answer."""
