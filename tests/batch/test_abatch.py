"""Many items through one workflow: one line each, in their order, and the same command goes on."""

from __future__ import annotations

import asyncio
import json
import types

import pytest

from aideon_agents import abatch, creative, executor, sequential
from aideon_agents.batch import document
from aideon_agents.errors import InputError, UserError
from aideon_agents.ledger import batches

TEN = [{"id": f"pump-{number}", "task": f"Pump {number} moves heat."} for number in range(10)]


async def test_every_item_has_its_line_in_the_order_of_the_items(rehearse, lines, written):
    result = await rehearse(written(TEN))
    assert [line["id"] for line in lines()] == [item["id"] for item in TEN]
    assert (result.items, result.completed, result.pending) == (10, 10, 0)
    first = lines()[0]
    assert list(first) == [
        *("id", "line", "status", "output", "results", "models", "truncated"),
        *("usd", "complete", "run_id", "error", "attempts", "version"),
    ]
    assert (first["status"], first["output"]) == ("completed", "Pump 0 moves heat.")
    assert list(first["results"]) == ["facts", "text"]
    assert (first["error"], first["attempts"], first["complete"]) == (None, 1, True)


async def test_a_line_says_where_its_item_stands_also_an_invalid_one(rehearse, lines, folder):
    (folder / "items.csv").write_text('id,task\n"a, b","Two\nlines."\n\nc,Pumps.\nd\ne,Pumps.\n')
    await rehearse("items.csv")
    found = [(line["id"], line["line"], line["status"]) for line in lines()]
    assert found == [
        ("a, b", 2, "completed"),
        ("c", 5, "completed"),
        ("d", 6, "invalid"),
        ("e", 7, "completed"),
    ]


async def test_the_last_document_has_these_fields(rehearse, written):
    made = document(await rehearse(written(TEN)))
    assert list(made) == [
        *("batch_id", "items", "completed", "failed", "invalid", "pending", "waiting"),
        *("carried", "usd", "list_usd", "saved_usd", "complete"),
        *("stop_reason", "wall_s", "held_usd"),
    ]
    assert made["stop_reason"] is None
    assert json.loads(json.dumps(made)) == made


async def test_the_money_of_a_batch_is_that_of_its_items(rehearse, written, lines, ledger):
    result = await rehearse(written(TEN))
    assert sum(int(line["usd"].replace(".", "")) for line in lines()) > 0
    of_runs = ledger.select("SELECT SUM(cost_nanousd) AS n FROM calls")[0]["n"]
    assert int(result.usd.scaleb(9)) == of_runs
    assert sum(node.usd for node in result.nodes) == result.usd
    assert {node.node_path for node in result.nodes} == {"facts", "text"}


async def test_the_same_call_again_runs_nothing(rehearse, written, lines, ledger):
    first = await rehearse(written(TEN))
    before = lines()
    again = await rehearse(written(TEN))
    assert (again.batch_id, again.completed, again.usd) == (first.batch_id, 10, first.usd)
    assert lines() == before
    assert len(ledger.runs()) == 10


async def test_a_slow_first_item_holds_the_file_up_and_nothing_else(rehearse, written, lines):
    seen = []

    async def waits_for_the_others(state):
        seen.append(state["task"])
        if "Pump 0" in state["task"]:
            while len(seen) < 10:
                await asyncio.sleep(0.001)
        return state["task"]

    result = await rehearse(written(TEN), graph=sequential(waits_for_the_others), max_concurrency=2)
    assert result.completed == 10
    assert [line["id"] for line in lines()] == [item["id"] for item in TEN]


async def test_no_more_items_than_asked_for_are_in_flight(rehearse, written):
    now, begun = [0, 0], []

    async def counts(state):
        now[0] += 1
        now[1] = max(now)
        begun.append(state["task"])
        while now[1] < 3 and len(begun) < 10:
            await asyncio.sleep(0.001)
        for _ in range(50):  # one too many would begin now
            await asyncio.sleep(0)
        now[0] -= 1
        return "done"

    await rehearse(written(TEN), graph=sequential(counts), max_concurrency=3)
    assert now == [0, 3]


async def test_a_bad_line_is_an_item_that_is_invalid(rehearse, written, lines):
    bad = ["{nonsense", TEN[0], "[1, 2]", {"id": "x"}, {"task": 7}, {"task": " "}]
    result = await rehearse(written(bad))
    assert (result.completed, result.invalid, result.failed) == (1, 5, 0)
    invalid = [(line["id"], line["error"]) for line in lines() if line["status"] == "invalid"]
    assert invalid == [
        (
            "1",
            "line 1: it is not JSON (Expecting property name enclosed in double quotes, column 2)",
        ),
        ("3", 'line 3: it is neither an object with a "task" nor a string'),
        ("x", "line 4: there is no task"),
        ("5", "line 5: the task must be text"),
        ("6", "line 6: the task is empty"),
    ]
    assert {line["run_id"] for line in lines() if line["status"] == "invalid"} == {None}


async def test_a_second_item_with_the_same_id_is_invalid(rehearse, written, lines, ledger):
    result = await rehearse(written([*TEN, TEN[3], '"by its number"', {"id": "12", "task": "x"}]))
    assert (result.completed, result.invalid) == (11, 2)
    assert [line["status"] for line in lines()][10:] == ["invalid", "completed", "invalid"]
    assert lines()[10]["error"] == "an earlier item has the id 'pump-3' too"
    assert len(ledger.runs()) == 11


async def test_other_keys_are_inputs_and_the_items_own_come_first(rehearse, written, lines):
    def show(state):
        return json.dumps(state["inputs"], sort_keys=True)

    items = [{"task": "x", "city": "Ulm"}, {"task": "x", "size": [1, {"b": None}]}]
    await rehearse(written(items), graph=sequential(show), inputs={"city": "Bonn", "year": "1"})
    assert [json.loads(line["output"]) for line in lines()] == [
        {"city": "Ulm", "year": "1"},
        {"city": "Bonn", "year": "1", "size": [1, {"b": None}]},
    ]


async def test_an_item_without_an_input_that_is_needed_is_invalid(rehearse, written, lines):
    graph = sequential(executor("facts", description="About {city}"))
    await rehearse(written([{"task": "x", "city": "Ulm"}, {"task": "y"}]), graph=graph)
    assert [line["status"] for line in lines()] == ["completed", "invalid"]
    assert "city" in lines()[1]["error"]


async def test_a_failed_item_stops_no_other(rehearse, written, lines):
    def breaks(state):
        if "3" in state["task"]:
            raise ValueError("no\nluck")
        return "fine"

    result = await rehearse(written(TEN), graph=sequential(executor("facts"), breaks))
    assert (result.completed, result.failed, result.stop_reason) == (9, 1, None)
    failed = lines()[3]
    assert failed["status"] == "failed"
    assert failed["error"].startswith("breaks: ValueError: no luck (test_abatch.py:")
    assert list(failed["results"]) == ["facts"]


async def test_a_node_that_exits_fails_its_item_alone(start, ended, folder, written, lines):
    source = (
        "import sys\nfrom aideon_agents import sequential\n"
        "async def leave(state):\n    if '4' in state['task']:\n        sys.exit(0)\n    return 'x'\n"
        "graph = sequential(leave)\n"
    )
    (folder / "leave.py").write_text(source, encoding="utf-8")
    written(TEN)
    done = ended(start("leave.py", "items.jsonl", "-o", "out.jsonl"))
    assert done.code == 1, done.err
    assert (done.document["completed"], done.document["failed"]) == (9, 1)
    assert lines()[4]["error"] == "SystemExit: 0 (leave.py:5)"


async def test_an_item_that_takes_too_long_has_failed(
    rehearse, written, lines, *, ledger, pass_time, until
):
    async def sleeps(state):
        if "Pump 1" in state["task"]:
            await until(lambda: [run.status for run in ledger.runs()].count("completed") == 2)
            pass_time(600)
            await asyncio.sleep(60)
        return "done"

    result = await rehearse(written(TEN[:3]), graph=sequential(sleeps), timeout=600)
    assert (result.completed, result.failed) == (2, 1)
    assert lines()[1]["error"] == "the run reached its time limit of 600 s"


async def test_items_can_be_handed_in(rehearse, lines):
    result = await rehearse(["Pumps move heat.", {"id": "b", "task": "They are quiet."}])
    assert result.completed == 2
    assert [line["id"] for line in lines()] == ["1", "b"]


async def test_what_is_no_item_is_refused(rehearse):
    with pytest.raises(InputError, match="item 2 is a int: it must be a task, or a mapping"):
        await rehearse(["x", 7])
    with pytest.raises(InputError, match="item 1 cannot be written as JSON"):
        await rehearse([{"task": "x", "size": {1, 2}}])


async def test_a_mapping_of_items_is_refused(rehearse):
    for given in ({"task": "x", "id": "a"}, types.SimpleNamespace(keys=list)):  # as a data frame
        with pytest.raises(InputError, match=r"the items are a \w+: give a list, with one"):
            await rehearse(given)


async def test_the_options_of_the_items_are_those_of_the_command(rehearse, lines):
    rows = [{"nr": n, "title": f"Pump {n}"} for n in range(9)]
    options = {"id_column": "nr", "template": "On {title}", "limit": 8, "sample": 3, "seed": 5}
    first = await rehearse(rows, **options)
    ids = [line["id"] for line in lines()]
    assert (first.items, ids) == (3, sorted(ids))
    assert all(int(one) < 8 for one in ids)
    again = await rehearse(iter(rows), **options)
    assert again.batch_id == first.batch_id


async def test_an_unknown_option_is_refused(rehearse):
    with pytest.raises(
        TypeError, match=r"unknown option 'concurrency' of a batch: .*, max_concurrency, "
    ):
        await rehearse(["x"], concurrency=3)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"max_concurrency": 0}, "the concurrency is 0"),
        ({"max_failures": "0"}, "give a number from 1, or a share such as 5%"),
        ({"max_failures": "101%"}, "give a number from 1, or a share such as 5%"),
        ({"max_failures": "many"}, "give a number from 1, or a share such as 5%"),
        ({"budget": "free"}, "'free' is not a budget"),
        ({"item_budget": -1}, "'-1' is not a budget"),
        ({"timeout": 0}, "a timeout of 0 s leaves no time"),
        ({"tier": "gold"}, "there is no tier 'gold'"),
        ({"model": {"cook": "local:any"}}, "there is no role 'cook'"),
        ({"engine": "remote"}, "unknown engine 'remote': use one of local, distributed"),
        ({"engine": "distributed"}, "the distributed engine needs a ledger on Postgres"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
async def test_a_mistake_is_found_before_anything_is_made(
    rehearse, written, folder, option, message
):
    with pytest.raises(UserError, match=message):
        await rehearse(written(TEN), **option)
    assert not (folder / "out.jsonl").exists()


async def test_a_batch_without_a_key_is_refused(written, ledger, folder):
    with pytest.raises(UserError, match="no model can be asked"):
        await abatch(creative("draft"), written(TEN), "out.jsonl", ledger=ledger)
    assert not (folder / "out.jsonl").exists()
    assert batches.batches(ledger, 1) == []


async def test_results_are_in_out_and_not_in_the_ledger(rehearse, written, ledger):
    await rehearse(written(TEN))
    assert ledger.select("SELECT * FROM outputs") == []
    assert {run.output for run in ledger.runs()} == {None}
    assert b"moves heat" not in ledger.path.read_bytes()


async def test_data_that_json_has_no_word_for_is_written_all_the_same(rehearse, written, lines):
    def odd(state):
        return json.dumps("half a \ud83c character").encode().decode("unicode_escape")

    result = await rehearse(["x"], graph=sequential(odd))
    assert result.completed == 1
    assert "half a" in lines()[0]["output"]


async def test_items_begin_one_after_another_so_that_the_first_are_not_kept_waiting(
    rehearse, written, ledger
):
    begun = []

    async def looks(state):
        begun.append(len(ledger.runs()))
        return state["task"]

    tasks = [f"Pump {number}." for number in range(60)]
    items = written([{"task": task} for task in tasks])
    await rehearse(items, graph=sequential(looks), max_concurrency=60)
    assert begun[0] < 30


async def test_a_rehearsal_shows_what_it_would_have_spent(rehearse, written):
    seen = []
    result = await rehearse(written(TEN), budget="1", watch=seen.append)
    assert seen[-1].spent == result.usd > 0
