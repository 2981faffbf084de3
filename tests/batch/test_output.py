"""OUT holds whole lines, whatever happens while they are written."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from pathlib import Path

import pytest

from aideon_agents.batch import items as item_files
from aideon_agents.batch import output
from aideon_agents.batch.output import paths
from aideon_agents.errors import InputError, RunError


@pytest.fixture
def items(folder):
    Path("items.jsonl").write_text('"x"\n')
    with item_files.opened("items.jsonl") as found:
        yield found


opened = functools.partial(output.opened, line_of=lambda position: position + 1)


def item(name):
    """The line of an item, before the number of its line is added."""
    return f'{{"id": "{name}"}}'


def lines(*names):
    """What OUT then holds."""
    return "".join(f'{{"id": "{name}", "line": {at}}}\n' for at, name in enumerate(names, 1))


def test_lines_are_added_at_the_end():
    with opened(Path("out")) as out:
        assert out.is_empty
        out.append([item("a"), item("ä")], 0)
        out.append([], 2)
        out.append([item("c")], 2)
        assert (out.lines, out.is_empty) == (3, False)
    assert Path("out").read_text(encoding="utf-8") == lines("a", "ä", "c")


def test_lines_that_are_there_already_are_not_added_again():
    with opened(Path("out")) as out:
        out.append([item("1"), item("2")], 0)
        out.append([item("2"), item("3")], 1)
        out.append([item("1"), item("2")], 0)
        assert out.lines == 3
    assert Path("out").read_text(encoding="utf-8") == lines("1", "2", "3")


async def test_a_write_that_is_cut_off_doubles_nothing(monkeypatch):
    def slowly(descriptor, fsync=os.fsync):
        time.sleep(0.05)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slowly)
    held = [
        item("1"),
        item("2"),
        item("3"),
    ]  # what the ledger still has: it does not know of the first write
    with opened(Path("out")) as out:
        first = asyncio.create_task(asyncio.to_thread(out.append, held, out.lines))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.to_thread(out.append, held, out.lines)
        assert out.lines == 3
    assert Path("out").read_text(encoding="utf-8") == lines("1", "2", "3")


def test_what_is_behind_the_last_line_that_counts_is_cut_off():
    Path("out").write_bytes(b'{"id": "a", "run_id": "r"}\nnonsense\n[[[[\nhalf')
    read = list(output.read(Path("out")))
    assert [(values.get("id"), values.get("run_id")) for values, _, _ in read] == [
        ("a", "r"),
        (None, None),
        (None, None),
    ]
    with opened(Path("out")) as out:
        out.truncate(1, read[0][2])
        out.append([item("b")], 1)
    assert Path("out").read_bytes() == b'{"id": "a", "run_id": "r"}\n{"id": "b", "line": 2}\n'


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a disk that is full")  # noqa: PTH110 - a device
def test_a_write_that_fails_says_so_in_one_line():
    with opened(Path("/dev/full")) as out, pytest.raises(RunError) as failed:
        out.append([item("a")], 0)
    assert str(failed.value) == (
        "/dev/full cannot be written any more (No space left on device): finished items are kept, and "
        "the same command continues once it can be written"
    )


def test_two_cannot_write_at_once():
    with (
        opened(Path("out")),
        pytest.raises(InputError, match="out is being written by another process"),
        opened(Path("out")),
    ):
        pass


def test_an_out_that_can_be_none_is_refused(items):
    os.mkfifo("pipe")
    Path("link").symlink_to("items.jsonl")
    os.link("items.jsonl", "hard")
    Path("away").symlink_to("nowhere/out")
    for name, message in (
        ("items.jsonl", "items.jsonl is the file of the items"),
        ("link", "link is the file of the items"),
        ("hard", "hard is the file of the items"),
        (".", r"\. is a folder: name a file for the results, \./out.jsonl"),
        ("pipe", "pipe is not a regular file"),
        ("/dev/null", "/dev/null is not a regular file"),
        ("none/out", "none/out cannot be written: there is no folder .*/none: create it"),
        ("away", "away cannot be written: there is no folder .*/nowhere"),
        ("items.jsonl/out", "items.jsonl/out cannot be written: "),
        ("x" * 300, "cannot be written: File name too long"),
    ):
        with pytest.raises(InputError, match=message):
            paths.refuse_unusable(Path(name), items)
    assert not Path("none").exists()
    paths.refuse_unusable(Path("out"), items)


def test_an_out_that_cannot_be_opened_is_one_line(monkeypatch):
    def refused(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)  # root may write everywhere
    with (
        pytest.raises(InputError, match="out cannot be written: Permission denied"),
        opened(Path("out")),
    ):
        pass


def test_a_file_system_without_locks_is_no_obstacle(monkeypatch):
    def unsupported(*_args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(output.fcntl, "flock", unsupported)
    with opened(Path("out")) as out:
        out.append([item("a")], 0)


def test_the_beginning_of_another_file_is_taken_over():
    Path("old").write_bytes(b"{}\n[]\nrest")
    with opened(Path("out")) as out:
        out.copy(Path("old"), 6)
        out.truncate(2, 6)
        out.append([item("c")], 2)
    assert Path("out").read_bytes() == b'{}\n[]\n{"id": "c", "line": 3}\n'


@pytest.mark.parametrize("content", ["", "{}\n[]\n"])
def test_an_out_that_is_changed_meanwhile_takes_no_more(content):
    with opened(Path("out")) as out:
        out.append([item("a")], 0)
        Path("out").write_text(content)
        with pytest.raises(RunError, match="out was changed while the batch was running"):
            out.append([item("b")], 1)
    assert Path("out").read_text() == content
