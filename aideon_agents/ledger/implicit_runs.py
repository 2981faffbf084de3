"""Runs of graphs that are called directly: which run each chain, tool and call belongs to."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

from aideon_agents.errors import LimitError, RunError
from aideon_agents.ledger.budgets.limits import Budget
from aideon_agents.ledger.calls import CANCELLED
from aideon_agents.ledger.identity import new_run_id
from aideon_agents.ledger.rows import Run, RunStatus
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from uuid import UUID


@dataclasses.dataclass
class _Root:
    run_id: str
    top: UUID
    inside: set[UUID]
    is_waiting: bool = False
    """Something inside stopped to ask a person."""
    rehearsed: bool = False


class ImplicitRuns:
    """Runs of graphs that are called directly.

    The outermost chain that a handler gets events of is a run, and ends with it. LangChain's events
    name only their parent, so every chain and tool is remembered with its root until it ends; those
    that never end are forgotten with the root.
    """

    def __init__(self, ledger: Ledger, start: Run, budget: Budget | None) -> None:
        self.newest: str | None = None
        """The run that started last; None before the first."""
        self._ledger = ledger
        self._start = start
        """What all of them have in common; an empty workflow is the chain's own name."""
        self._budget = budget
        self._lock = threading.Lock()
        self._roots: dict[UUID, _Root] = {}
        self._left_over: set[UUID] = set()
        """Chains still active when their run ended, such as graphs nested in a cancelled branch."""

    def enter(self, member: UUID, parent: UUID | None, *, name: str, thread: str | None) -> str:
        """Add a chain, tool or call to its parent's run, or start a run; returns the run's id."""
        with self._lock:
            if parent in self._left_over:
                raise RunError("the run has ended: no more model calls are made for it")
            root = self._roots.get(parent) if parent else None
            if root is None:
                workflow, run_id = self._start.workflow or name, new_run_id()
                start = dataclasses.replace(
                    self._start, run_id=run_id, workflow=workflow, thread=thread
                )
                self._ledger.start_run(start, self._budget)
                root = _Root(run_id=run_id, top=member, inside=set())
                self.newest = run_id
            root.inside.add(member)
            self._roots[member] = root
            return root.run_id

    def run_of(self, member: UUID | None) -> str | None:
        """The id of the run that a chain, tool or call is part of; None: of no known run."""
        with self._lock:
            root = self._roots.get(member) if member else None
        return root.run_id if root else None

    def rehearsed(self, member: UUID) -> None:
        """Mark the run that a rehearsed call belongs to."""
        with self._lock:
            root = self._roots[member]
            if not root.rehearsed:
                self._ledger.mark_rehearsed(root.run_id)
                root.rehearsed = True

    def waits(self, member: UUID) -> None:
        """Record that something inside a run stopped to ask a person."""
        with self._lock:
            if root := self._roots.get(member):
                root.is_waiting = True

    def leave(
        self, member: UUID, error: BaseException | None = None
    ) -> tuple[str, RunStatus, str | None] | None:
        """Forget what has ended; when a run ends with it: the run's id, status and stop reason."""
        with self._lock:
            self._left_over.discard(member)
            root = self._roots.pop(member, None)
            if root is None:
                return None
            root.inside.discard(member)
            if root.top != member:
                return None
            self._left_over |= root.inside
            for left_over in root.inside:
                self._roots.pop(left_over, None)
        return root.run_id, *outcome(error, is_waiting=root.is_waiting)


def outcome(
    error: BaseException | None, *, is_waiting: bool = False
) -> tuple[RunStatus, str | None]:
    """The status of a run, and why it stopped, by the error that it ended with."""
    if error is None:
        return ("waiting" if is_waiting else "completed"), None
    if isinstance(error, LimitError):
        return "stopped", error.kind
    return ("cancelled" if isinstance(error, CANCELLED) else "failed"), None
