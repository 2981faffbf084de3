"""`aideon costs` for people, scripts and spreadsheets, on stdout or in a file."""

from __future__ import annotations

import csv
import io
import json
import re
from decimal import Decimal

import pytest

from aideon_agents import Ledger
from aideon_agents.cli.cost_forms import share
from aideon_agents.ledger.rows import Call, CallEnd, Run


@pytest.fixture
def ran(aideon):
    aideon("run", "two.py", "--task", "Pumps move heat.")


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_the_columns_of_the_json_and_no_total(aideon, ran):
    document = aideon("costs", "--rehearsed", "-f", "json").document
    text = aideon("costs", "--rehearsed", "-f", "csv").out
    assert text.splitlines()[0] == (
        "key,calls,failed_calls,input_tokens,output_tokens,usd,complete,"
        "failed_share,success_rate,tokens_per_second,median_ms,p95_ms,run_success_rate"
    )
    assert text.count("\r\n") == text.count("\n") == 3, "as RFC 4180 has it"
    assert {row["run_success_rate"] for row in rows(text)} == {""}, "nobody measured it by node"
    assert [row["key"] for row in rows(text)] == [row["key"] for row in document["rows"]]
    assert [row["usd"] for row in rows(text)] == [row["usd"] for row in document["rows"]]
    added = sum(Decimal(row["usd"]) for row in rows(text))
    assert added == Decimal(document["total"]["usd"])
    assert {row["complete"] for row in rows(text)} == {"true"}


def test_json_has_two_names(aideon, ran):
    plain = aideon("costs", "--rehearsed", "--json")
    assert plain.out == aideon("costs", "--rehearsed", "-f", "json").out
    assert plain.out == aideon("costs", "--rehearsed", "-f", "csv", "--json").out


@pytest.fixture
def named(folder):
    """Writes a call of a node that is called so."""

    def write(node, **start):
        with Ledger(folder / ".aideon" / "ledger.db") as ledger:
            run_id = ledger.start_run(Run(workflow="w"))
            call = Call(
                call_id=f"c{run_id}",
                run_id=run_id,
                node_path=node,
                role="",
                provider="local",
                requested_model="m",
                started_at="2026-11-20T09:00:00.000Z",
                **start,
            )
            ledger.start_call(call)
            ledger.finish_call(call.call_id, CallEnd(status="ok", duration_ms=1))

    return write


def test_a_key_with_a_comma_or_a_quote_stays_one_cell(aideon, named):
    named('odd "one", 2')
    (row,) = rows(aideon("costs", "-f", "csv").out)
    assert (row["key"], row["complete"]) == ('odd "one", 2', "false")


@pytest.mark.parametrize("node", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_key_that_could_be_a_formula_is_a_text_in_csv(aideon, named, node):
    named(node)
    (row,) = rows(aideon("costs", "-f", "csv").out)
    assert row["key"] == f"'{node}"
    assert aideon("costs", "--json").document["rows"][0]["key"] == node


@pytest.mark.parametrize("node", ["[red]", "[/red]", ":100:"])
def test_a_key_that_looks_like_markup_is_shown_as_it_is(aideon, named, node):
    named(node)
    assert f" {node} " in aideon("costs").out


def test_what_budgets_did_is_said_below_the_table(aideon, named):
    named("a", economized=True)
    named("a", shortened=True)
    named("a", shortened=True)
    said = aideon("costs").out.splitlines()[-2:]
    assert said == [
        "calls that used a cheaper model because a budget was nearly used up: 1",
        "answers that got fewer tokens to fit a budget: 2",
    ]


@pytest.mark.parametrize(
    ("columns", "titles"),
    [
        ("22", "cost"),
        ("54", "calls failed in out cost"),
        ("74", "calls failed in out cost median p95"),
        ("150", "calls failed in out cost median p95 failed % tokens/s success"),
    ],
)
def test_a_terminal_shows_the_columns_that_fit(aideon, named, monkeypatch, columns, titles):
    named("refine/draft")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", aideon("costs").out).splitlines()
    assert max(map(len, lines)) <= int(columns)
    assert " ".join(lines[1].split()) == f"node {titles}"
    every = "cost calls failed in out median p95 failed % tokens/s success"
    hidden = [one for one in re.findall(r"failed %|\S+", every) if f" {one}" not in f" {titles}"]
    said = " ".join(" ".join(lines).split())
    assert (f"not shown: {', '.join(hidden)} (-f csv has every column)" in said) is bool(hidden)


def test_where_a_run_belongs_to_a_row_its_success_is_a_column(aideon, ran):
    assert "runs done" not in aideon("costs", "--rehearsed").out
    shown = aideon("costs", "--rehearsed", "--by", "workflow").out
    assert "runs done" in shown
    assert "100.0 %" in shown


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        (None, "-"),
        (0, "0.0 %"),
        (0.0001, "< 0.1 %"),
        (0.042, "4.2 %"),
        (0.9999, "> 99.9 %"),
        (1, "100.0 %"),
    ],
)
def test_a_share_is_never_all_or_nothing_where_it_is_nearly_so(part, shown):
    assert share(part) == shown


def test_nothing_spent_is_a_heading_in_csv_and_a_hint_in_a_table(aideon):
    assert aideon("costs", "-f", "csv").out.count("\n") == 1
    assert aideon("costs").out == ""
    assert "--rehearsed" in aideon("costs").err


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_each_form_can_be_written_to_a_file(aideon, ran, folder, form):
    printed = aideon("costs", "--rehearsed", "-f", form).out
    done = aideon("costs", "--rehearsed", "-f", form, "-o", "costs.out")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (folder / "costs.out").read_bytes().decode() == printed


def test_a_file_holds_a_document_also_when_nothing_was_spent(aideon, folder):
    aideon("costs", "-o", "table.txt")
    aideon("costs", "-f", "json", "-o", "costs.json")
    assert "total" in (folder / "table.txt").read_text(encoding="utf-8")
    assert json.loads((folder / "costs.json").read_text(encoding="utf-8"))["rows"] == []


def test_a_form_that_there_is_not_names_those_there_are(aideon):
    done = aideon("costs", "-f", "pdf")
    assert done.code == 2
    assert done.complaint == "-f pdf: use one of table, json, csv, xlsx"


def test_a_file_that_cannot_be_written_is_one_line(aideon, ran):
    done = aideon("costs", "--rehearsed", "-o", "no/such/folder.csv")
    assert done.code == 2
    assert done.complaint == "no/such/folder.csv cannot be written: No such file or directory"
