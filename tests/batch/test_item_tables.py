"""Tables are read as a careful person reads them; a broken row is one item, and no other is touched."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import sys
import zipfile
from pathlib import Path

import openpyxl
import pytest
import xlsxwriter

from aideon_agents.batch import items
from aideon_agents.errors import InputError, UserError

CLOSED = "a quote is opened and never closed"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """The items of a file with some content: line, id, and the task, or the problem."""
    monkeypatch.chdir(tmp_path)

    def reading(content, name="x.csv", **options):
        path = Path(name)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with items.opened(path, options, shared=("city",)) as source:
            found = list(source.items())
            assert [source.line_of(one.position) for one in found] == [one.line for one in found]
            assert [one.position for one in found] == list(range(source.count))
        return found

    return reading


def told(found):
    return [(one.line, one.item_id, one.problem or one.task) for one in found]


def problem(line, item_id, why):
    return (line, item_id, f"line {line}: {why}")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            'b,"Insulation\nc,y\nd,z\n',
            [problem(2, "b", CLOSED), (3, "c", "y"), (4, "d", "z")],
        ),
        (
            'b,"Insulation\nc,"y"\nd,"two\nlines"\n',
            [problem(2, "b", CLOSED), (3, "c", "y"), (4, "d", "two\nlines")],
        ),
        ('b,"Insulation\n"c","y"\n', [problem(2, "b", CLOSED), (3, "c", "y")]),
        ('b,"Insulation\nc,"""y"" he said"\n', [problem(2, "b", CLOSED), (3, "c", '"y" he said')]),
        ('b,"Insulation\nits second line\nc,y\n', [problem(2, "b", CLOSED), (4, "c", "y")]),
        ('"b,Insulation\nc,y\n', [problem(2, "2", CLOSED), (3, "c", "y")]),
        (
            'b,"one\nc,"two\nd,z\n',
            [problem(2, "b", CLOSED), problem(3, "c", CLOSED), (4, "d", "z")],
        ),
        ('b,"last', [problem(2, "b", CLOSED)]),
        ('b,"text" and more,\nc,y\n', [problem(2, "b", CLOSED), (3, "c", "y")]),
    ],
)
def test_a_quote_that_is_never_closed_makes_its_own_row_invalid(read, rows, expected):
    assert told(read("id,task\n" + rows)) == expected


@pytest.mark.parametrize(
    "cell",
    [
        'First\nhe said "hello", to me\nlast, line',
        'The 5" pipe\nis, long',
        '(he said "x,y" and "z",\nthen left)',
    ],
)
def test_no_row_is_made_of_pieces_of_a_cell(read, cell):
    why = "a quote inside of a cell is not doubled"
    assert told(read(f'id,task\na,"{cell}"\nb,x\n')) == [
        problem(2, "a", why),
        (3 + cell.count("\n"), "b", "x"),
    ]


def test_what_a_writer_of_csv_has_written_is_read_as_it_was(read):
    cells = [
        '"',
        '""',
        'a "b" c',
        "a,b",
        "a\nb",
        '\n"',
        ',"',
        '",\n"',
        "Dear Sir,\n",
        " a ",
        "'",
        "=",
    ]
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        for delimiter in ",;\t|":
            text = io.StringIO()
            writer = csv.writer(text, quoting=quoting, delimiter=delimiter, lineterminator="\r\n")
            writer.writerow(["id", "task", "other"])
            writer.writerows([f"r{n}", f"x{one}", one] for n, one in enumerate(cells))
            found = read(text.getvalue())
            assert [(one.task[1:], one.inputs["other"]) for one in found] == [
                (one, one) for one in cells
            ]


def test_the_longest_cell_of_the_process_is_not_changed(read):
    before = csv.field_size_limit()
    (found,) = read(f'id,task\na,"{"x" * 200_000}"\n')
    assert len(found.task) == 200_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("id;task\na;x, y\n", {}),
        ("id\ttask\na\tx, y\n", {}),
        ("id|task\na|x, y\n", {}),
        ("sep=;\r\nid;task\r\na;x, y\r\n", {}),
        ("id^task\na^x, y\n", {"delimiter": "^"}),
        ("id\ttask\na\tx, y\n", {"delimiter": "\\t"}),
        ("id\ttask\na\tx, y\n", {"delimiter": "TAB"}),
        ('\ufeffID , Task\r\na,"x, y"\r\n', {}),
        ('"id","task"\r"a","x, y"\r', {}),
        ('"id, no";"task"\na;x, y\n', {"id_column": "id, no"}),
        ('id, task\na, "x, y"\n', {}),
        ('id,task,,\n"a","x, y",,\n,,,\n"","",,\n', {}),
        (',id,task\n0,a,"x, y"\n', {}),
        ("id\ttask\tcity\r\na\tx, y\t\r\n".encode("utf-16"), {}),
        ('ID,Titel\na,"x, y"\n', {"task_column": "titel"}),
        ("a,b\nx,y\n", {"template": "{A}, {b}", "id_column": "nothing"}),
    ],
)
def test_tables_of_many_programs_are_understood(read, content, options):
    if options.get("id_column") == "nothing":
        with pytest.raises(InputError, match=r"x\.csv:1: there is no column nothing, only a, b"):
            read(content, **options)
        options = {**options, "id_column": "a"}
    (found,) = read(content, **options)
    assert (found.item_id, found.task) == ("x" if "template" in options else "a", "x, y")
    assert "" not in found.inputs


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a,task,A,b,a\n", "two columns are called 'a'"),
        ("Task,TASK\nx,y\n", "two columns are called 'Task' and 'TASK'"),
        ('id,"task\na,x\n', "x.csv:1: a quote is opened and never closed: correct the header"),
        ("id;aufgabe\na;x\n", "there is no column task, only id, aufgabe: rename"),
        ("id,task\n", "there is no item in x.csv"),
        ("id,task\n,\n\n", "there is no item in x.csv"),
        ("id,aufg\xe4be\n".encode("latin-1"), "x.csv is not text in UTF-8: save it as UTF-8"),
        ("id,task\na,\xe4\nb,\xfc\n".encode("latin-1"), "x.csv is not text in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(read, content, why):
    with pytest.raises(InputError) as refused:
        read(content)
    assert why in str(refused.value)


def test_a_row_has_as_many_cells_as_the_header_or_only_empty_ones_more(read):
    assert told(read("id,task\na,x,,\nb\nc,y,z\n")) == [
        (2, "a", "x"),
        problem(3, "b", "it has 1 cells, and the header has 2"),
        problem(4, "c", "it has 3 cells, and the header has 2"),
    ]


def test_a_character_that_is_damaged_makes_its_own_row_invalid(read):
    found = read(b"id,task,s\na,x\xf0\x9f\x98,\nb,\xc3\xa4,\nc,x\0y,\nd,z,\xff\n")
    assert told(found) == [
        problem(2, "a", "the task is not text in UTF-8"),
        (3, "b", "ä"),
        problem(4, "c", "the task has a NUL character"),
        problem(5, "d", "the input s is not text in UTF-8"),
    ]
    assert found[3].columns == {"id": "d", "task": "z", "s": "?"}


def test_an_empty_cell_replaces_no_input_of_all_items(read):
    found = read("task,city,land\na,,\nb,Ulm,\\N\n")
    assert [one.inputs for one in found] == [{"land": ""}, {"city": "Ulm"}]
    (given,) = read('{"task": "a", "city": "", "land": null}', "x.jsonl")
    assert given.inputs == {"city": ""}


def test_a_template_makes_the_task_and_its_columns_are_no_inputs(read):
    content = 'Title,body,lang,task\nPumps,"It {lang} says",de,old\nNo body,,de,old\n'
    good, bad = read(content, template="{{Say}} {title}: {body}")
    assert (good.task, good.inputs) == ("{Say} Pumps: It {lang} says", {"lang": "de"})
    assert bad.problem == "line 3: it has no body, which the template names"
    assert list(good.columns) == ["Title", "body", "lang", "task"]


def test_a_column_that_the_workflow_names_stays_an_input(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("sku,title\n7,Pumps\n")
    options = {"template": "On {title}", "id_column": "sku"}
    with items.opened(path, options, needed=("title",)) as source:
        (found,) = source.items()
    assert (found.item_id, found.inputs) == ("7", {"title": "Pumps"})


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"template": "{titel}"}, "there is no column titel, only id, task"),
        ({"template": "{task"}, "cannot be read (expected '}' before end of string)"),
        ({"template": "{}"}, "more or less than the name of a column in braces"),
        ({"template": "{task:.2f}"}, "more or less than the name of a column in braces"),
        ({"template": "Hello"}, "names no column"),
        ({"template": "{task}", "task_column": "task"}, "not both"),
        ({"task_column": "q"}, "there is no column q, only id, task"),
        ({"delimiter": "ab"}, "the delimiter is 'ab': give one character, or tab"),
        ({"delimiter": '"'}, "give one character, or tab"),
        ({"limit": 0}, "the limit is 0: give at least 1"),
        ({"sample": -1}, "the sample is -1: give at least 1"),
        ({"seed": 1}, "a seed is only for a sample"),
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_a_wrong_option_is_refused_in_one_line(read, options, why, name):
    if name == "x.jsonl" and "delimiter" in options and options["delimiter"] != "ab":
        pytest.skip("the same message")
    content = "id,task\na,x\n" if name == "x.csv" else '{"id": "a", "task": "x"}\n'
    with pytest.raises(InputError) as refused:
        read(content, name, **options)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def workbook(rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.create_sheet("other").append(["task"])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def test_a_workbook_is_read_as_people_see_it(read):
    found = read(
        workbook(
            [
                ["ID", "Task", None, "price", "day", "at", "took", "ok", "no"],
                [1, "a", "?", 3.0, dt.datetime(2024, 3, 5), dt.time(14, 30), None, True, "#N/A"],  # noqa: DTZ001
                [None, "", None],
                [
                    2.0,
                    42,
                    None,
                    0.1 + 0.2,
                    dt.datetime(2024, 3, 5, 8, 1),  # noqa: DTZ001
                    None,
                    dt.timedelta(hours=26),
                ],
                ["x"],
                ["y", "=1+1"],
            ]
        ),
        "x.xlsx",
    )
    assert [(one.line, one.item_id, one.task, one.problem) for one in found] == [
        (2, "1", "a", None),
        (4, "2", "42", None),
        (5, "x", "", "line 5: there is no task"),
        (6, "y", "", "line 6: there is no task"),  # no program has calculated it
    ]
    assert found[0].inputs == {"price": 3, "day": "2024-03-05", "at": "14:30:00", "ok": True}
    assert str(found[0].inputs["price"]) == "3"
    assert found[1].inputs == {"price": 0.3, "day": "2024-03-05T08:01:00", "took": "26:00:00"}


def test_the_result_of_a_formula_is_read(read):
    content = io.BytesIO()
    with xlsxwriter.Workbook(content) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["id", "task"])
        sheet.write_formula(3, 1, '="a"&"b"', None, "ab")
    assert told(read(content.getvalue(), "a name without an ending")) == [(4, "4", "ab")]


def test_a_workbook_without_its_library_names_the_extra(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UserError, match=r"pip install 'aideon-agents\[xlsx\]'"):
        read(workbook([["task"], ["x"]]), "x.xlsx")


def test_a_damaged_workbook_is_refused_wherever_it_is_damaged(read):
    content = workbook([["id", "task"], *([n, f"text {n} " * 9] for n in range(40))])
    refused: list[str] = []
    damaged_at = range(0, len(content), 41)
    for at in damaged_at:
        damaged = content[:at] + bytes([content[at] ^ 0x5A]) + content[at + 1 :]
        try:
            read(damaged, "x.xlsx")
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > len(damaged_at) // 2
    assert not [one for one in refused if "\n" in one]


def test_what_a_workbook_has_besides_its_cells_is_left_out_without_a_word(read):
    whole = zipfile.ZipFile(io.BytesIO(workbook([["id", "task"], ["a", "x"]])))
    content = io.BytesIO()
    more = b'<extLst><ext uri="{CCE6A557-97BC-4b89-ADB6-D9C93CAAB3DF}"/></extLst></worksheet>'
    with zipfile.ZipFile(content, "w") as book:
        for name in whole.namelist():
            part = whole.read(name).replace(b"</worksheet>", more)
            book.writestr(name, re.sub(rb"<cellStyles.*</cellStyles>", b"", part))
    (found,) = read(content.getvalue(), "x.xlsx")
    assert (found.item_id, found.task) == ("a", "x")


def test_a_tsv_of_one_column_has_commas_in_its_cells(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("task\nheat, pumps; and more\n")
    with items.opened(path) as source:
        assert [one.task for one in source.items()] == ["heat, pumps; and more"]
