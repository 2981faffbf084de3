from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aideon_agents.errors import RunNotFound
from aideon_agents.ledger.costs import cost, cost_of, run_cost
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.reports import report, reports
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.selection import DIMENSIONS, Selection

USAGE = Usage(input_tokens=10, output_tokens=4)

calls = st.lists(
    st.fixed_dictionaries(
        {
            "run": st.integers(0, 2),
            "node_path": st.sampled_from(["", "plan", "refine/draft"]),
            "role": st.sampled_from(["", "planner", "creative"]),
            "provider": st.sampled_from(["together", "openai"]),
            "requested_model": st.sampled_from(["small", "large"]),
            "purpose": st.sampled_from([None, "", "triage"]),
            "at": st.sampled_from(["2026-10-31T23:59:59.999Z", "2026-11-01T00:00:00.000Z"]),
            "status": st.sampled_from(["ok", "error", "cancelled", "broken", "cached", "started"]),
            "usage": st.none()
            | st.builds(
                Usage, input_tokens=st.integers(0, 10**7), output_tokens=st.integers(0, 10**7)
            ),
            "nanousd": st.none() | st.integers(0, 10**12),
        }
    ),
    max_size=12,
)


def sums(totals):
    return (
        totals.calls,
        totals.failed_calls,
        totals.input_tokens or 0,
        totals.output_tokens or 0,
        totals.usd,
        totals.complete,
    )


def together(parts):
    rows = [sums(part) for part in parts]
    added = (sum(row[column] or 0 for row in rows) for column in range(5))
    return (*added, all(row[5] for row in rows))


@settings(max_examples=40, deadline=None)
@given(calls)
def test_the_sum_over_calls_is_the_same_by_every_dimension(new_ledger, record, written):
    with new_ledger() as ledger:
        runs = [
            ledger.start_run(
                Run(workflow=f"w{number % 2}", user=user, batch_id="B", item_id=f"{number % 2}")
            )
            for number, user in enumerate([None, "ada", "bob"])
        ]
        for call in written:
            rest = {key: value for key, value in call.items() if key != "run"}
            record(ledger, runs[call["run"]], **rest)

        rows = [call for run_id in runs for call in ledger.calls(run_id)]
        known = [row.cost_nanousd for row in rows if row.cost_nanousd is not None]
        asked = [row for row in rows if row.status != "cached"]  # no provider counts its tokens
        by_hand = (
            len(rows),
            sum(row.status in {"error", "broken"} for row in rows),
            sum(row.input_tokens or 0 for row in asked),
            sum(row.output_tokens or 0 for row in asked),
            Decimal(sum(known)) / 10**9,
            len(known) == len(rows),
        )
        costs = [run_cost(ledger, run_id) for run_id in runs]
        assert together(costs) == by_hand
        assert [together(one.by_node.values()) for one in costs] == [sums(one) for one in costs]
        of_rows = [cost_of(ledger.calls(run_id)) for run_id in runs]
        assert of_rows == costs, "rows that have been read add up to the same"
        whole = cost(ledger.database, batch_id="B")
        items = [cost(ledger.database, batch_id="B", item_ids=[item]) for item in "01"]
        assert sums(whole) == together(whole.by_node.values()) == together(items) == by_hand
        for by in DIMENSIONS:
            found = report(ledger, by)
            assert sums(found.total) == by_hand, by
            assert together(found.rows) == by_hand, by
        for run_id, one in zip(runs, costs, strict=True):
            assert sums(report(ledger, "node", run_id=run_id).total) == sums(one)


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ("node", "refine/draft"),
        ("role", "creative"),
        ("model", "together:openai/gpt-oss-120b"),
        ("provider", "together"),
        ("workflow", "article"),
        ("purpose", "triage"),
        ("user", "ada"),
        ("day", "2026-11-20"),
        ("month", "2026-11"),
    ],
)
def test_a_row_is_named_by_its_dimension(ledger, run_id, record, by, key):
    record(
        ledger,
        run_id,
        node_path="refine/draft",
        purpose="triage",
        requested_model="openai/gpt-oss-120b",
        nanousd=5,
    )
    assert [row.key for row in report(ledger, by).rows] == [key]
    assert [row.key for row in report(ledger, "run").rows] == [run_id]


def test_what_an_item_and_a_batch_cost_is_reported(ledger, record):
    runs = [
        ledger.start_run(Run(workflow="w", batch_id=batch, item_id=item))
        for batch, item in (("B1", "a"), ("B1", "a"), ("B1", "b"), ("B2", "a"), (None, None))
    ]
    for nanousd, run_id in enumerate(runs, start=1):
        record(ledger, run_id, nanousd=nanousd)
    items = {row.key: row.usd * 10**9 for row in report(ledger, "item").rows}
    assert items == {"B1/a": 3, "B1/b": 3, "B2/a": 4, "": 5}
    assert [row.key for row in report(ledger, "batch").rows] == ["B1", "", "B2"]
    (only,) = reports(ledger, ("item",), Selection(batch_id="B1"))
    assert {row.key for row in only.rows} == {"B1/a", "B1/b"}
    assert only.total.usd * 10**9 == 6


def test_a_call_whose_run_is_not_recorded_is_still_counted(ledger, record):
    record(ledger, "01NOWHERE", nanousd=5)
    found = report(ledger, "workflow")
    assert [(row.key, row.usd) for row in found.rows] == [("", Decimal("5e-9"))]


def test_the_dearest_row_comes_first_and_days_come_in_order(ledger, run_id, record):
    record(ledger, run_id, provider="b", nanousd=1, at="2026-11-02T00:00:00.000Z")
    record(ledger, run_id, provider="a", nanousd=1, at="2026-11-01T00:00:00.000Z")
    record(ledger, run_id, provider="z", nanousd=9, at="2026-11-03T00:00:00.000Z")
    assert [row.key for row in report(ledger, "provider").rows] == ["z", "a", "b"]
    days = [row.key for row in report(ledger, "day").rows]
    assert days == ["2026-11-01", "2026-11-02", "2026-11-03"]


@pytest.mark.parametrize(
    ("since", "until", "counted"),
    [
        (None, None, 3),
        (date(2026, 11, 2), None, 2),
        (None, date(2026, 11, 2), 2),
        (date(2026, 11, 2), date(2026, 11, 2), 1),
        (datetime(2026, 11, 2, 12, tzinfo=UTC), None, 2),
        (None, datetime(2026, 11, 2, 12, tzinfo=UTC), 1),
        (datetime(2026, 11, 2, 12), datetime(2026, 11, 2, 12, 0, 1), 1),  # noqa: DTZ001 - is UTC
    ],
)
def test_a_day_as_the_end_is_part_of_the_report_and_a_time_is_not(
    ledger, record, since, until, counted
):
    for day in (1, 2, 3):
        record(ledger, "01A", at=f"2026-11-0{day}T12:00:00.000Z")
    assert report(ledger, "day", since=since, until=until).total.calls == counted


def test_the_last_of_all_days_can_be_an_end(ledger, record):
    record(ledger, "01A", at="2026-11-20T23:59:59.999Z")
    assert report(ledger, "day", until=date(2026, 11, 20)).total.calls == 1
    assert report(ledger, "day", until=date(9999, 12, 31)).total.calls == 1


def test_the_dearest_rows_alone_leave_the_total_as_it_is(ledger, run_id, record):
    for nanousd, day in ((3, 2), (9, 3), (5, 1), (1, 4)):
        at = f"2026-11-0{day}T00:00:00.000Z"
        record(ledger, run_id, node_path=f"n{nanousd}", nanousd=nanousd, at=at)
    nodes, days = reports(ledger, ("node", "day"), Selection(), top=2)
    assert [row.key for row in nodes.rows] == ["n9", "n5"]
    assert [row.key for row in days.rows] == ["2026-11-01", "2026-11-03"], "days in their order"
    assert (nodes.left_out, days.left_out) == (2, 2)
    assert nodes.total.usd == days.total.usd == Decimal("18e-9")
    assert report(ledger, "node", top=9).left_out == 0


def test_rehearsed_calls_stand_apart_unless_asked_for(ledger, run_id, record):
    rehearsal = ledger.start_run(Run(workflow="article", rehearsed=True))
    record(ledger, rehearsal, rehearsed=True, nanousd=7)
    record(ledger, run_id, rehearsed=True, nanousd=7)
    record(ledger, run_id, nanousd=1)
    assert report(ledger, "run").total.usd == Decimal("1e-9")
    assert report(ledger, "run", rehearsed=True).total.usd == Decimal("15e-9")
    assert run_cost(ledger, run_id).usd == Decimal("1e-9")
    assert run_cost(ledger, rehearsal).usd == Decimal("7e-9")


def test_a_node_tells_its_role_its_models_and_its_time(ledger, run_id, record):
    record(ledger, run_id, node_path="b", role="", requested_model="first", nanousd=1)
    record(ledger, run_id, node_path="a", nanousd=2, usage=USAGE)
    record(ledger, run_id, node_path="b", requested_model="second", status="error")
    record(ledger, run_id, node_path="b", requested_model="first", nanousd=3)
    first, second = run_cost(ledger, run_id).by_node.values()
    assert (first.node_path, second.node_path) == ("b", "a"), "in order of first start"
    assert first.models == ("together:first", "together:second")
    assert (first.role, first.calls, first.failed_calls) == ("creative", 3, 1)
    assert (first.usd, first.complete, first.duration_ms) == (Decimal("4e-9"), False, 15)
    assert (second.input_tokens, second.output_tokens, second.complete) == (10, 4, True)


def test_a_run_without_calls_costs_nothing_and_that_is_all_of_it(ledger, run_id):
    nothing = run_cost(ledger, "last")
    assert (nothing.usd, nothing.complete, nothing.calls, nothing.by_node) == (0, True, 0, {})


def test_the_cost_of_no_run_is_an_error(ledger):
    with pytest.raises(RunNotFound):
        run_cost(ledger, "01ZZ")


def test_an_answer_that_was_asked_for_again_is_not_called_cut_off(ledger, record):
    run_id = ledger.start_run(Run(workflow="w"))
    record(ledger, run_id, at="2026-11-20T09:00:00.000Z", end={"truncated": True})
    record(ledger, run_id, at="2026-11-20T09:00:01.000Z")
    record(ledger, run_id, at="2026-11-20T09:00:02.000Z", round=2, end={"truncated": True})
    for found in (run_cost(ledger, run_id), cost_of(ledger.calls(run_id))):
        assert found.by_node["draft"].truncated
    record(ledger, run_id, at="2026-11-20T09:00:03.000Z", round=2)
    for found in (run_cost(ledger, run_id), cost_of(ledger.calls(run_id))):
        assert not found.by_node["draft"].truncated
