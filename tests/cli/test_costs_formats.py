"""`aideon costs` for people, scripts and spreadsheets, on stdout or in a file."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pytest

from aideon_agents import Ledger
from aideon_agents.ledger.rows import CallEnd, CallStart, RunStart


@pytest.fixture
def ran(aideon):
    aideon("run", "two.py", "--task", "Pumps move heat.")


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_the_columns_of_the_json_and_no_total(aideon, ran):
    document = aideon("costs", "--rehearsed", "-f", "json").document
    text = aideon("costs", "--rehearsed", "-f", "csv").out
    assert text.splitlines()[0] == "key,calls,failed_calls,input_tokens,output_tokens,usd,complete"
    assert [row["key"] for row in rows(text)] == [row["key"] for row in document["rows"]]
    assert [row["usd"] for row in rows(text)] == [row["usd"] for row in document["rows"]]
    added = sum(Decimal(row["usd"]) for row in rows(text))
    assert added == Decimal(document["total"]["usd"])
    assert {row["complete"] for row in rows(text)} == {"true"}


def test_json_has_two_names(aideon, ran):
    plain = aideon("costs", "--rehearsed", "--json")
    assert plain.out == aideon("costs", "--rehearsed", "-f", "json").out
    assert plain.out == aideon("costs", "--rehearsed", "-f", "csv", "--json").out


def test_a_key_with_a_comma_or_a_quote_stays_one_cell(aideon, folder):
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        run_id = ledger.start_run(RunStart(workflow="w"))
        call = CallStart(
            call_id="c",
            run_id=run_id,
            node_path="a",
            role="",
            provider="local",
            requested_model='odd "one", 2',
            started_at="2026-11-20T09:00:00.000Z",
        )
        ledger.start_call(call)
        ledger.finish_call("c", CallEnd(status="ok", duration_ms=1))
    (row,) = rows(aideon("costs", "--by", "model", "-f", "csv").out)
    assert (row["key"], row["complete"]) == ('local:odd "one", 2', "false")


def test_nothing_spent_is_a_heading_in_csv_and_a_hint_in_a_table(aideon):
    assert aideon("costs", "-f", "csv").out.count("\n") == 1
    assert aideon("costs").out == ""
    assert "--rehearsed" in aideon("costs").err


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_each_form_can_be_written_to_a_file(aideon, ran, folder, form):
    printed = aideon("costs", "--rehearsed", "-f", form).out
    done = aideon("costs", "--rehearsed", "-f", form, "-o", "costs.out")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (folder / "costs.out").read_text(encoding="utf-8") == printed


def test_a_file_holds_a_document_also_when_nothing_was_spent(aideon, folder):
    aideon("costs", "-o", "table.txt")
    aideon("costs", "-f", "json", "-o", "costs.json")
    assert "total" in (folder / "table.txt").read_text(encoding="utf-8")
    assert json.loads((folder / "costs.json").read_text(encoding="utf-8"))["rows"] == []


def test_a_form_that_there_is_not_names_those_there_are(aideon):
    done = aideon("costs", "-f", "pdf")
    assert done.code == 2
    assert done.complaint == "-f pdf: one of table, json, csv"


def test_a_file_that_cannot_be_written_is_one_line(aideon, ran):
    done = aideon("costs", "--rehearsed", "-o", "no/such/folder.csv")
    assert done.code == 2
    assert done.complaint == "no/such/folder.csv cannot be written: No such file or directory"
