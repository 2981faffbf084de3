"""An awkward file gives exactly the items that a careful person sees in it."""

from __future__ import annotations

import json
import re

import pytest

from aideon_agents.batch import items
from aideon_agents.batch.items import lines as lines_module
from aideon_agents.errors import InputError

CLOSED = "a quote is opened and never closed"


LONG = "long, " * 3500 + "\n"
KINDS = [
    ("r#,task #,,Ulm\r\n", "r#", "task #"),
    ('r#,"two\r\nlines, ""quoted""",x,\r\n', "r#", 'two\r\nlines, "quoted"'),
    ('r#,"never closed #,,Ulm\r\n', "r#", f"!{CLOSED}"),
    ('"r#","after it",,\r\n', "r#", "after it"),
    ("r#,half an \udcf0\udc9f\udc98 emoji,,\r\n", "r#", "!the task is not text in UTF-8"),
    (f'r#,"{LONG}",,\r\n', "r#", LONG),
    (" # ,=1+1,,,\r\n", "#", "=1+1"),
    (",task #,,\r\n", None, "task #"),
    ("r#,x\r\n", "r#", "!it has 2 cells, and the header has 4"),
    ("r#,x,,Ulm,more\r\n", "r#", "!it has 5 cells, and the header has 4"),
    ("r#,  ,,Ulm\r\n", "r#", "!the task is empty"),
    ("r#,before blank rows,,\r\n,,,\r\n\r\n \r\n", "r#", "before blank rows"),
    ("r#,\\N,,Ulm\r\n", "r#", "!there is no task"),
    ("r#,x\0y,,Ulm\r\n", "r#", "!the task has a NUL character"),
    ('r#,"# ü 😀",,\r\n', "r#", "# ü 😀"),
]
"""Rows with their ids (None: the number of their line) and tasks, or with ! what is wrong."""


def table():
    """A table of 300 rows, and what each of its items must be: line, id, task or problem."""
    text, expected, line = "\ufeffID, Task,,city\r\n", [], 2
    for number in range(300):
        row, own, told = KINDS[number % len(KINDS)]
        told = f"line {line}: {told[1:]}" if told.startswith("!") else told
        found = (own or str(line), told)
        expected.append((line, *(one.replace("#", str(number)) for one in found)))
        text += row.replace("#", str(number))
        line += row.count("\n")
    return text, expected


def read(path, **options):
    with items.opened(path, options) as source:
        found = list(source.items())
        assert [source.line_of(one.position) for one in found] == [one.line for one in found]
    return [(one.line, one.item_id, one.problem or one.task) for one in found]


def test_an_awkward_table_of_300_rows_gives_exactly_its_items(tmp_path):
    text, expected = table()
    path = tmp_path / "awkward.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read(path) == expected
    assert read(path, limit=40) == expected[:40]
    sample = read(path, sample=50, seed=7)
    assert sample == [one for one in expected if one in sample]
    assert (len(sample), sample) == (50, read(path, sample=50, seed=7))
    assert sample != read(path, sample=50, seed=8)


def test_awkward_json_lines_and_the_same_as_an_array(tmp_path):
    values = [
        ({"id": 7, "task": "x", "n": None}, "x"),
        ({"id": "b", "task": "half \ud83d"}, "the task is not text in UTF-8"),
        (
            {"id": "c", "task": "x", "in": {"deep": ["\ud83d"]}},
            "the input in.deep.0 is not text in UTF-8",
        ),
        ({"id": "d", "task": "x", "\ud83d": 1}, "the name of an input is not text in UTF-8"),
        ({"id": "e", "task": "x", "s": "a\0b"}, "the input s has a NUL character"),
        (
            {"id": "f", "task": "x", "n": float("nan")},
            "the input n is NaN, which JSON does not have",
        ),
        ({"id": "g"}, "there is no task"),
        ({"ID": "h", " Task": "x"}, "x"),
        ({"id": "i", "task": "x", "o": {"a": True}}, "x"),
    ]
    lines, array = tmp_path / "x.jsonl", tmp_path / "x.json"
    lines.write_text("\r\n".join(json.dumps(one) for one, _ in values), encoding="utf-8")
    array.write_text(json.dumps([one for one, _ in values], indent=1), encoding="utf-8")
    for path in (lines, array):
        found = read(path)
        ids = [str(one.get("id") or one.get("ID")) for one, _ in values]
        assert [one[:2] for one in found] == [(n, own) for n, own in enumerate(ids, 1)]
        for (_, _, told), (_, expected) in zip(found, values, strict=True):
            assert re.sub(r"^(item \d+, )?line \d+: ", "", told) == expected


def test_an_array_of_many_objects_is_read_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(lines_module, "CHUNK", 7)
    path = tmp_path / "x.json"
    given = [{"task": "x" * (n % 40 + 1), "n": n} for n in range(500)]
    path.write_text(json.dumps(given), encoding="utf-8")
    assert read(path) == [(n, str(n), one["task"]) for n, one in enumerate(given, 1)]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("x.json", '{"items": [{"task": "x"}]}', "holds a single JSON object"),
        ("x.jsonl", '{\n "task": "x"\n}\n{\n "task": "y"\n}\n', "objects of several lines"),
        (
            "x.json",
            '[{"task": "x"}, {"task": }]',
            "x.json:1: the file is no JSON array (Expecting value)",
        ),
        ("x.json", '[{"task": "x"},\n', "x.json:2: the file is no JSON array (Expecting value)"),
        ("x.json", '[{"task": "x"}', "x.json:1: the file is no JSON array (it is never closed)"),
        ("x.json", '[{"task": "x"}]\n]', "(there is more behind it)"),
        (
            "x.txt",
            "Heat pumps.\nInsulation.\n",
            "neither JSON lines nor a table with a column task",
        ),
        ("x.jsonl", "Heat pumps.\n", "neither JSON lines nor a table"),
        ("x.jsonl", "id,task\na,x\n", "looks like CSV: name it .csv"),
        ("x.jsonl", '{"text": "x"}\n{"text": "y"}\n', "there is no column task, only text: rename"),
        ("x.json", '[{"text": "x"}, 5]', "there is no column task, only text: rename"),
        ("x.txt", "<html>\n</html>", "neither JSON lines nor a table"),
        ("x.jsonl", b"%PDF-1.7\n", "is a PDF"),
        ("x.csv", b"PAR1\x15\x04", "is a Parquet file"),
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old workbook (.xls)"),
        ("x.xlsx", b"PK\x03\x04 cut off", "is an archive and no workbook"),
        ("x.jsonl", b"\x1f\x8b\x08\x00", "is compressed"),
        ("x.csv", b"", "there is no item in x.csv"),
        ("x.csv", "id,task\n".encode("utf-16-le"), "is not text in UTF-8"),
        ("/dev/zero", None, "/dev/zero is not text in UTF-8"),
        (".", None, "is a folder"),
    ],
)
def test_a_file_of_another_form_is_refused_in_one_line(tmp_path, monkeypatch, name, content, why):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as refused:
        read(name)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_lines_of_an_openai_batch_file_are_items(tmp_path):
    def line(own, body, url="/v1/chat/completions"):
        return json.dumps({"custom_id": own, "method": "POST", "url": url, "body": body})

    def say(role, content):
        return {"role": role, "content": content}

    talk = [say("system", "Be brief."), say("user", "A"), say("assistant", "B")]
    picture = [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
    path = tmp_path / "requests.jsonl"
    path.write_text(
        "\n".join(
            [
                line(
                    "a", {"model": "m", "messages": [say("developer", "Short."), say("user", "Hi")]}
                ),
                line("b", {"messages": [*talk, say("user", [{"type": "text", "text": "C"}])]}),
                line("c", {"input": "x"}, "/v1/embeddings"),
                line("d", {"messages": [say("user", picture)]}),
                line("e", {"messages": talk}),
                line("f", {}),
            ]
        )
    )
    with items.opened(path) as source:
        found = list(source.items())
    assert [one.item_id for one in found] == list("abcdef")
    assert [(one.task, one.inputs) for one in found[:2]] == [
        ("Hi", {"system": "Short."}),
        ("C", {"system": "Be brief.", "messages": talk[1:]}),
    ]
    assert ["line" in (one.problem or "") for one in found] == [False] * 2 + [True] * 4
    assert "'/v1/embeddings'" in found[2].problem
