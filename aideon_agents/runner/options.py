"""What a run can be told, the same for every way to start one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aideon_agents.ledger.budgets.budget import Amount, Budget
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.settings import Settings
    from aideon_agents.state import Tier


class RunOptions(TypedDict, total=False):
    """Everything that may be said about a run besides its graph and its task."""

    inputs: Mapping[str, Any] | None
    """Whatever else nodes need, by key."""
    tier: Tier | None
    """free, premium or enterprise; None: the Settings'."""
    user: str | None
    """Who it is for; None: the Settings'."""
    model: Mapping[str, str | Sequence[str]] | None
    """`{role: "provider:model"}`, or a list for a chain; it replaces the choice."""
    budget: Budget | Amount | None
    """US dollars that it may cost, or a `Budget`; whatever does not fit is not asked for, and the
    run stops. None: only what stands in the ledger limits it."""
    timeout: float | None
    """Seconds until it is stopped; None: never."""
    rehearse: bool
    """Answer every call by rule: nothing is paid, nothing leaves the process."""
    thread: str | None
    """The conversation that it goes on with; None: it stands alone. What its nodes say is then
    kept in `checkpoints.db` beside the ledger, for the runs that come after it."""
    checkpoint: bool
    """Whether its state is kept, beside the ledger and until it completes, so that it can go on
    after a stop, a crash or a question; True unless given."""
    record_content: bool
    """Keep every prompt and answer in the ledger; by default it holds no word of either."""
    ledger: Ledger | str | Path | None
    """Where to write what it costs: a ledger, or a path; None: the Settings'."""
    settings: Settings | None
    """The environment; None: read now."""
    workflow: str | None
    """What reports call it; None: the graph's name."""
    target: str | None
    """The address it was loaded from, for its row."""
    target_hash: str | None
    """SHA-256 of the file there, for its row; None: it was a graph that was at hand."""


def refuse_unknown(options: Mapping[str, Any]) -> None:
    """Refuse a word that no option has, as a function with these parameters would."""
    unknown = [word for word in options if word not in RunOptions.__annotations__]
    if unknown:
        raise TypeError(
            f"a run has no option {unknown[0]!r}: {', '.join(RunOptions.__annotations__)}"
        )
