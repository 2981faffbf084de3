"""Statements name the columns that they read."""

from __future__ import annotations

import re
from pathlib import Path

from aideon_agents.ledger.schema import table_names

PACKAGE = Path(__file__).parents[2] / "aideon_agents"


def test_no_statement_reads_all_columns_of_a_table():
    # Rows would grow with a newer version on the same ledger, and a server would refuse the plans that it keeps.
    tables = "|".join(table_names())
    wide = re.compile(rf"SELECT \* FROM (?:{tables})\b|\b(?:{tables})\.\*")  # noqa: S608 - a pattern
    found = [
        f"{path.relative_to(PACKAGE)}: {match}"
        for path in PACKAGE.rglob("*.py")
        for match in wide.findall(path.read_text(encoding="utf-8"))
    ]
    assert found == []
