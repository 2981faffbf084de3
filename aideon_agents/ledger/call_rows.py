"""A call's row: there before the model is asked, and completed once, when its end is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.ledger import statements
from aideon_agents.ledger.redaction import stored_line

if TYPE_CHECKING:
    from aideon_agents.ledger.database import Statements
    from aideon_agents.ledger.rows import CallEnd, CallStart


def begin(tx: Statements, start: CallStart) -> None:
    """Write a call's row, `started`: from here on money may be spent."""
    values = {**statements.fields(start, statements.CALL_START), "status": "started"}
    tx.later(statements.START_CALL, values)


def unmake(tx: Statements, call_id: str) -> None:
    """Take away the row of a call that was never made."""
    tx.later(statements.UNMAKE_CALL, {"call_id": call_id})


def end(tx: Statements, call_id: str, end: CallEnd) -> bool:
    """Complete a call's row, its error as one line without keys."""
    usage = statements.fields(end.usage, statements.USAGE) if end.usage else statements.NO_USAGE
    values = {
        **statements.fields(end, statements.END_COLUMNS),
        **usage,
        "error": None if end.error is None else stored_line(end.error),
        "call_id": call_id,
    }
    return tx.write(statements.FINISH_CALL, values) == 1
