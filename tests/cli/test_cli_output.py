"""How amounts, times and complaints are written for people."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aideon_agents.cli import output


@pytest.mark.parametrize(
    ("usd", "complete", "shown"),
    [
        ("0", True, "$0.000000"),
        ("0.0012345", True, "$0.001234"),
        ("1", True, "$1.0000"),
        ("1234.5", False, ">= $1,234.5000"),
        (None, False, "?"),
    ],
)
def test_an_amount_shows_its_unit_and_a_lower_bound(usd, complete, shown):
    assert output.money(None if usd is None else Decimal(usd), complete=complete) == shown


@pytest.mark.parametrize(("milliseconds", "shown"), [(None, "-"), (0, "0.00 s"), (1234, "1.23 s")])
def test_a_time_shows_seconds(milliseconds, shown):
    assert output.duration(milliseconds) == shown


def test_a_complaint_is_one_line_whatever_it_holds(capsys):
    output.complain("first\n  second\t third")
    assert capsys.readouterr().err == "aideon: first second third\n"


def test_a_table_may_go_to_stderr_and_have_no_total(capsys):
    output.table(("what", "count"), [("pumps [bold]", "3")], numbers=1, to_stderr=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "what" in err
