"""A batch whose items or workflow were changed: what is the same work is not run and paid again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import warm

from aideon_agents import abatch, executor, sequential
from aideon_agents.errors import InputError, UserError
from aideon_agents.ledger import batches
from aideon_agents.ledger.costs import cost
from aideon_agents.testing import SimulatedProvider

TEN = [{"id": f"pump-{number}", "task": f"Pump {number} moves heat."} for number in range(10)]
TASKS = [item["task"] for item in TEN]


class Called(list):
    """The tasks that a workflow was called with; it fails for those in `broken`."""

    def __init__(self):
        super().__init__()
        self.broken = set()

    def says(self, state):
        """The only node."""
        self.append(state["task"])
        if state["task"] in self.broken:
            raise ValueError("no luck")
        return f"On {state['task']}"


@pytest.fixture
def called():
    return Called()


@pytest.fixture
def run(rehearse, called):
    """Runs a batch; returns its result and the tasks that were called for it."""

    async def to_end(items, **options):
        called.clear()
        result = await rehearse(items, graph=sequential(called.says, name="says"), **options)
        return result, sorted(called)  # threads run them in any order

    return to_end


def told(lines, *names):
    return [tuple(line[name] for name in names) for line in lines]


LONGER, SHORTER = [*TEN, {"id": "new", "task": "New."}], TEN[:9]
MENDED = [*TEN[:3], {"id": "pump-3", "task": "Mended."}, *TEN[4:]]
MIXED = [*reversed(TEN)]


@pytest.mark.parametrize(
    ("changed", "new"),
    [(LONGER, ["New."]), (SHORTER, []), (MENDED, ["Mended."]), (MIXED, []), (TEN[2:5], [])],
    ids=["longer", "shorter", "mended", "mixed", "less"],
)
@pytest.mark.parametrize("unordered", [False, True])
async def test_of_a_changed_file_only_new_items_run(  # noqa: PLR0917 - its cases
    run, written, lines, changed, new, unordered
):
    first, _ = await run(written(TEN))
    before = {line["id"]: line for line in lines()}
    result, tasks = await run(written(changed), unordered=unordered)
    assert tasks == new
    assert result.batch_id != first.batch_id
    assert (result.carried, result.carried_from) == (len(changed) - len(new), first.batch_id)
    assert (result.items, result.completed, result.pending) == (len(changed), len(changed), 0)
    held = {line["id"]: line for line in lines()}
    assert len(lines()) == len(held)
    assert list(held) == [one["id"] for one in changed] or unordered
    assert set(held) == {one["id"] for one in changed}
    numbers = {one["id"]: number for number, one in enumerate(changed, 1)}
    for name, line in held.items():
        assert line["line"] == numbers[name]
        if name in before and line["output"] == before[name]["output"]:
            assert line == {**before[name], "line": numbers[name]}
    again, tasks = await run(written(changed), unordered=unordered)
    assert (again.batch_id, again.carried, tasks) == (result.batch_id, result.carried, [])


async def test_a_line_in_the_middle_moves_items_that_have_no_ids(run, written, lines):
    await run(written(json.dumps(task) for task in TASKS))
    changed = [*TASKS[:5], "New.", *TASKS[5:]]
    result, tasks = await run(written(json.dumps(task) for task in changed))
    assert (tasks, result.carried) == (["New."], 10)
    assert told(lines(), "id", "line", "output") == [
        (str(number), number, f"On {task}") for number, task in enumerate(changed, 1)
    ]


async def test_numbers_that_are_ids_stay_with_their_items(run, written, lines):
    await run(written({"id": number, "task": f"Task {number}"} for number in (1, 2, 3)))
    items = [{"id": number, "task": f"Task {number}"} for number in (0, 1, 2, 3)]
    result, tasks = await run(written(items))
    assert (tasks, result.carried) == (["Task 0"], 3)
    items = [{"id": number, "task": f"Task {number or 1}"} for number in (0, 1, 2, 3)]
    _, tasks = await run(written(items))
    assert tasks == ["Task 1"]  # the content is that of another item, and its id is not


async def test_equal_items_keep_one_result_each(run, written):
    await run(written(['"same"', '"same"']))
    result, tasks = await run(written(['"same"', '"same"', '"same"']))
    assert (tasks, result.carried) == (["same"], 2)
    result, tasks = await run(written(['"same"', '"other"', '"other"']))
    assert (tasks, result.carried) == (["other", "other"], 1)


async def test_of_items_with_one_id_the_first_is_valid_also_if_the_second_is_the_same(
    run, written, lines
):
    await run(written([{"id": "a", "task": "x"}, {"id": "b", "task": "y"}]))
    await run(
        written([{"id": "a", "task": "new"}, {"id": "a", "task": "x"}, {"id": "b", "task": "y"}])
    )
    assert told(lines(), "id", "status", "output") == [
        ("a", "completed", "On new"),
        ("a", "invalid", None),
        ("b", "completed", "On y"),
    ]


async def test_what_was_carried_over_is_carried_over_again(run, written, lines):
    await run(written(TEN))
    await run(written(TEN[:2]))
    assert len(lines()) == 2
    back, tasks = await run(written(LONGER))
    assert (tasks, back.carried) == (["New."], 10)  # from the file that was kept
    few, tasks = await run(written(TEN[8:]))
    assert (tasks, few.carried) == ([], 2)
    assert told(lines(), "id") == [("pump-8",), ("pump-9",)]


async def test_results_that_the_new_file_has_not_are_kept(run, written, lines):
    first, _ = await run(written(TEN))
    whole = Path("out.jsonl").read_bytes()
    result, _ = await run(written(TEN[:2]))
    kept = Path(f"out.{first.batch_id}.jsonl")
    assert kept.read_bytes() == whole
    assert result.earlier_out == str(kept.resolve())
    result, _ = await run(written(TEN[:3]))
    assert result.earlier_out is None
    assert sorted(path.name for path in Path().glob("out*")) == [kept.name, "out.jsonl"]


async def test_failed_items_run_again_only_when_they_are_to_be_retried(run, written, called):
    called.broken = {TASKS[4]}
    await run(written(TEN))
    result, tasks = await run(written(LONGER))
    assert (tasks, result.failed, result.carried) == (["New."], 1, 10)
    called.broken.clear()
    result, tasks = await run(written(LONGER), retry_failed=True)
    assert (tasks, result.failed, result.carried) == ([TASKS[4]], 0, 9)
    called.broken = {TASKS[5]}
    await run(written(TEN[5:]), out="other.jsonl")
    called.broken.clear()
    result, tasks = await run(written(LONGER[5:]), out="other.jsonl", retry_failed=True)
    assert (tasks, result.failed, result.carried) == (["New.", TASKS[5]], 0, 4)


async def test_invalid_lines_are_checked_again(run, written, lines):
    await run(written(["nonsense", *map(json.dumps, TEN)]))
    result, tasks = await run(written(["nonsense", *map(json.dumps, LONGER)]))
    assert (tasks, result.carried, result.invalid) == (["New."], 10, 1)
    assert told(lines(), "id")[:2] == [("1",), ("pump-0",)]


async def test_a_batch_that_was_stopped_is_carried_over_with_what_out_did_not_hold_yet(
    run, written, lines, ledger
):
    first, _ = await run(written(TEN))
    held = Path("out.jsonl").read_text().splitlines(keepends=True)
    Path("out.jsonl").write_text("".join(held[:3]))
    with ledger.database.transaction() as tx:  # item 3 was running, and those after it had ended
        tx.write("UPDATE items SET status = 'running' WHERE position = 3", {})
        for position in range(4, 10):
            tx.write(
                "INSERT INTO outputs VALUES (:batch, :position, :document)",
                {"batch": first.batch_id, "position": position, "document": held[position][:-1]},
            )
    result, tasks = await run(written(LONGER))
    assert (tasks, result.carried) == (["New.", TASKS[3]], 9)
    assert told(lines(), "id") == [(item["id"],) for item in LONGER]
    assert ledger.select("SELECT * FROM outputs") == []


async def test_money_stays_with_the_batch_that_spent_it(written, lines, ledger, keyed):
    graph = sequential(executor("facts"))
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        first = await abatch(graph, written(TEN), "out.jsonl", **options)
        second = await abatch(graph, written(LONGER), "out.jsonl", budget="1", **options)
        assert len(provider.requests) == 11
    assert second.usd > 0
    assert first.usd + second.usd == cost(ledger.database).usd
    assert sum(int(line["usd"].replace(".", "").ljust(10, "0")) for line in lines()) == int(
        (first.usd + second.usd).scaleb(9)
    )
    assert batches.money(ledger, second.batch_id).usd == second.usd


WORKFLOW = """
from aideon_agents import sequential
def says(state):
    print("CALLED " + state["task"] + "\\n", end="")  # one write: items run in several threads
    if {broken!r} in state["task"]:
        raise ValueError("no luck")
    return "{word}"
graph = sequential(says)
"""


@pytest.fixture
def command(start, ended, folder):
    """Runs `aideon batch says.py` as a command; returns how it ended and which tasks were called."""

    def run(*words):
        done = ended(start("says.py", "items.jsonl", "-o", "out.jsonl", *words))
        called = [line[7:] for line in done.err.splitlines() if line.startswith("CALLED ")]
        return done, sorted(called)

    return run


def workflow(broken="nothing", word="done"):
    Path("says.py").write_text(WORKFLOW.format(broken=broken, word=word))


def test_a_mended_workflow_runs_what_failed_and_each_line_says_its_version(command, written, lines):
    written(TEN)
    workflow(broken="Pump 4", word="old")
    assert command()[0].code == 1
    workflow(word="new")
    refused, tasks = command()
    assert (refused.code, tasks) == (2, [])
    assert "the workflow was changed since: add --retry-failed" in refused.err
    done, tasks = command("--retry-failed")
    assert (done.code, tasks) == (0, [TASKS[4]])
    assert done.document["carried"] == 9
    assert "9 carried over at no cost, 1 new; from " in done.err
    versions = [line["version"] for line in lines()]
    assert len({*versions}) == 2
    assert versions.count(versions[4]) == 1
    assert [line["output"] for line in lines()] == ["new" if at == 4 else "old" for at in range(10)]
    again, tasks = command()
    assert (again.code, tasks, again.document["batch_id"]) == (0, [], done.document["batch_id"])


def test_another_file_starts_anew_with_the_mended_workflow(start, ended, command, written, lines):
    written(TEN)
    workflow(word="old")
    command()
    workflow(word="new")
    done = ended(start("says.py", "items.jsonl", "-o", "other.jsonl"))
    assert (done.code, done.document["carried"]) == (0, 0)
    assert {line["output"] for line in lines("other.jsonl")} == {"new"}


def test_a_batch_is_named_with_from(start, ended, command, written, lines):
    written(TEN)
    workflow()
    first, _ = command()
    written(LONGER)
    words = ("says.py", "items.jsonl", "-o", "other.jsonl", "--from")
    unknown = ended(start(*words, "nothing"))
    assert (unknown.code, "no batch 'nothing'" in unknown.err) == (2, True)
    done = ended(start(*words, first.document["batch_id"][:20]))
    assert (done.code, done.document["carried"]) == (0, 10)
    assert len(lines("other.jsonl")) == 11
    assert len(lines()) == 10  # the earlier batch keeps its own
    written([*LONGER, {"id": "newer", "task": "Newer."}])
    _, tasks = command()
    assert tasks == ["New.", "Newer."]
    written([{"id": "x", "task": "y"}])
    nothing = ended(start("says.py", "items.jsonl", "-o", "third.jsonl", "--from", "last"))
    assert (nothing.code, Path("third.jsonl").exists()) == (2, False)
    assert "nothing can be taken over from batch" in nothing.err
    other = ended(
        start("says.py", "items.jsonl", "-o", "out.jsonl", "--from", first.document["batch_id"])
    )
    assert (other.code, "holds other results than those of batch" in other.err) == (2, True)


async def test_an_earlier_batch_that_does_not_exist_is_refused_also_when_the_batch_continues(run):
    await run(TEN)
    with pytest.raises(UserError, match="no batch 'nothing'"):
        await run(TEN, from_batch="nothing")


async def test_an_out_of_unrelated_work_is_refused_and_left_as_it_is(
    run, written, rehearse, ledger
):
    first, _ = await run(written(TEN))
    held = Path("out.jsonl").read_bytes()
    other = written([{"id": "pump-0", "task": "x"}, "y"], "other.jsonl")
    for items, options, why in (
        (other, {}, "none of its items is among these"),
        (written(TEN), {"inputs": {"a": "b"}}, "inputs differ"),
        (written(TEN), {"tier": "free"}, "tier"),
        (written(LONGER), {"model": {"executor": "openai:gpt-4o-mini"}}, "models"),
    ):
        with pytest.raises(InputError, match=f"belongs to another batch, {first.batch_id} .*{why}"):
            await run(items, **options)
    with pytest.raises(InputError, match="its workflow is says"):
        await rehearse(written(LONGER))
    assert Path("out.jsonl").read_bytes() == held
    assert len(batches.batches(ledger, 9)) == 1


async def test_an_out_with_a_line_of_somebody_else_is_refused(run, written):
    await run(written(TEN))
    held = Path("out.jsonl").read_text()
    Path("out.jsonl").write_text(held + '{"id": "mine", "run_id": "mine"}\n')
    with pytest.raises(InputError, match=r"out\.jsonl:11 is not a line of batch"):
        await run(written(LONGER))


KILLED = """
import os, signal, sys
from aideon_agents.__main__ import main
wanted, *sys.argv[1:] = sys.argv[1:]
def kill(event, details):
    if f"{event} {details[0] if details else ''}".startswith(wanted):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
sys.argv[0] = "aideon"
main()
"""


@pytest.mark.parametrize(
    "step",
    [
        "open {folder}/out.jsonl.",  # the row of the new batch is there
        "os.link",  # all is written beside
        "os.rename",  # the new batch is the one that goes on
    ],
)
def test_a_kill_at_any_step_loses_nothing_and_pays_nothing_twice(
    step, command, written, lines, folder
):
    written(TEN)
    workflow()
    command()
    before = {line["id"]: line["run_id"] for line in lines()}
    written([LONGER[-1], *TEN[:8]])
    words = ["-c", KILLED, step.format(folder=folder)]
    words += ["batch", "says.py", "items.jsonl", "-o", "out.jsonl"]
    killed = warm.run(words, cwd=folder, env=os.environ | {"PYTHONPATH": ""}, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    assert len(lines()) == 10
    done, tasks = command()
    assert (done.code, tasks, done.document["carried"]) == (0, ["New."], 8)
    assert [line["id"] for line in lines()] == ["new", *(item["id"] for item in TEN[:8])]
    assert all(line["run_id"] == before[line["id"]] for line in lines()[1:])
    (kept,) = folder.glob("out.0*.jsonl")
    assert {line["id"]: line["run_id"] for line in lines(kept)} == before
    left = sorted(path.name for path in folder.glob("out*"))
    assert left == sorted([kept.name, "out.jsonl"])
