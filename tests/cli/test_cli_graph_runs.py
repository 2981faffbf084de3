"""`aideon graph --run`: a run on its graph, as it was when it ran, in every form."""

from __future__ import annotations

import json

import pytest

from aideon_agents import Ledger, abatch, creative, run
from aideon_agents.tasks import load
from aideon_agents.testing import SimulatedProvider

HEAD = "from aideon_agents import creative, executor, parallel, sequential\n"
LOOP = (
    "from aideon_agents import creative, executor, iterative, sequential, validator\n"
    "graph = sequential(executor('facts'), iterative(creative('draft'), "
    "validator(criteria='short'), name='polish'))\n"
)


@pytest.fixture
def ran(aideon, folder):
    """A rehearsed run."""
    (folder / "loop.py").write_text(LOOP)
    assert aideon("run", "loop.py", "--task", "Pumps move heat.", "--rehearse").code == 0
    return "last"


def test_a_run_is_drawn_with_what_each_node_cost(aideon, ran):
    done = aideon("graph", "--run", ran)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("loop · rehearsed\nwould have cost $0.000")
    assert "facts (executor)\n  $0.000" in done.out
    assert "▾ polish\n  $0.000" in done.out


def test_so_it_is_in_every_form(aideon, ran, folder):
    assert "linkStyle" in aideon("graph", "--run", ran, "-f", "mermaid").out
    svg = aideon("graph", "--run", ran, "-f", "svg").out
    assert svg.count('class="way strong"') == 5
    assert "would have cost $0.000" in svg
    aideon("graph", "--run", ran, "-o", "run.png")
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")
    document = aideon("graph", "--run", ran, "--json").document
    assert document["run"]["statuses"] == {"completed": 1}
    facts = next(one for one in document["nodes"] if one["id"] == "facts")
    assert facts["figures"]["calls"] == 1
    assert document["edges"][0]["taken"] is True


def test_closed_groups_show_the_sum_of_what_is_in_them(aideon, ran):
    document = aideon("graph", "--run", ran, "--depth", "0", "--json").document
    assert [one["id"] for one in document["nodes"]] == ["__start__", "facts", "polish", "__end__"]
    assert document["nodes"][2]["figures"]["calls"] == 2


def test_a_run_is_drawn_as_its_graph_was_when_it_ran(aideon, ran, folder):
    (folder / "loop.py").unlink()
    assert "▾ polish" in aideon("graph", "--run", ran).out


def test_a_graph_that_was_at_hand_is_drawn_from_its_row(aideon, folder):
    (folder / ".aideon").mkdir()
    with Ledger(".aideon/ledger.db") as ledger:
        run(load("one.py").graph, "x", rehearse=True, ledger=ledger)
    assert "draft (creative)\n  $0.0000" in aideon("graph", "--run", "last").out


def test_several_runs_of_one_graph_add_up(aideon, ran):
    aideon("run", "loop.py", "--task", "Pumps need power.", "--rehearse")
    ids = [one["run_id"] for one in aideon("runs", "list", "--json").document]
    done = aideon("graph", "--run", ids[0], "--run", ids[1], "--run", "last", "--json")
    assert done.document["run"]["run_ids"] == ids
    assert done.document["run"]["totals"]["ran"] == 2
    assert aideon("graph", "--run", ids[0], "--run", ids[1]).out.startswith(
        "loop · rehearsed · 2 runs"
    )


def test_runs_of_two_graphs_are_not_drawn_as_one(aideon, ran):
    aideon("run", "one.py", "--task", "x", "--rehearse")
    first, second = [one["run_id"] for one in aideon("runs", "list", "--json").document]
    done = aideon("graph", "--run", second, "--run", first)
    assert done.code == 2
    assert done.complaint == (
        f"run {first} of one and run {second} of loop have different graphs: draw them one by one"
    )


def test_a_batch_is_drawn_as_a_whole(aideon, folder):
    (folder / "items.jsonl").write_text('"one"\n"two"\n"three"\n')
    batch = aideon("batch", "two.py", "items.jsonl", "-o", "out.jsonl", "--json").document
    done = aideon("graph", "--batch", "last", "--json")
    assert done.document["run"]["title"] == f"two · batch {batch['batch_id']} · rehearsed · 3 runs"
    assert done.document["run"]["totals"]["usd"] == batch["usd"]
    facts = next(one for one in done.document["nodes"] if one["id"] == "facts")
    assert (facts["figures"]["calls"], facts["figures"]["ran"]) == (3, 3)


def test_what_waits_for_an_answer_in_a_batch_is_marked(aideon, folder):
    (folder / "ask.py").write_text(
        HEAD + "graph = sequential(executor('facts', approve=True), creative('text'))\n"
    )
    (folder / "items.jsonl").write_text('"one"\n"two"\n')
    aideon("batch", "ask.py", "items.jsonl", "-o", "out.jsonl", "--checkpoint")
    assert "approval\n    [waiting (2)]" in aideon("graph", "--batch", "last").out


def test_a_batch_whose_workflow_changed_is_drawn_as_it_was(aideon, folder):
    (folder / "items.jsonl").write_text('"one"\n')
    aideon("batch", "two.py", "items.jsonl", "-o", "out.jsonl")
    (folder / "two.py").write_text(HEAD + 'graph = sequential(executor("facts"), name="two")\n')
    for words in (("--batch", "last"), ("--run", "last")):
        done = aideon("graph", *words)
        assert (done.code, done.err) == (0, "")
        assert "text (creative)" in done.out
    with Ledger(".aideon/ledger.db") as ledger:  # as before a batch kept its graph
        ledger.database.write("UPDATE batches SET graph = NULL", {})
    done = aideon("graph", "--batch", "last")
    assert done.code == 0
    assert "text (creative)" not in done.out
    assert "this is the graph as it is now" in done.err


async def test_a_batch_of_a_graph_at_hand_is_drawn(aideon, folder):
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        await abatch(creative("text"), ["one", "two"], "out.jsonl", rehearse=True, ledger=ledger)
    for words in (("--batch", "last"), ("--run", "last")):
        done = aideon("graph", *words)
        assert (done.code, done.err) == (0, "")
        assert "text (creative)" in done.out


def test_a_batch_without_a_run_says_so(aideon, folder):
    (folder / "items.jsonl").write_text('{"id": "a", "task": 5}\n')
    aideon("batch", "two.py", "items.jsonl", "-o", "out.jsonl")
    done = aideon("graph", "--batch", "last")
    assert done.code == 2
    assert "has no run yet" in done.complaint


def test_a_run_that_cannot_be_drawn_says_why(aideon, folder):
    (folder / ".aideon").mkdir()
    with Ledger(".aideon/ledger.db") as ledger:
        made = run(load("one.py").graph, "x", rehearse=True, ledger=ledger)
        ledger.database.write("UPDATE runs SET graph = NULL", {})
    done = aideon("graph", "--run", "last")
    assert done.code == 2
    assert done.complaint == (
        f"run {made.run_id} cannot be drawn: it was started in Python without an address, and "
        f"the ledger has no graph of it; see its calls with `aideon runs show {made.run_id}`"
    )


def test_what_waits_for_an_answer_is_marked(aideon, folder):
    (folder / "ask.py").write_text(
        HEAD + "graph = sequential(executor('facts', approve=True), creative('text'))\n"
    )
    assert aideon("run", "ask.py", "--task", "x", "--rehearse").code == 4
    done = aideon("graph", "--run", "last")
    assert done.out.startswith("ask · rehearsed · waiting\n")
    assert "approval\n    [waiting]" in done.out
    assert "text (creative)\n  [not run]" in done.out


def test_a_paid_run_names_itself_and_its_times(aideon, folder, monkeypatch):
    with SimulatedProvider(announce=False) as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        made = json.loads(aideon("run", "one.py", "--task", "x", "--json").out)
    out = aideon("graph", "--run", "last").out
    assert out.startswith("one\ntotal $0.0000")
    assert f" · run {made['run_id']}\n" in out
    assert " s · 100 % · 1 call" in out


@pytest.mark.parametrize(
    "words", [(), ("one.py", "--run", "last"), ("--run", "last", "--batch", "last")]
)
def test_one_thing_is_drawn_at_a_time(aideon, words):
    done = aideon("graph", *words)
    assert done.code == 2
    assert done.complaint == (
        "give one of: a workflow (aideon graph brief), --run RUN, --batch BATCH"
    )


def test_a_run_that_is_not_there_is_an_error(aideon, ran):
    assert "no run 'nobody'" in aideon("graph", "--run", "nobody").complaint
