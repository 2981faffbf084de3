"""Items are read one at a time, whatever is written there; a bad one stops no other."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path

import pytest

from aideon_agents.batch import items
from aideon_agents.batch.items import lines
from aideon_agents.batch.items.forms import form_of, read, refuse_binary
from aideon_agents.batch.items.item import Maker
from aideon_agents.errors import InputError


def jsonl(content):
    return list(read(io.BytesIO(content), "jsonl", "x"))


def table(content):
    return list(read(io.BytesIO(content), "csv", "x.csv"))


def told(found):
    return [(one.item_id, one.task, dict(one.inputs)) for one in found]


def test_a_line_is_an_object_or_a_task():
    found = jsonl(b'{"task": "a", "id": "x", "size": 3}\n"b"\n{"id": 7, "task": "c"}')
    assert told(found) == [("x", "a", {"size": 3}), ("2", "b", {}), ("7", "c", {})]
    assert [one.position for one in found] == [0, 1, 2]


def test_ids_default_to_the_number_of_the_line_and_blank_lines_count():
    assert [one.item_id for one in jsonl(b'"a"\n\n  \r\n"b"\r\n"c"')] == ["1", "4", "5"]


def test_a_byte_order_mark_is_no_part_of_the_first_line():
    assert [one.task for one in jsonl('\ufeff"ä"'.encode())] == ["ä"]
    assert [one.task for one in table("\ufefftask\nä".encode())] == ["ä"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"\xff\xfe", "it is not text in UTF-8"),
        (b'{"task": "x"', "it is not JSON (Expecting ',' delimiter, column 13)"),
        (b"9" * 5000, "it cannot be read (ValueError)"),
        (b"[" * 100_000, "it is nested too deeply"),
        (
            b'{"task": "x", "in": ' + b"[" * 990 + b"]" * 990 + b"}",
            "it is nested too deeply",
        ),
        (b"null", 'it is neither an object with a "task" nor a string'),
        (b"{}", "there is no task"),
        (b'{"task": null}', "there is no task"),
        (b'{"task": ["x"]}', "the task must be text"),
        (b'{"task": "\\ud800"}', "the task is not text in UTF-8"),
        (b'""', "the task is empty"),
        (b'{"task": "x", "id": ""}', "the id must be text that is not empty"),
        (b'{"task": "x", "id": "\\u0000"}', "the id must be text that is not empty"),
        (b'{"task": "x", "id": "\\udc00"}', "the id must be text that is not empty"),
        (b'{"task": "x", "id": true}', "the id must be text that is not empty"),
        (b'{"task": "x", "id": 1.5}', "the id must be text that is not empty"),
        (b'{"task": "x", "id": "%s"}' % (b"i" * 501), "the id is longer than 500 characters"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_a_bad_line_is_an_item_with_its_problem(line, problem):
    before, bad, after = jsonl(b'"a"\n' + line + b'\n"c"\n')
    assert (bad.item_id, bad.problem) == ("2", f"line 2: {problem}")
    assert (before.problem, after.problem, after.item_id) == (None, None, "3")


def test_a_bad_line_keeps_the_id_that_can_be_read():
    assert jsonl(b'{"id": "a", "task": 1}')[0].item_id == "a"


def test_a_line_that_is_too_long_is_skipped(monkeypatch):
    monkeypatch.setattr(lines, "LONGEST", 64)
    content = b'"a"\n"' + b"b" * 200 + b'"\n"c"\n"' + b"d" * 62 + b'"\n"' + b"e" * 100
    found = jsonl(content)
    assert [(one.item_id, one.problem is None) for one in found] == [
        *(("1", True), ("2", False), ("3", True), ("4", True), ("5", False))
    ]


def test_a_table_needs_a_task_and_may_have_an_id():
    found = table(b'id,task,city\na,"two\nlines",Ulm\n,second,\n')
    assert told(found) == [("a", "two\nlines", {"city": "Ulm"}), ("4", "second", {"city": ""})]


def test_a_row_of_another_length_is_an_item_with_its_problem():
    found = table(b"task,city\na,b\n\nonly\na,b,c\n\xff,x\n,x\n")
    assert [one.problem for one in found] == [
        None,
        "line 4: it has 1 cells, and the header has 2",
        "line 5: it has 3 cells, and the header has 2",
        "line 6: the task is not text in UTF-8",
        "line 7: the task is empty",
    ]


def test_a_field_that_is_too_long_is_an_item_with_its_problem(monkeypatch):
    monkeypatch.setattr(lines, "LONGEST", 100)
    found = table(b"task\n" + b"x" * 300 + b"\ny\n")
    assert [one.problem is None for one in found] == [False, True]
    assert "line 2: it is longer than" in found[0].problem


def test_a_table_without_a_task_or_with_a_name_twice_is_refused():
    with pytest.raises(InputError, match=r"x\.csv:1: there is no column task, only a, b"):
        table(b"a,b\n1,2\n")
    with pytest.raises(InputError, match=r"x\.csv:1: two columns are called 'a'"):
        table(b"a,task,a\n1,2,3\n")


@pytest.mark.parametrize(
    ("name", "start", "form"),
    [
        ("x.csv", b'{"task": 1}', "csv"),
        ("x.JSONL", b'broken\n"task"\n', "jsonl"),
        ("-", b'{"task": "x"}', "jsonl"),
        ("-", b'"a task, in words"\n', "jsonl"),
        ("-", b'"id","task"\n', "csv"),
        ("-", b"\xef\xbb\xbf\nid,task\n", "csv"),
        ("items.json", b'{"task": "x"}\n"y"', "jsonl"),
        ("items", b' [{"task": "x"}]', "json"),
        ("items.jsonl", b"[]", "json"),
        ("items", b"Nr;Task\n", "csv"),
        ("items.txt", b"a line that is broken\n{}\n{}\n", "jsonl"),
        ("items", b"", "jsonl"),
    ],
)
def test_the_form_is_that_of_the_name_or_of_the_first_line(name, start, form):
    assert form_of(io.BytesIO(start), name, start, Maker(), None) == form


@pytest.mark.parametrize(
    "start", [b"\x89PNG\r\n\x1a\n", "ä".encode("utf-16-le"), b"\x7fELF\x02\x01\0", b"\0" * 100]
)
def test_what_is_no_text_is_refused(start):
    with pytest.raises(InputError, match="x is not text in UTF-8"):
        refuse_binary("x", start)


def test_a_character_that_is_cut_in_two_is_text():
    refuse_binary("x", b'"' + "ä".encode() * 3 + b"\xc3")
    refuse_binary("x", b'"a"\n\xff')  # a bad line is an item


def test_an_item_keeps_its_columns_as_they_are_in_the_file():
    (valid,) = jsonl(b'{"size": 3, "id": 7, "task": "a"}')
    assert list(valid.columns.items()) == [("size", 3), ("id", 7), ("task", "a")]
    (invalid,) = table(b"city,id,task\nUlm,x,\n")
    assert invalid.columns == {"city": "Ulm", "id": "x", "task": ""}


def test_the_digest_is_of_the_items_and_not_of_how_they_are_written(tmp_path):
    one, two = tmp_path / "one.jsonl", tmp_path / "two.csv"
    one.write_text('{"task": "a", "city": "Ulm", "id": "x"}\n')
    two.write_text("id,city,task\nx,Ulm,a\n")
    with items.opened(one) as first, items.opened(two) as second:
        assert first.digest == second.digest
        assert (first.form, second.form) == ("jsonl", "csv")
    two.write_text("id,city,task\ny,Ulm,a\n")
    with items.opened(two) as other:
        assert other.digest != first.digest


def test_items_can_be_read_again_and_again(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("task\n" + "x\n" * 3000)
    with items.opened(path) as opened:
        assert opened.count == 3000
        assert len(list(opened.items())) == len(list(opened.items())) == 3000


def test_a_file_that_changes_meanwhile_is_told_of(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text('"x"\n' * 3)
    with items.opened(path) as opened:
        reading = opened.items()
        next(reading)
        path.write_text('"x"\n' * 4)
        with pytest.raises(InputError, match="was changed while the batch was running"):
            next(reading)


def test_a_pipe_is_read_once_and_kept(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writing = threading.Thread(target=lambda: path.write_bytes(b'"a"\n"b"\n'))
    writing.start()
    with items.opened(path) as opened:
        assert [one.task for one in opened.items()] == ["a", "b"]
        assert [one.task for one in opened.items()] == ["a", "b"]
    writing.join()


def test_stdin_is_read_once_and_kept(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"task\na\nb\n")))
    with items.opened("-") as opened:
        assert (opened.name, opened.form, opened.count) == ("stdin", "csv", 2)
        assert [one.task for one in opened.items()] == ["a", "b"]


def test_what_cannot_be_read_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").touch()
    Path("blank").write_bytes(b"\n \n")
    for name, message in (
        ("nothing", "nothing cannot be read: No such file or directory"),
        (".", r"\. is a folder: name a file of items"),
        ("empty", "there is no item in empty"),
        ("blank", "there is no item in blank"),
    ):
        with pytest.raises(InputError, match=message), items.opened(name):
            pass
    with pytest.raises(InputError, match="there is no item in the items"), items.opened([]):
        pass
