"""`aideon costs`: what was spent, by any dimension and in any time."""

from __future__ import annotations

import re

import pytest

TOTALS = ["calls", "failed_calls", "input_tokens", "output_tokens", "usd", "complete"]
MEASURES = [
    "failed_share",
    "success_rate",
    "tokens_per_second",
    "median_ms",
    "p95_ms",
    "run_success_rate",
]
BUDGETED = ["economized_calls", "shortened_calls"]


@pytest.fixture
def ran(aideon):
    """A rehearsed run as it is listed."""
    aideon("run", "two.py", "--task", "Pumps move heat.")
    return aideon("runs", "list", "--json").document[0]


def expected_keys(by: str, ran: dict) -> set[str]:
    return {
        "node": {"facts", "text"},
        "role": {"executor", "creative"},
        "model": {"together:Qwen/Qwen3.5-9B", "together:openai/gpt-oss-120b"},
        "provider": {"together"},
        "workflow": {"two"},
        "purpose": {"research", ""},
        "run": {ran["run_id"]},
        "user": {"ada"},
        "day": {ran["started_at"][:10]},
        "month": {ran["started_at"][:7]},
    }[by]


@pytest.mark.parametrize(
    "by",
    ["node", "role", "model", "provider", "workflow", "purpose", "run", "user", "day", "month"],
)
def test_costs_by_each_dimension_add_up_to_the_same(aideon, ran, by):
    document = aideon("costs", "--rehearsed", "--by", by, "--json").document
    assert list(document) == ["by", "since", "until", "rows", "total"]
    assert document["by"] == by
    keys = ["key", *TOTALS, *MEASURES]
    assert [list(row) for row in document["rows"]] == [keys] * len(document["rows"])
    assert {row["key"] for row in document["rows"]} == expected_keys(by, ran)
    cost = ran["cost"]
    assert {name: document["total"][name] for name in TOTALS} == {
        name: cost[name] for name in TOTALS
    }
    assert list(document["total"]) == [*TOTALS, *MEASURES, *BUDGETED]
    assert document["total"]["run_success_rate"] == 1
    assert sum(row["calls"] for row in document["rows"]) == 2


def test_an_unknown_dimension_names_the_known_ones(aideon):
    done = aideon("costs", "--by", "colour")
    assert done.code == 2
    assert done.complaint.startswith("--by colour: use one of node, role, model, provider")


def test_rehearsed_calls_are_counted_where_asked_for_alone(aideon, ran):
    done = aideon("costs")
    assert (done.code, done.out) == (0, "")
    assert "--rehearsed" in done.err
    document = aideon("costs", "--json").document
    assert document["rows"] == []
    assert document["total"] == {
        **dict(zip(TOTALS, (0, 0, 0, 0, "0.000000", True), strict=True)),
        **dict.fromkeys(MEASURES),
        **dict.fromkeys(BUDGETED, 0),
    }


def test_without_any_call_rehearsals_are_not_offered_once_they_are_counted(aideon):
    assert aideon("costs", "--rehearsed", "--simulated").err == "nothing was spent\n"
    assert "--rehearsed" not in aideon("costs", "--rehearsed").err


def test_a_person_gets_a_table_with_a_total(aideon, ran):
    done = aideon("costs", "--rehearsed", "--by", "purpose")
    assert re.search(r"purpose +calls +failed +in +out +cost", done.out)
    assert re.search(r"research +1 +0 +\d+ +\d+ +\$0\.\d{6}", done.out)
    assert re.search(r"- +1 +0 +\d+ +\d+ +\$0\.\d{6}", done.out)
    assert re.search(r"total +2 +0 +\d+ +\d+ +\$0\.\d{6}", done.out)
    assert done.err == ""


def test_one_run_alone_can_be_counted(aideon, ran):
    aideon("run", "one.py", "--task", "x")
    everything = aideon("costs", "--rehearsed", "--json").document
    last = aideon("costs", "--rehearsed", "--run", "last", "--json").document
    first = aideon("costs", "--rehearsed", "--run", ran["run_id"], "--json").document
    calls = [document["total"]["calls"] for document in (everything, last, first)]
    assert calls == [3, 1, 2]
    assert aideon("costs", "--run", "ZZZ").code == 2


@pytest.mark.parametrize(
    ("since", "until", "calls"),
    [
        ("{day}", None, 2),
        (None, "{day}", 2),
        ("{day}", "{day}", 2),
        ("2020-01-01", "2020-12-31", 0),
        ("2999-01-01", None, 0),
        (None, "2020-01-01T08:00", 0),
        ("2020-01-01 08:00", "2999-01-01T00:00+02:00", 2),
    ],
)
def test_costs_can_be_cut_to_a_time(aideon, ran, since, until, calls):
    day = ran["started_at"][:10]
    flags = []
    for flag, moment in (("--since", since), ("--until", until)):
        flags += [flag, moment.format(day=day)] if moment else []
    document = aideon("costs", "--rehearsed", "--json", *flags).document
    assert document["total"]["calls"] == calls
    assert (document["since"] is None, document["until"] is None) == (since is None, until is None)


def test_a_moment_without_a_zone_is_utc(aideon):
    document = aideon("costs", "--json", "--since", "2026-11-20T08:00", "--until", "2026-11-21")
    assert document.document["since"] == "2026-11-20T08:00:00.000Z"
    assert document.document["until"] == "2026-11-21"


def test_the_dearest_rows_alone_can_be_shown(aideon, ran):
    every = aideon("costs", "--rehearsed", "--json").document
    top = aideon("costs", "--rehearsed", "--json", "--top", "1").document
    assert top["rows"] == every["rows"][:1]
    assert top["total"] == every["total"]
    shown = aideon("costs", "--rehearsed", "--top", "1").out
    assert shown.endswith("\nthe 1 most expensive of 2 rows; the total includes all\n")
    assert "most expensive" not in aideon("costs", "--rehearsed", "--top", "2").out
    assert aideon("costs", "--top", "0").code == 2


def test_a_ledger_that_is_none_is_one_line_and_code_2(aideon, folder, monkeypatch):
    (folder / "notes.db").write_text("this is no database, and longer than a header is" * 20)
    monkeypatch.setenv("AIDEON_LEDGER", "notes.db")
    done = aideon("costs")
    assert done.code == 2
    assert "notes.db is not a ledger" in done.complaint
