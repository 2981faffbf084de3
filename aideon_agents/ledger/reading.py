"""Rows as they are read back: what a database has no type for gets the one that it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger.processes import Process, is_gone
from aideon_agents.ledger.rows import Call, Run

if TYPE_CHECKING:
    from aideon_agents.ledger.database import Row

_JSON = ("results", "options", "graph")
_FLAGS = ("shortened", "rehearsed", "economized")


def run_in(row: Row) -> Run:
    """A run, out of a whole row of its table; one whose process is gone has crashed."""
    fields: dict[str, Any] = dict(row)
    owner = Process(fields.pop("host"), fields.pop("pid"), fields.pop("process_start"))
    if fields["status"] == "running" and is_gone(owner):
        fields["status"] = "crashed"
    fields["rehearsed"] = bool(fields["rehearsed"])
    for name in _JSON:
        fields[name] = None if fields[name] is None else json.loads(fields[name])
    return Run(**fields)


def call_in(row: Row) -> Call:
    """A call, out of a whole row of its table."""
    fields: dict[str, Any] = dict(row)
    for flag in _FLAGS:
        fields[flag] = bool(fields[flag])
    return Call(**fields)
