"""How amounts, times and complaints are written for people."""

from __future__ import annotations

import re
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


def test_a_models_words_do_not_command_a_terminal(aideon, folder, monkeypatch):
    said = "\x1b]0;owned\x07\x1b[2Jhello"
    (folder / "says.py").write_text(
        "from aideon_agents import sequential\n"
        f"def say(state):\n    return {said!r}\n"
        f"def fail(state):\n    raise ValueError({said!r})\n"
        "graph, broken = sequential(say), sequential(fail)\n"
    )
    assert aideon("run", "says.py", "--task", "x").out == f"{said}\n"  # a pipe gets it as it is
    assert "\x1b" not in aideon("run", "says.py:broken", "--task", "x").err
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert aideon("run", "says.py", "--task", "x").out == "]0;owned[2Jhello\n"


def test_a_long_name_in_a_narrow_table_breaks_after_its_parts(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    name = "together:deepseek-ai/DeepSeek-V3.1-Terminus"
    output.table(("model", "calls", "cost"), [(name, "1,234", "$0.001234")], numbers=2)
    lines = [
        re.split(r"\s{2,}", line.strip())[0] for line in capsys.readouterr().out.splitlines()[3:]
    ]
    shown = [line for line in lines if line]
    assert "".join(shown) == name
    assert all(line[-1] in "/:_.-" for line in shown[:-1])


def test_a_run_with_fallbacks_fits_80_columns_without_a_broken_word(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    name, models = "refine/validator (fallback, cut off)", "Qwen3.5-9B, GLM-5.3-Flash"
    figures = ("2 (1 failed)", ">= 2,721", ">= 26", ">= $0.000121", "0.02 s")
    columns = ("node", "model", "calls", "in", "out", "cost", "time")
    output.table(columns, [(name, models, *figures)], numbers=5)
    shown = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert max(map(len, shown.splitlines())) <= 80
    for word in (
        "refine/",
        "validator",
        "(fallback,",
        "cut off)",
        "Qwen3.5-9B,",
        "Flash",
        *figures,
    ):
        assert word in shown


def test_help_has_a_short_option_everywhere(aideon):
    assert "Usage: aideon [OPTIONS]" in aideon("-h").out
    assert "Usage: aideon runs show" in aideon("runs", "show", "-h").out
