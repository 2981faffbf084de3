"""OUT as CSV or XLSX: one row for each item, readable with the usual libraries, and nothing lost."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
from pathlib import Path

import openpyxl
import pytest
import warm
from langgraph.types import interrupt
from openpyxl.utils.escape import unescape
from pydantic import BaseModel

from aideon_agents import parallel, sequential
from aideon_agents.batch.output import paths, tables
from aideon_agents.errors import InputError, RunError
from aideon_agents.testing import Fault, SimulatedProvider

AWKWARD = [
    "plain",
    "=cmd|'/c calc'!A1",
    "+49 170",
    "-5",
    "- a list\n- of two",
    "@name",
    "\tindented",
    "'quoted'",
    "'=1+1",
    'a "quote", and\r\na line\nand 😀',
    "nul \0 escape \x1b[2J and _x0041_",
    "<r>1 & 2</r>",
    "not a character: \ufffe",
    " spaces ",
]
NUL = "\u2400"
"""In place of a NUL character, which no task has."""
FIXED = ["id", "line", "status", "output", "models", "truncated", "usd", "complete", "run_id"]
FIXED += ["error", "attempts", "version"]


class Pump(BaseModel):
    name: str
    price: float | None
    tags: list[str]
    good: bool


def echo(state):
    if state["task"] == "fail":
        raise ValueError("broken")
    return state["task"].replace(NUL, "\0")


def typed(state):
    return Pump(name=state["task"], price=1.5, tags=["a", "b"], good=True)


ECHO = sequential(echo, name="echo")


@pytest.fixture
def tasks(written):
    """Writes items that have only a task."""

    def write(*texts):
        return written([{"task": text.replace("\0", NUL)} for text in texts])

    return write


def csv_rows(name="out.csv") -> list[dict[str, str]]:
    with open(name, newline="", encoding="utf-8") as file:  # noqa: PTH123 - as the module's page says
        return list(csv.DictReader(file))


def xlsx_rows(name="out.xlsx"):
    book = openpyxl.load_workbook(name)
    titles, *rows = book["results"].iter_rows(values_only=True)
    return [dict(zip(titles, row, strict=True)) for row in rows]


def unguarded(cell: str) -> str:
    return cell.removeprefix("'")


async def test_a_csv_has_a_row_for_each_item_and_gives_every_text_back(rehearse, tasks):
    result = await rehearse(tasks(*AWKWARD, "fail", " "), out="out.csv", graph=ECHO)
    assert (result.completed, result.failed, result.invalid) == (len(AWKWARD), 1, 1)
    rows = csv_rows()
    assert list(rows[0]) == FIXED
    assert [unguarded(row["output"]) for row in rows[:-2]] == AWKWARD
    assert [row["line"] for row in rows] == [str(number) for number in range(1, 17)]
    assert len(rows[0]["version"]) == 12
    assert rows[0] | {"run_id": "", "version": ""} == dict.fromkeys(FIXED, "") | {
        "id": "1",
        "line": "1",
        "status": "completed",
        "output": "plain",
        "truncated": "false",
        "usd": "0.000000",
        "complete": "true",
        "attempts": "1",
    }
    assert [row["status"] for row in rows[-2:]] == ["failed", "invalid"]
    assert "broken" in rows[-2]["error"]
    assert Path("out.csv").read_bytes().startswith(b"id,line,")


async def test_no_text_of_a_csv_is_a_formula(rehearse, tasks):
    await rehearse(tasks(*AWKWARD), out="out.csv", graph=ECHO)
    starts = {row["output"][0] for row in csv_rows()}
    assert not starts & set("=+-@\t\r\n")


async def test_a_workbook_gives_every_text_back_and_has_typed_cells(rehearse, tasks):
    await rehearse(tasks(*AWKWARD, "fail"), out="out.xlsx", graph=ECHO)
    rows = xlsx_rows()
    assert list(rows[0]) == [*FIXED, "cut"]
    assert [unescape(row["output"]) for row in rows[:-1]] == AWKWARD
    assert len(rows[0]["version"]) == 12
    assert rows[0] | {"run_id": "", "version": ""} == dict.fromkeys([*FIXED, "cut"]) | {
        "id": "1",
        "line": 1,
        "status": "completed",
        "output": "plain",
        "truncated": False,
        "usd": 0,
        "complete": True,
        "attempts": 1,
        "run_id": "",
        "version": "",
        "models": None,
    }
    sheet = openpyxl.load_workbook("out.xlsx")["results"]
    assert not [cell for row in sheet for cell in row if cell.data_type == "f"]


@pytest.mark.parametrize("read", [csv_rows, xlsx_rows])
async def test_typed_data_has_a_column_for_each_field(rehearse, tasks, read):
    ending = read.__name__.removesuffix("_rows")
    graph = sequential(echo, typed)
    await rehearse(tasks("a", "b"), out=f"out.{ending}", graph=graph)
    row = read()[0]
    data = {name: value for name, value in row.items() if name.startswith("data")}
    csv_, xlsx = ("a", "1.5", '["a", "b"]', "true"), ("a", 1.5, '["a", "b"]', True)
    names = ("data.name", "data.price", "data.tags", "data.good")
    assert data == dict(zip(names, csv_ if ending == "csv" else xlsx, strict=True))
    assert list(row).index("data.name") == list(row).index("output") + 1


async def test_branches_have_the_fields_behind_their_names(rehearse, tasks):
    def left(_state):
        return {"score": 1}

    graph = parallel(typed, left)
    await rehearse(tasks("a"), out="out.csv", graph=graph)
    assert csv_rows()[0]["data.left.score"] == "1"
    assert csv_rows()[0]["data.typed.name"] == "a"


async def test_the_columns_of_the_input_come_first_in_their_order(rehearse, lines):
    Path("items.csv").write_text(
        'sku,id,task,status,data.name,note\n007,a,x,old,mine,"=1+1"\n008,,y,,,\n', encoding="utf-8"
    )
    graph = sequential(typed)
    for out in ("out.csv", "out.xlsx", "out.jsonl"):
        await rehearse("items.csv", out=out, graph=graph, keep_columns=True)
    names = ["sku", "id", "task", "input.status", "input.data.name", "note"]
    for row, end in ((csv_rows()[0], "'=1+1"), (xlsx_rows()[0], "=1+1")):
        assert list(row)[:7] == [*names, "line"]
        assert [row[name] for name in names] == ["007", "a", "x", "old", "mine", end]
        assert (row["status"], row["data.name"]) == ("completed", "x")
    assert csv_rows()[1]["id"] == "3"
    kept = lines()[0]["columns"]
    own = {"sku": "007", "id": "a", "task": "x", "status": "old", "data.name": "mine"}
    assert list(kept.items()) == list({**own, "note": "=1+1"}.items())


async def test_columns_that_json_cannot_hold_and_rows_that_cannot_be_read(rehearse, written, lines):
    texts = [
        '{"task": "x", "half": "\\ud83d", "n": NaN}',
        "nonsense",
        '"text"',
        '{"note": "no task"}',
    ]
    for out in ("out.jsonl", "out.csv", "out.xlsx"):
        await rehearse(written(texts), out=out, graph=ECHO, keep_columns=True)
    assert [sorted(line["columns"]) for line in lines()] == [
        *(["half", "n", "task"], [], ["task"], ["note"])
    ]
    assert [row["task"] for row in csv_rows()] == ["x", "", "text", ""]
    assert [row["note"] for row in xlsx_rows()] == [None, None, None, "no task"]


async def test_columns_can_be_kept_or_left_out_later(rehearse, written, lines, ledger):
    items = written([{"id": "a", "task": "x", "n": 1}, {"id": "b", "task": "y", "n": 2}])
    await rehearse(items, graph=ECHO)
    before = Path("out.jsonl").read_bytes()
    await rehearse(items, graph=ECHO, keep_columns=True)
    assert [line["columns"]["n"] for line in lines()] == [1, 2]
    await rehearse(items, graph=ECHO)
    assert Path("out.jsonl").read_bytes() == before
    await rehearse(items, graph=ECHO, keep_columns=True, unordered=True)
    assert {line["id"]: line["columns"]["n"] for line in lines()} == {"a": 1, "b": 2}
    assert len(ledger.runs()) == 2


async def test_a_text_too_long_for_a_cell_is_cut_and_marked(rehearse, written, lines, caplog):
    long = "ä😀" * 20_000
    items = written([{"task": long, "more": "y" * 40_000}, {"task": "short", "more": ""}])
    await rehearse(items, out="out.xlsx", graph=ECHO, keep_columns=True)
    first, second = xlsx_rows()
    assert (first["cut"], second["cut"]) == ("task, more, output", None)
    assert long.startswith(first["output"])
    assert len(first["output"].encode("utf-16-le")) in (65_532, 65_534)
    (message,) = caplog.messages
    assert message == (
        "out.xlsx: 3 texts are longer than the 32,767 characters that a cell holds, and cut off; the "
        "column cut names them, and the whole texts are in out.xlsx.jsonl"
    )
    assert (lines("out.xlsx.jsonl")[0]["output"]) == long
    await rehearse(items, out="out.csv", graph=ECHO)
    assert csv_rows()[0]["output"] == long


async def test_very_many_columns(rehearse, written, caplog):
    items = written([{"task": "x", **{f"c{number}": number for number in range(17_000)}}])
    await rehearse(items, out="out.csv", graph=ECHO, keep_columns=True)
    assert list(csv_rows()[0].values())[-12] != ""
    assert len(csv_rows()[0]) == 17_001 + len(FIXED)
    await rehearse(items, out="out.xlsx", graph=ECHO, keep_columns=True)
    row = xlsx_rows()[0]
    assert (len(row), row["attempts"]) == (16_384, 1)
    assert "out.xlsx: 630 more columns than fit are left out" in caplog.text


async def test_one_form_goes_on_with_another(rehearse, tasks, lines, ledger):
    items = tasks("a", "b", "c")
    names = ("out.jsonl", "out.csv", "out.xlsx", "again.jsonl")
    for out in names:
        result = await rehearse(items, out=out, graph=ECHO)
        assert result.completed == 3
    assert len(ledger.runs()) == 3
    assert Path("again.jsonl").read_bytes() == Path("out.jsonl").read_bytes()
    assert [row["output"] for row in csv_rows()] == [row["output"] for row in xlsx_rows()]


async def test_a_stopped_batch_leaves_what_there_is_as_a_table(rehearse, tasks):
    items = tasks("a", "fail", "c", "d")
    options = {"graph": ECHO, "max_concurrency": 1, "max_failures": 1}
    result = await rehearse(items, out="out.csv", **options)
    assert result.stop_reason == "max_failures"
    assert [row["status"] for row in csv_rows()] == ["completed", "failed"]
    await rehearse(items, out="out.xlsx", graph=ECHO)
    assert [row["id"] for row in xlsx_rows()] == ["1", "2", "3", "4"]


def test_after_a_kill_every_item_has_one_row(start, ended, written, lines, monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "key")
    items = [{"id": f"pump-{number}", "task": f"Pump {number} moves heat."} for number in range(10)]
    words = (str(written(items)), "-o", "out.csv", "--unordered", "--max-concurrency", "4")

    def hangs(request):
        return Fault("hang") if "Pump 1 " in str(request.body) else None

    with SimulatedProvider(faults=hangs) as provider:
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        with start("two.py", *words) as process:
            while not Path("out.csv.jsonl").exists() or len(lines("out.csv.jsonl")) < 9:
                assert process.poll() is None, process.communicate()
            process.send_signal(signal.SIGKILL)
    assert not Path("out.csv").exists()
    with SimulatedProvider() as provider:
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        done = ended(start("two.py", *words))
        assert done.code == 0, done.err
    assert sorted(row["id"] for row in csv_rows()) == [item["id"] for item in items]


async def test_a_table_of_somebody_else_is_not_overwritten(rehearse, tasks, folder):
    Path("out.csv").write_text("mine\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"out\.csv already has other content"):
        await rehearse(tasks("a"), out="out.csv", graph=ECHO)
    assert Path("out.csv").read_text(encoding="utf-8") == "mine\n"
    assert not Path("out.csv.jsonl").exists()


async def test_a_batch_without_results_yet_goes_on_in_its_table(rehearse, tasks):
    async def waits(_state):
        return interrupt("go on?")

    items = tasks("a")
    for _ in range(2):
        result = await rehearse(items, out="out.csv", graph=sequential(waits))
        assert result.stop_reason == "waiting"
        assert Path("out.csv").read_bytes().startswith(b"id,line,")
        assert csv_rows() == []


@pytest.mark.parametrize("name", ["out.json", "out.txt", "out.xls", "out.tsv", "out.parquet"])
async def test_another_ending_is_refused(rehearse, tasks, name):
    with pytest.raises(InputError, match=r"end the name in \.jsonl, \.csv or \.xlsx"):
        await rehearse(tasks("a"), out=name, graph=ECHO)


async def test_endings_may_be_capitals_or_missing(rehearse, tasks, lines):
    for name in ("out", "out.JSONL", "out.ndjson"):
        await rehearse(tasks("a"), out=name, graph=ECHO)
        assert len(lines(name)) == 1
    await rehearse(tasks("a"), out="OUT.CSV", graph=ECHO)
    assert len(csv_rows("OUT.CSV")) == 1


async def test_stdout_is_refused(rehearse, tasks):
    with pytest.raises(InputError, match="cannot go to stdout: name a file"):
        await rehearse(tasks("a"), out="-", graph=ECHO)
    assert not Path("-").exists()


def test_the_stdout_of_the_command_is_refused(folder, tasks):
    words = ["-m", "aideon_agents", "batch", "two.py", str(tasks("a")), "-o", "stdout.txt"]
    with Path("stdout.txt").open("w", encoding="utf-8") as out:
        done = warm.run(words, stdout=out, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "stdout.txt is the stdin, stdout or stderr of this command" in done.stderr
    assert Path("stdout.txt").read_text(encoding="utf-8") == ""


async def test_the_lines_of_a_table_must_not_be_the_items(rehearse, written):
    items = written(['"a"'], "out.csv.jsonl")
    with pytest.raises(InputError, match=r"out\.csv\.jsonl is the file of the items"):
        await rehearse(items, out="out.csv", graph=ECHO)


async def test_more_items_than_a_sheet_holds_are_refused(monkeypatch, rehearse, tasks):
    monkeypatch.setattr(paths, "SHEET_ROWS", 1)
    with pytest.raises(InputError, match="2 items do not fit a sheet"):
        await rehearse(tasks("a", "b"), out="out.xlsx", graph=ECHO)


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
async def test_a_table_that_cannot_be_written_is_one_line(rehearse, tasks, ending, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    await rehearse(tasks("a"), out=f"out.{ending}", graph=ECHO)
    before = Path(f"out.{ending}").read_bytes()
    with monkeypatch.context() as limited:
        limited.setattr(tables.os, "fsync", full)
        with pytest.raises(RunError, match=f"out.{ending} cannot be written .No space left"):
            tables.write(Path(f"out.{ending}"), Path(f"out.{ending}.jsonl"))
    assert Path(f"out.{ending}").read_bytes() == before
    assert not [name for name in Path().iterdir() if name.name.startswith(".out")]


async def test_a_link_is_followed(rehearse, tasks):
    Path("away").mkdir()
    Path("out.csv").symlink_to("away/real.csv")
    await rehearse(tasks("a"), out="out.csv", graph=ECHO)
    assert Path("out.csv").is_symlink()
    assert sorted(path.name for path in Path("away").iterdir()) == ["real.csv", "real.csv.jsonl"]
    assert len(json.loads(Path("away/real.csv.jsonl").read_text(encoding="utf-8"))["id"]) == 1
