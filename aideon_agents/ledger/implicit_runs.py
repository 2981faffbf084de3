"""Runs of graphs that nobody announced: `graph.ainvoke(..., config={"callbacks": [handler]})`.

The outermost chain that a handler hears of is a run, and ends with it. What happens inside is told
only by parent ids, so every chain and tool on the way is remembered with its root, and forgotten
at its end; whatever never ended is forgotten with the root.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

from aideon_agents.errors import LimitError, RunError
from aideon_agents.ledger.budgets.limits import Budget
from aideon_agents.ledger.calls import CANCELLED
from aideon_agents.ledger.rows import RunStart, RunStatus
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from uuid import UUID


@dataclasses.dataclass
class _Root:
    run_id: str
    top: UUID
    inside: set[UUID]
    asked: bool = False
    """Something inside stopped to ask a person."""
    rehearsed: bool = False


@dataclasses.dataclass(frozen=True)
class Ended:
    """A root that has ended; its row is still to be completed."""

    run_id: str
    status: RunStatus
    stop_reason: str | None


class BareRuns:
    """Which run each chain, tool and model call belongs to."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        workflow: str | None,
        user: str | None,
        tier: str | None,
        budget: Budget | None,
    ) -> None:
        self.newest: str | None = None
        """The run that started last; None before the first."""
        self._ledger = ledger
        self._workflow = workflow
        self._user = user
        self._tier = tier
        self._budget = budget
        self._lock = threading.Lock()
        self._roots: dict[UUID, _Root] = {}
        self._left_over: set[UUID] = set()
        """What went on inside a run when it ended: graphs nested in a cancelled branch, say."""

    def enter(self, member: UUID, parent: UUID | None, *, name: str, thread: str | None) -> str:
        """Take something in, starting a run when its parent is in none."""
        with self._lock:
            if parent in self._left_over:
                raise RunError("the run has ended: nothing more is asked for it")
            root = self._roots.get(parent) if parent else None
            if root is None:
                start = RunStart(
                    workflow=self._workflow or name,
                    user=self._user,
                    tier=self._tier,
                    thread=thread,
                )
                run_id = self._ledger.start_run(start, self._budget)
                root = _Root(run_id=run_id, top=member, inside=set())
                self.newest = root.run_id
            root.inside.add(member)
            self._roots[member] = root
            return root.run_id

    def run_of(self, member: UUID | None) -> str | None:
        """The id of the run that something goes on in; None: of none that is known."""
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

    def asked(self, member: UUID) -> None:
        """Note that something inside a run stopped to ask a person."""
        with self._lock:
            if root := self._roots.get(member):
                root.asked = True

    def leave(self, member: UUID, error: BaseException | None = None) -> Ended | None:
        """Forget something that has ended."""
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
        return Ended(root.run_id, *_outcome(error, asked=root.asked))


def _outcome(error: BaseException | None, *, asked: bool) -> tuple[RunStatus, str | None]:
    if error is None:
        return ("waiting" if asked else "completed"), None
    if isinstance(error, LimitError):
        return "stopped", error.kind
    return ("cancelled" if isinstance(error, CANCELLED) else "failed"), None
