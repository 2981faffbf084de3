"""`aideon batches`: what became of them, and ending one."""

from __future__ import annotations

import json
import re
import sys

import pytest

from aideon_agents import Ledger
from aideon_agents.ledger import batches


@pytest.fixture
def ran(aideon, folder):
    """A batch with an item of each kind, whose id this is."""
    items = [{"id": "good", "task": "Pumps."}, "nonsense", {"id": "bad", "task": "boom"}]
    lines = (one if isinstance(one, str) else json.dumps(one) for one in items)
    (folder / "items.jsonl").write_text("\n".join(lines))
    source = (
        "from aideon_agents import executor, sequential\n"
        "def may_break(state):\n"
        "    if state['task'] == 'boom':\n        raise ValueError('no luck')\n    return 'x'\n"
        'graph = sequential(executor("facts"), may_break)\n'
    )
    (folder / "may_break.py").write_text(source)
    done = aideon("batch", "may_break.py", "items.jsonl", "-o", "out.jsonl", "--json")
    return done.document["batch_id"]


def test_without_any_batch_the_list_says_how_to_start_one(aideon):
    done = aideon("batches", "list")
    assert (done.code, done.out) == (0, "")
    assert "start one with `aideon batch" in done.err
    assert aideon("batches", "list", "--json").document == []


def test_batches_are_listed(aideon, ran):
    done = aideon("batches", "list")
    for word in (
        ran,
        "may_break",
        "completed, rehearsed",
        "3 of 3, 1 failed, 1 invalid",
        "$0.0000",
    ):
        assert word in done.out
    (one,) = aideon("batches", "list", "--json").document
    assert one["batch_id"] == ran
    assert (one["items"], one["completed"], one["failed"], one["invalid"]) == (3, 1, 1, 1)
    assert (one["pending"], one["in_flight"], one["status"]) == (0, 0, "completed")


def test_the_nodes_of_a_batch_stand_in_declared_order(aideon, folder):
    (folder / "beside.py").write_text(
        "from aideon_agents import creative, parallel, sequential\n"
        "both = parallel(creative('z'), creative('a'), name='both')\n"
        "graph = sequential(creative('plan', max_tokens=5), both, creative('b'))\n",
        encoding="utf-8",
    )
    (folder / "three.jsonl").write_text('"x"\n"y"\n"z"\n', encoding="utf-8")
    ran = aideon("batch", "beside.py", "three.jsonl", "-o", "beside.jsonl", "--rehearse")
    assert ran.code == 0
    declared = ["plan", "both/z", "both/a", "b"]
    for told in (ran.err, aideon("batches", "show", "last").out):
        first = [line.split()[0] for line in told.splitlines() if line.strip()]
        assert [word for word in first if word in declared] == declared


def test_a_batch_is_shown_with_what_failed_and_what_its_nodes_cost(aideon, ran):
    done = aideon("batches", "show", ran[:20].lower())
    assert f"may_break {ran}: completed, rehearsed, 3 items, 1 completed, 1 failed" in done.out
    assert "failed: bad (run " in done.out
    assert "ValueError: no luck" in done.out
    assert "invalid: 2: line 2: it is not JSON" in done.out
    assert "facts" in done.out
    shown = aideon("batches", "show", "last", "--json").document
    assert [item["id"] for item in shown["failed_items"]] == ["bad"]
    assert [item["id"] for item in shown["invalid_items"]] == ["2"]
    assert shown["waiting_items"] == []
    assert [node["node_path"] for node in shown["nodes"]] == ["facts"]
    assert shown["nodes"][0]["usd"] == shown["usd"]
    assert shown["out"].endswith("/out.jsonl")


def test_a_batch_without_calls_is_shown(aideon, folder):
    (folder / "items.jsonl").write_text('"x"\n')
    aideon("batch", "echo.py", "items.jsonl", "-o", "out.jsonl")
    assert "1 completed" in aideon("batches", "show", "last").out


def test_a_reference_that_fits_none_or_several_is_one_line(aideon, ran):
    assert "no batch 'x' in " in aideon("batches", "show", "x").complaint
    assert "no batch '' in " in aideon("batches", "show", "").complaint
    with Ledger(".aideon/ledger.db") as ledger:
        found = batches.find_batch(ledger, ran)
        known = {name: getattr(found, name) for name in batches.Batch.__annotations__}
        for number in range(6):
            start = batches.Batch(
                **known | {"batch_id": f"{ran[:-1]}{number}", "identity": str(number)}
            )
            batches.take(ledger, start, None)
    complaint = aideon("batches", "show", ran[:5]).complaint
    assert f"several batches begin with '{ran[:5]}', write more of one: " in complaint
    assert complaint.endswith(", ...")


def test_without_any_batch_the_last_one_is_none(aideon):
    assert "yet: start one with `aideon batch`" in aideon("batches", "show", "last").complaint


def test_what_does_not_run_need_not_be_cancelled(aideon, ran):
    done = aideon("batches", "cancel", ran)
    assert (done.code, done.err) == (0, f"batch {ran} is completed: no item is running\n")
    shown = aideon("batches", "show", ran, "--json").document
    for verb in ("cancel", "forget"):
        told = aideon("batches", verb, ran, "--json").document
        assert (told["batch_id"], told["status"]) == (shown["batch_id"], "completed")


def test_a_batch_that_runs_is_cancelled_and_not_forgotten(aideon, ran):
    with Ledger(".aideon/ledger.db") as ledger:
        found = batches.find_batch(ledger, ran)
        known = {name: getattr(found, name) for name in batches.Batch.__annotations__}
        batches.take(ledger, batches.Batch(**known), None)  # by this process, which lives
        assert f"{ran} is running in process" in aideon("batches", "forget", ran).complaint
        assert (
            "is ending; repeat its command to continue it later"
            in aideon("batches", "cancel", ran).err
        )
        assert batches.heartbeat(ledger, ran)
        assert "running" in aideon("batches", "list").out


def test_a_forgotten_batch_is_begun_anew(aideon, ran):
    assert "is forgotten" in aideon("batches", "forget", ran).err
    done = aideon("batch", "may_break.py", "items.jsonl", "-o", "new.jsonl", "--json")
    assert done.document["batch_id"] != ran


def test_the_id_of_a_batch_is_whole_on_a_narrow_terminal(aideon, ran, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", aideon("batches", "list").out)
    assert max(map(len, shown.splitlines())) <= 80
    assert ran in shown.split()


def test_a_run_of_a_batch_goes_on_with_its_batch(aideon, ran):
    failed = aideon("batches", "show", ran, "--json").document["failed_items"][0]["run_id"]
    shown = aideon("runs", "show", failed)
    assert shown.err == "continue with: aideon batch ... --retry-failed\n"


def test_failures_are_grouped_by_error_with_one_example(aideon, folder):
    (folder / "breaks.py").write_text(
        "from aideon_agents import sequential\n"
        "def check(state):\n"
        "    task = state['task']\n"
        "    if task.startswith('no'):\n        raise KeyError(f'ticket-{task[2:]} is unknown')\n"
        "    if task.startswith('5'):\n        raise ValueError(f'the server answered {task}')\n"
        "    return task\n"
        "graph = sequential(check)\n"
    )
    tasks = ["no17", "no18", "500", "503", "fine", "no19", ""]
    lines = [json.dumps({"id": f"i{place}", "task": task}) for place, task in enumerate(tasks)]
    (folder / "items.jsonl").write_text("\n".join(lines))
    aideon("batch", "breaks.py", "items.jsonl", "-o", "out.jsonl")
    found = aideon("batches", "show", "last", "--failed", "--json").document["failures"]
    assert [(one["items"], one["status"], one["item_id"]) for one in found] == [
        (3, "failed", "i0"), (1, "failed", "i2"), (1, "failed", "i3"), (1, "invalid", "i6"),
    ]  # fmt: skip
    done = aideon("batches", "show", "last", "--failed")
    assert done.out.startswith("3 items failed: check: KeyError: 'ticket-17 is unknown'")
    assert f"    for example i0: see `aideon runs show {found[0]['run_id']}`" in done.out
    assert done.out.rstrip().endswith("for example i6")


def test_a_batch_without_failures_says_so(aideon, folder):
    (folder / "items.jsonl").write_text('{"task": "Pumps."}')
    aideon("batch", "brief", "items.jsonl", "-o", "out.jsonl")
    done = aideon("batches", "show", "last", "--failed")
    assert (done.code, done.out) == (0, "")
    assert "has failed" in done.err


def test_costs_name_the_items_of_one_batch(aideon, folder):
    rows = [json.dumps({"id": one, "task": "Pumps."}) for one in "ab"]
    (folder / "items.jsonl").write_text("\n".join(rows))
    aideon("run", "brief", "--task", "x")
    aideon("batch", "brief", "items.jsonl", "-o", "out.jsonl")
    costs = ("costs", "--rehearsed", "--json")
    batch = aideon("batches", "show", "last", "--json").document["batch_id"]
    made = aideon(*costs, "--by", "item", "--batch", "last").document
    assert sorted(row["key"] for row in made["rows"]) == [f"{batch}/a", f"{batch}/b"]
    whole = aideon(*costs, "--by", "batch").document
    assert {row["key"] for row in whole["rows"]} == {batch, ""}
    assert aideon("costs", "--batch", "nothing").code == 2


def test_two_batches_are_compared_item_by_item(aideon, folder):
    source = (
        "from aideon_agents import sequential\n"
        "def answer(state):\n"
        "    {body}\n"
        "    return state['task'].upper()\n"
        "graph = sequential(answer)\n"
    )
    items = {"same": "x", "other": "y", "breaks": "z"}

    def batch(body, items, out):
        (folder / "flow.py").write_text(source.format(body=body))
        lines = (json.dumps({"id": name, "task": task}) for name, task in items.items())
        (folder / "items.jsonl").write_text("\n".join(lines))
        return aideon("batch", "flow.py", "items.jsonl", "-o", out, "--json").document["batch_id"]

    first = batch("pass", items | {"gone": "x"}, "a.jsonl")
    second = batch(
        "assert state['task'] != 'z'\n    if state['task'] == 'y': return 'new \x1b[31m'",
        items | {"more": "x"},
        "b.jsonl",
    )
    found = aideon("batches", "diff", first, second, "--json").document
    assert (found["a"], found["b"]) == (first, second)
    assert found["counts"] == {"output": 2, "status": 1, "only in A": 1, "only in B": 1}
    by_id = {one["id"]: one for one in found["items"]}
    assert set(by_id) == {"other", "breaks", "gone", "more"}
    assert by_id["other"]["differs"] == ["output"]
    assert (by_id["other"]["a"]["output"], by_id["other"]["b"]["output"]) == ("Y", "new \x1b[31m")
    assert by_id["breaks"]["differs"] == ["status", "output"]
    assert (by_id["gone"]["b"], by_id["more"]["a"]) == (None, None)
    done = aideon("batches", "diff", first, "last")
    assert "status: 1, output: 2, only in A: 1, only in B: 1" in done.out
    assert "\x1b" not in done.out
    assert "completed" in done.out
    assert "no item differs" in aideon("batches", "diff", first, first).err
    assert aideon("batches", "diff", first, "nothing").code == 2


def test_a_batch_that_was_carried_over_differs_only_where_it_was_mended(aideon, folder):
    (folder / "flow.py").write_text(
        "from aideon_agents import sequential\n"
        "graph = sequential(lambda state: state['task'].upper(), name='flow')\n"
    )
    ids = []
    for mended in ("y", "z"):
        lines = [json.dumps({"id": one, "task": task}) for one, task in (("a", "x"), ("b", mended))]
        (folder / "items.jsonl").write_text("\n".join(lines))
        done = aideon("batch", "flow.py", "items.jsonl", "-o", "out.jsonl", "--json")
        ids.append(done.document["batch_id"])
    assert f"1 carried over from batch {ids[0]}\n" in aideon("batches", "show", "last").out
    shown = aideon("batches", "show", "last", "--json").document
    assert (shown["carried"], shown["carried_from"]) == (1, ids[0])
    found = aideon("batches", "diff", *ids, "--json").document
    assert [(one["id"], one["a"]["output"], one["b"]["output"]) for one in found["items"]] == [
        ("b", "Y", "Z")
    ]


def test_an_invalid_item_with_a_taken_id_and_a_line_that_is_gone_are_no_differences(aideon, folder):
    source = (
        "from aideon_agents import sequential\n"
        "def answer(state):\n"
        "    assert state['task'] not in {bad}\n"
        "    return state['task'].upper()\n"
        "graph = sequential(answer)\n"
    )
    lines = [("a", "x"), ("b", "y"), ("c", "z"), ("a", "twice")]
    (folder / "items.jsonl").write_text(
        "\n".join(json.dumps({"id": one, "task": task}) for one, task in lines)
    )
    ids = []
    for bad in (["y", "z"], ["z"]):
        (folder / "flow.py").write_text(source.format(bad=bad))
        command = ("batch", "flow.py", "items.jsonl", "-o", "out.jsonl", "--retry-failed", "--json")
        ids.append(aideon(*command).document["batch_id"])
    assert ids[0] != ids[1]
    assert "no item differs" in aideon("batches", "diff", ids[1], ids[1]).err
    # The new OUT has replaced the old one, and with it the lines of the failed items.
    found = aideon("batches", "diff", *ids, "--json").document
    assert [(one["id"], one["differs"]) for one in found["items"]] == [("b", ["status"])]
    assert found["items"][0]["a"] == {
        "status": "failed",
        "output": None,
        "models": None,
        "usd": None,
    }


def test_the_list_of_batches_breaks_no_word_at_80_columns(aideon, folder, monkeypatch):
    (folder / "flow.py").write_text("graph = lambda state: 'x'")
    (folder / "items.csv").write_text("id,task\na,x\nb,\nc,\n")
    done = aideon("batch", "flow.py", "items.csv", "-o", "out.csv", "--rehearse", "--json")
    monkeypatch.setenv("COLUMNS", "80")
    with monkeypatch.context() as terminal:
        terminal.setattr("sys.stdout.isatty", lambda: True)
        shown = re.sub(r"\x1b\[\d*m", "", aideon("batches", "list").out)
    assert max(map(len, shown.splitlines())) <= 80
    for word in (done.document["batch_id"], "completed,", "rehearsed", "3 of 3,", "invalid"):
        assert word in shown


def test_a_batch_with_a_table_names_the_table(aideon, folder):
    (folder / "flow.py").write_text("graph = lambda state: 'x'")
    (folder / "items.csv").write_text("id,task\na,x\n")
    for out, named in (("out.csv", "out.csv"), ("other.csv.jsonl", "other.csv.jsonl")):
        (folder / "items.csv").write_text(f"id,task\na,{out}\n")
        aideon("batch", "flow.py", "items.csv", "-o", out, "--json")
        assert f"results: {folder / named}\n" in aideon("batches", "show", "last").out
        assert aideon("batches", "show", "last", "--json").document["out"] == str(folder / named)


def test_failures_of_a_chain_are_the_same_in_any_order(aideon, folder):
    (folder / "flow.py").write_text(
        "def graph(state): raise RuntimeError('every model failed: ' + state['task'] + '; so it ends')"
    )
    tasks = ["a:m answered 500 (2 times); a:m broke off", "a:m broke off; a:m answered 500"]
    tasks += ["a:m answered 429", "a:m broke off (3 times); a:m answered 500"]
    (folder / "items.jsonl").write_text("\n".join(json.dumps(one) for one in tasks))
    aideon("batch", "flow.py", "items.jsonl", "-o", "out.jsonl")
    found = aideon("batches", "show", "last", "--failed", "--json").document["failures"]
    assert [one["items"] for one in found] == [3, 1]
