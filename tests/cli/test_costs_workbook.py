"""`aideon costs -f xlsx`, read back from the file's own XML."""

from __future__ import annotations

import re
import zipfile
from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest

from aideon_agents import Ledger
from aideon_agents.errors import InputError
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.report_files import ROWS_AT_MOST, workbook
from aideon_agents.ledger.reports import Report, report
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.ledger.selection import DIMENSIONS

SPACE = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
NODE = "=1+1"


def parsed(archive: zipfile.ZipFile, name: str) -> ET.Element:
    return ET.fromstring(archive.read(name))  # noqa: S314 - we have just written it


class Book:
    """A workbook as a spreadsheet would show it."""

    def __init__(self, path):
        with zipfile.ZipFile(path) as archive:
            sheets = parsed(archive, "xl/workbook.xml").findall(".//m:sheet", SPACE)
            self.names = [sheet.get("name") for sheet in sheets]
            self.texts = [
                "".join(part.itertext())
                for part in parsed(archive, "xl/sharedStrings.xml").findall("m:si", SPACE)
            ]
            styles = parsed(archive, "xl/styles.xml")
            forms = {
                form.get("numFmtId"): form.get("formatCode")
                for form in styles.findall(".//m:numFmt", SPACE)
            }
            self.forms = [
                forms.get(style.get("numFmtId"))
                for style in styles.findall("m:cellXfs/m:xf", SPACE)
            ]
            self.xml = {
                name: parsed(archive, f"xl/worksheets/sheet{number}.xml")
                for number, name in enumerate(self.names, start=1)
            }

    def rows(self, name):
        return [
            [self.value(cell) for cell in row.findall("m:c", SPACE)]
            for row in self.xml[name].findall(".//m:row", SPACE)
        ]

    def summary(self):
        return {row[0]: row[1] if row[1:] else None for row in self.rows("summary")}

    def value(self, cell):
        value = cell.findtext("m:v", namespaces=SPACE)
        if cell.get("t") == "s":
            return self.texts[int(value)]
        return bool(int(value)) if cell.get("t") == "b" else Decimal(value)


@pytest.fixture
def spent(folder):
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        for workflow, node, nanousd in (("w", NODE, 1_234_567_891), ("v", "draft", None)):
            run_id = ledger.start_run(Run(workflow=workflow, user="ada"))
            call = Call(
                call_id=run_id,
                run_id=run_id,
                node_path=node,
                role="creative",
                provider="openai",
                requested_model="gpt-4o",
                started_at="2026-11-20T09:00:00.000Z",
            )
            ledger.start_call(call)
            usage = Usage(input_tokens=1000, output_tokens=100)
            end = CallEnd(status="ok", duration_ms=50, usage=usage, cost_nanousd=nanousd)
            ledger.finish_call(run_id, end)


@pytest.fixture
def book(aideon, folder):
    def write(*flags):
        done = aideon("costs", "-f", "xlsx", "-o", "costs.xlsx", *flags)
        assert (done.code, done.out, done.err) == (0, "", "")
        return Book(folder / "costs.xlsx")

    return write


def test_there_is_a_summary_and_a_sheet_for_every_dimension(spent, book):
    made = book()
    assert made.names == ["summary", *DIMENSIONS]
    for name in DIMENSIONS:
        heading, *rows = made.rows(name)
        assert heading[:7] == [
            name, "calls", "failed_calls", "input_tokens", "output_tokens", "usd", "complete",
        ]  # fmt: skip
        assert sum(row[1] for row in rows) == 2
    assert [row[0] for row in made.rows("workflow")[1:]] == ["w", "v"]


def test_money_is_a_number_that_is_shown_to_the_nano_dollar(spent, book):
    made = book()
    assert made.rows("node")[1][5] == Decimal("1.234567891")
    cell = made.xml["node"].findall(".//m:row", SPACE)[1].findall("m:c", SPACE)[5]
    assert made.forms[int(cell.get("s"))] == "$#,##0.000000000"


def test_a_node_that_looks_like_a_formula_is_a_text(spent, book):
    made = book()
    assert [row[0] for row in made.rows("node")] == ["node", NODE, "draft"]
    assert all(sheet.find(".//m:f", SPACE) is None for sheet in made.xml.values())


def test_what_nobody_measured_is_an_empty_cell(spent, book):
    heading, row, *_ = book().rows("node")
    assert "run_success_rate" in heading
    assert len(row) == len(heading) - 1


def test_the_summary_holds_the_period_and_the_total(spent, book):
    rows = book("--since", "2026-11-01").summary()
    assert (rows["since"], rows["until"]) == ("2026-11-01", "now")
    assert (rows["calls"], rows["usd"], rows["complete"]) == (2, Decimal("1.234567891"), False)
    assert (rows["economized_calls"], rows["median_ms"]) == (0, 50)
    assert rows["run_success_rate"] is None, "both runs are still running"
    assert book("--until", "2026-11-30").summary()["since"] == "the first call"


def test_a_heading_stays_in_sight_and_columns_are_as_wide_as_what_they_hold(spent, book):
    made = book()
    for sheet in made.xml.values():
        pane = sheet.find(".//m:pane", SPACE)
        assert (pane.get("state"), pane.get("topLeftCell")) == ("frozen", "B2")
    (run_id, *_) = made.rows("run")[1]
    for name, widest in (("run", run_id), ("month", "$1.234567891")):
        widths = [float(one.get("width")) for one in made.xml[name].findall(".//m:col", SPACE)]
        assert min(widths) >= 10
        assert len(widest) < max(widths) < len(widest) + 10


def test_a_comparison_and_the_dearest_rows_are_in_it_too(spent, book):
    made = book("--against", "openai:gpt-4o", "--top", "1")
    heading, row = made.rows("node")
    cells = dict(zip([title for title in heading if title != "run_success_rate"], row, strict=True))
    assert (cells["against_model"], cells["against_usd"]) == ("openai:gpt-4o", Decimal("0.0035"))
    assert cells["against_complete"] is True
    total = made.summary()
    assert (total["calls"], total["against_usd"]) == (2, Decimal("0.007"))


def test_with_nothing_spent_every_sheet_has_its_heading(book):
    made = book()
    assert made.names == ["summary", *DIMENSIONS]
    assert all(len(made.rows(name)) == 1 for name in DIMENSIONS)


def test_a_workbook_is_no_text(aideon, folder):
    for flags in ((), ("--rehearsed",)):
        done = aideon("costs", "-f", "xlsx", *flags)
        assert done.code == 2
        assert done.complaint == "-f xlsx needs a file: add -o costs.xlsx"
    assert not (folder / ".aideon").exists()


def test_more_rows_than_a_sheet_holds_are_refused(spent, folder):
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        made = report(ledger, "run")
    many = Report(
        by="run",
        since=None,
        until=None,
        rows=made.rows[:1] * (ROWS_AT_MOST + 1),
        total=made.total,
    )
    with pytest.raises(InputError, match=re.escape("1,048,576 rows by run do not fit a sheet")):
        workbook([many])
