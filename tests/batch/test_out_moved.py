"""OUT that is removed, renamed or replaced while the batch runs is written anew, or is named."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from aideon_agents import sequential
from aideon_agents.batch import output
from aideon_agents.errors import RunError

ITEMS = [{"id": name, "task": f"item {name}"} for name in ("a", "b", "c", "last")]
IDS = [item["id"] for item in ITEMS]


def meanwhile(act, out="out.jsonl"):
    """A graph whose last item waits until OUT holds the others, and then does something to it."""

    async def work(state):
        if state["task"] == "item last":
            deadline = time.monotonic() + 60
            while Path(out).read_text(encoding="utf-8").count("\n") < 3:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            act()
        return state["task"]

    return sequential(work, name="meanwhile")


@pytest.mark.parametrize("unordered", [False, True])
@pytest.mark.parametrize(
    "act",
    [
        lambda: Path("out.jsonl").unlink(),
        lambda: Path("out.jsonl").rename("moved.jsonl"),
        lambda: (Path("out.jsonl").rename("moved.jsonl"), Path("out.jsonl").touch()),
    ],
    ids=["removed", "renamed", "rotated"],
)
async def test_all_results_are_written_anew(rehearse, lines, caplog, act, unordered):
    graph = meanwhile(act)
    result = await rehearse(ITEMS, graph=graph, unordered=unordered)
    assert (result.completed, result.stop_reason) == (4, None)
    assert sorted(line["id"] for line in lines()) == IDS
    if not unordered:
        assert [line["line"] for line in lines()] == [1, 2, 3, 4]
    (message,) = caplog.messages
    assert message == (
        "out.jsonl was removed, renamed or replaced while the batch was running: all results are "
        "written anew"
    )
    again = await rehearse(ITEMS, graph=graph, unordered=unordered)
    assert again.completed == 4


async def test_the_lines_of_a_table_are_written_anew(rehearse, written, lines):
    graph = meanwhile(lambda: Path("out.csv.jsonl").unlink(), "out.csv.jsonl")
    await rehearse(written(ITEMS), out="out.csv", graph=graph)
    assert [line["id"] for line in lines("out.csv.jsonl")] == IDS
    assert Path("out.csv").read_text(encoding="utf-8").count("completed") == 4


async def test_an_out_that_moves_after_its_last_line_is_found_at_the_end(ledger, lines):
    with output.opened(Path("out"), lambda at: at + 1) as out:
        out.append(['{"id": "a"}', '{"id": "b"}'], 0)
        Path("out").rename("moved")
        await output.write_ready(ledger, "no batch", out)
        assert [line["id"] for line in lines("out")] == ["a", "b"]


@pytest.mark.parametrize("unordered", [False, True])
async def test_a_folder_that_is_removed_loses_nothing(rehearse, written, lines, ledger, unordered):
    Path("results").mkdir()
    graph = meanwhile(lambda: shutil.rmtree("results"), "results/out.jsonl")
    options = {"out": "results/out.jsonl", "graph": graph, "unordered": unordered}
    with pytest.raises(RunError) as failed:
        await rehearse(written(ITEMS), **options)
    assert str(failed.value) == (
        "results/out.jsonl was removed, renamed or replaced while the batch was running, and cannot "
        "be written anew (No such file or directory): the results are kept, and the same command "
        "continues"
    )
    Path("results").mkdir()
    result = await rehearse(written(ITEMS), **options)
    assert (result.completed, len(ledger.runs())) == (4, 4)
    assert sorted(line["id"] for line in lines("results/out.jsonl")) == IDS


async def test_another_file_in_its_place_is_left_alone(rehearse, written, lines, ledger):
    def replace():
        Path("other").write_text("mine\n", encoding="utf-8")
        Path("other").replace("out.jsonl")

    graph = meanwhile(replace)
    with pytest.raises(RunError, match="another file is there now: move it; the results are kept"):
        await rehearse(written(ITEMS), graph=graph)
    assert Path("out.jsonl").read_text(encoding="utf-8") == "mine\n"
    Path("out.jsonl").rename("mine")
    assert (await rehearse(written(ITEMS), graph=graph)).completed == 4
    assert [line["id"] for line in lines()] == IDS
    assert len(ledger.runs()) == 4


async def test_an_editor_that_saves_the_same_lines_loses_nothing(rehearse, written, lines, ledger):
    def save():
        shutil.copy("out.jsonl", "saved")
        Path("saved").replace("out.jsonl")

    graph = meanwhile(save)
    with pytest.raises(RunError, match="another file is there now"):
        await rehearse(written(ITEMS), graph=graph)
    assert (await rehearse(written(ITEMS), graph=graph)).completed == 4
    assert [line["id"] for line in lines()] == IDS
    assert len(ledger.runs()) == 4
