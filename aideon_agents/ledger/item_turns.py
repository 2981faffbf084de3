"""Whose an item is, where several workers run a batch.

A worker that was stopped for a while, or cut off from the server, does not know that its items were
given to others meanwhile. So each start of an item counts: of those who saw the same number one
begins, and whoever comes to an end under an older number writes down nothing. What its calls have
cost stands in their own rows all the same.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aideon_agents.ledger.batch_items import ItemStart
    from aideon_agents.ledger.database import Statements


class Overtaken(Exception):  # noqa: N818 - it says what was found
    """Somebody else has begun an item since it was looked at."""


class Halted(Exception):  # noqa: N818 - as above
    """Nothing of the batch starts any more."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """Who an item is with."""

    run_id: str | None
    """Its last run; None: it had none."""
    attempts: int


def refuse_overtaken(tx: Statements, start: ItemStart) -> None:
    """Refuse to begin an item that is no longer as it was seen, or whose batch is to end."""
    if start.seen_attempts is None:
        return
    if _turn(tx, start).attempts != start.seen_attempts:
        raise Overtaken
    if not tx.select(_GOES_ON, {"batch_id": start.batch_id}):
        raise Halted


def overtaken(tx: Statements, start: ItemStart) -> Turn | None:
    """Whether somebody else has begun an item since it was begun here."""
    if start.seen_attempts is None:
        return None
    now = _turn(tx, start)
    return None if now == Turn(start.run_id, start.seen_attempts + 1) else now


def _turn(tx: Statements, start: ItemStart) -> Turn:
    for row in tx.select(_TURN, {"batch_id": start.batch_id, "position": start.position}):
        return Turn(row["run_id"], int(row["attempts"]))
    return Turn(None, 0)


_GOES_ON = (
    "SELECT 1 AS one FROM batches"
    " WHERE batch_id = :batch_id AND status = 'running' AND is_cancelled = 0"
)
_TURN = "SELECT run_id, attempts FROM items WHERE batch_id = :batch_id AND position = :position"
