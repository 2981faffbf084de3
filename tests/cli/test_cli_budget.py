"""`aideon budget`: limits that stand, and what a run does under them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from aideon_agents import Budget, UserError
from aideon_agents.testing import SimulatedProvider

# apprise still asks for a module that Python is about to drop, and does without it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

TASK = ("--task", "Write about heat pumps. They move heat.")


@pytest.fixture
def keyed(monkeypatch):
    """A key for a simulated provider that answers as a real one."""
    with SimulatedProvider(announce=False) as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "any-key-at-all")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        yield provider


def budgets(aideon):
    return {one["scope"]: one for one in aideon("budget", "list", "--json").document["budgets"]}


def test_a_new_ledger_warns_at_five_dollars_a_day_and_a_hundred_a_month(aideon):
    standing = budgets(aideon)
    assert [(one["scope"], one["usd"], one["enforced"]) for one in standing.values()] == [
        ("day", "5.000000", False),
        ("month", "100.000000", False),
    ]


def test_a_limit_is_set_replaced_and_removed(aideon):
    assert aideon("budget", "set", "user:alice", "3").code == 0
    assert aideon("budget", "set", "user:alice", "$4.5", "--warn").code == 0
    assert budgets(aideon)["user:alice"] == {
        "scope": "user:alice",
        "usd": "4.500000",
        "enforced": False,
        "window": None,
        "spent_usd": "0.000000",
        "held_usd": "0.000000",
    }
    assert aideon("budget", "remove", "user:alice").code == 0
    assert "user:alice" not in budgets(aideon)


def test_setting_and_removing_a_limit_give_a_script_all_limits(aideon):
    made = aideon("budget", "set", "user:alice", "3", "--json")
    assert (made.code, made.err) == (0, "")
    assert [one["scope"] for one in made.document["budgets"]] == ["day", "month", "user:alice"]
    gone = aideon("budget", "remove", "user:alice", "--json")
    assert (gone.code, gone.err) == (0, "")
    assert gone.document == aideon("budget", "list", "--json").document


def test_a_limit_for_each_one_has_no_sum(aideon):
    aideon("budget", "set", "day:user", "0.5")
    assert budgets(aideon)["day:user"]["spent_usd"] is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("set", "week", "3"), "'week' is not a scope"),
        (("set", "node:", "3"), "'node:' is not a scope"),
        (("set", "day", "much"), "'much' is not a budget"),
        (("set", "day", "nan"), "'nan' is not a budget"),
        (("set", "day", "0.0000000001"), "at most 9 decimals"),
        (("remove", "run"), "there is no budget on run"),
    ],
)
def test_a_mistake_is_told_in_one_line(aideon, words, told):
    done = aideon("budget", *words)
    assert done.code == 2
    assert told in done.complaint


def test_the_table_fits_a_terminal(aideon):
    aideon("budget", "set", "day:user:alice", "0.5")
    shown = aideon("budget", "list")
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "day:user:alice" in shown.out
    assert shown.err == "alerts go to the log\n"


def test_alert_channels_are_counted_beside_the_limits(aideon, folder):
    (folder / ".aideon").mkdir()
    conf = folder / ".aideon" / "apprise.conf"
    for count, said in ((1, "1 channel"), (2, "2 channels")):
        conf.write_text("json://127.0.0.1:1\n" * count)
        assert aideon("budget", "list").err == f"alerts go to the log and {said}\n"
        assert aideon("budget", "list", "--json").document["alert_channels"] == count


def test_without_any_limit_it_says_how_to_set_one(aideon):
    aideon("budget", "remove", "day")
    aideon("budget", "remove", "month")
    assert (
        aideon("budget", "list").err
        == "there are no budgets: set one with `aideon budget set day 5`\n"
    )


def test_a_run_stops_at_its_budget_and_goes_on_with_more(aideon, keyed):
    done = aideon("run", "two.py", *TASK, "--budget", "0.0003")
    shown = aideon("runs", "show", "last", "--json").document
    assert (done.code, shown["status"], shown["stop_reason"]) == (3, "stopped", "budget")
    assert f"continue with: aideon runs resume {shown['run_id']} --budget MORE" in done.err
    asked = len(keyed.requests)
    again = aideon("runs", "resume", "last", "--budget", "1", "--json")
    assert (again.code, again.document["status"]) == (0, "completed")
    assert again.document["cost"]["calls"] == len(keyed.requests) == 2
    assert asked == 1


def test_a_run_that_stops_for_want_of_a_price_resumes_once_it_is_there(aideon, keyed, folder):
    table = f'[tool.aideon.deployments.prod]\nbase_url = "{keyed.base_url}"\nmodel = "m"\n'
    (folder / "pyproject.toml").write_text(table, encoding="utf-8")
    done = aideon("run", "one.py", *TASK, "--model", "creative=prod:", "--budget", "1")
    assert done.code == 3
    assert "its price is unknown, and the run budget of $1 needs that: set price_in and" in done.err
    (hint,) = [line for line in done.err.splitlines() if line.startswith("continue with: ")]
    assert hint.endswith("  (once that is known: a higher budget does not help)")
    (folder / "pyproject.toml").write_text(f"{table}price_in = 1\nprice_out = 1\n", "utf-8")
    again = aideon(*hint.removeprefix("continue with: aideon ").partition("  (")[0].split())
    assert (again.code, len(keyed.requests)) == (0, 1)


def test_a_day_that_is_used_up_stops_every_run(aideon, keyed):
    aideon("budget", "set", "day", "0")
    done = aideon("run", "one.py", *TASK)
    assert done.code == 3
    assert "the day budget of $0" in done.err
    assert "aideon budget set day MORE" in done.err
    assert keyed.requests == []


def test_what_was_spent_counts_when_a_limit_is_set_afterwards(aideon, keyed):
    spent = aideon("run", "one.py", *TASK, "--json").document["cost"]["usd"]
    aideon("budget", "set", "provider:together", "1")
    assert budgets(aideon)["provider:together"]["spent_usd"] == spent


def test_a_rehearsal_counts_in_no_budget(aideon):
    aideon("budget", "set", "day", "0")
    assert aideon("run", "one.py", *TASK).code == 0


@pytest.mark.parametrize(("flag", "amount"), [("--budget", "0.0001"), ("--item-budget", "0.00018")])
def test_an_items_run_that_its_batchs_limit_stopped_goes_on_with_the_batch(
    aideon, keyed, folder, flag, amount
):
    (folder / "items.jsonl").write_text(json.dumps(TASK[1]) + "\n")
    batch = aideon("batch", "two.py", "items.jsonl", "-o", "out.jsonl", flag, amount, "--json")
    run_id = aideon("runs", "list", "--json").document[0]["run_id"]
    assert aideon("runs", "show", run_id, "--json").document["stop_reason"] == "budget", batch.err
    hint = aideon("runs", "show", run_id).err
    assert hint.startswith("continue with: aideon batch ... --budget MORE  (or --item-budget, ")
    refused = aideon("runs", "resume", run_id)
    assert refused.code == 3
    assert f"continue with: aideon batch ... {flag} MORE\n" in refused.err


@pytest.mark.parametrize(
    ("scope", "says"),
    [
        ("provider:Together", "there is no provider 'Together': write it in small letters"),
        (
            "day:provider:togehter",
            "no provider is called 'togehter': did you mean provider:together?",
        ),
        ("tier:Premium", "there is no tier 'Premium': write one of free, premium, enterprise"),
        ("month:tier:gold", "there is no tier 'gold'"),
        ("run:last", "limits no run: write its whole id, run:01"),
        ("run:01NOSUCHRUN", "no run '01NOSUCHRUN'"),
        ("batch:x", "x"),
        ("item:x", "there is no item 'x': write item:BATCH/ITEM"),
        ("item:nobatch/x", "nobatch"),
        ("node:/draft", "there is no node '/draft': write a node path"),
        ("node:draft/", "there is no node 'draft/'"),
    ],
)
def test_a_limit_of_what_cannot_exist_is_refused(aideon, scope, says):
    assert aideon("run", "one.py", "--task", "x").code == 0
    done = aideon("budget", "set", scope, "5")
    assert done.code == 2
    assert says in done.complaint
    assert set(budgets(aideon)) == {"day", "month"}  # as in any new ledger


def test_a_limit_of_a_run_that_is_there_is_set(aideon):
    run_id = aideon("run", "one.py", "--task", "x", "--json").document["run_id"]
    assert aideon("budget", "set", f"run:{run_id}", "5").code == 0


TYPED = ["1_000", "-0", "-1", "-0.0", "5,00", "1,000", "\u0665", "\uff15", "NaN", "Infinity", "inf", "", " ",
         "0.0000000001", "1e-10", "5 USD", "$-5", "$$5", "1e9999", "0x5", "True"]  # fmt: skip


@pytest.mark.parametrize("amount", TYPED)
def test_what_is_no_amount_is_refused_wherever_it_is_given(aideon, amount):
    for words in (
        ("budget", "set", "day", "--", amount),
        ("run", "one.py", "--task", "x", f"--budget={amount}"),
        ("runs", "resume", "last", f"--budget={amount}"),
        ("batch", "one.py", "items.jsonl", "-o", "out.jsonl", f"--item-budget={amount}"),
    ):
        Path("items.jsonl").write_text('"x"\n', encoding="utf-8")
        done = aideon(*words)
        assert done.code == 2, (words, done)
    with pytest.raises(UserError, match="is not a budget"):
        Budget(amount)


@pytest.mark.parametrize(
    "amount", ["5", " 5 ", "+5", "$5", "5.", "05.00", "5e0", "0.5E1", "5.000000000"]
)
def test_amounts_as_people_type_them_are_taken(aideon, amount):
    assert aideon("budget", "set", "day", amount).code == 0
    assert Decimal(budgets(aideon)["day"]["usd"]) == Decimal(5)
    assert Budget(amount).total == 5


def test_a_budget_in_python_names_what_can_exist():
    assert (
        Budget(1e-05, nodes={"refine/draft": 0.5}, providers={"together": 1}).total_nanousd
        == 10_000
    )
    for wrong in ({"nodes": {"": 1}}, {"nodes": {"a//b": 1}}, {"providers": {"Together": 1}}):
        with pytest.raises(UserError, match="there is no"):
            Budget(**wrong)
