from __future__ import annotations

import json
from datetime import UTC, date, datetime

from aideon_agents.ledger.costs import Totals, cost_of, run_cost, tokens_text
from aideon_agents.ledger.documents import (
    call_document,
    cost_document,
    node_document,
    report_document,
)
from aideon_agents.ledger.pricing import PricedModel, Usage
from aideon_agents.ledger.reports import report

USAGE = Usage(input_tokens=3210, output_tokens=890)


def test_a_runs_cost_has_the_keys_that_scripts_rely_on(ledger, run_id, record):
    record(ledger, run_id, usage=USAGE, nanousd=1_234_000)
    record(ledger, run_id, status="error", nanousd=0)
    assert cost_document(run_cost(ledger, run_id)) == {
        "usd": "0.001234",
        "complete": True,
        "calls": 2,
        "failed_calls": 1,
        "input_tokens": 3210,
        "output_tokens": 890,
    }


def test_a_nodes_cost_has_the_keys_that_scripts_rely_on(ledger, run_id, record):
    record(ledger, run_id, node_path="refine/draft", status="started")
    (node,) = run_cost(ledger, run_id).by_node.values()
    assert node_document(node) == {
        "node_path": "refine/draft",
        "role": "creative",
        "calls": 1,
        "failed_calls": 0,
        "input_tokens": None,
        "output_tokens": None,
        "usd": "0.000000",
        "complete": False,
        "models": ["together:small"],
        "duration_ms": 0,
        "truncated": False,
    }


NO_USAGE = {"price_source": "own server"}
OF_LOCAL = {"provider": "local", "nanousd": 0, "end": NO_USAGE}


def test_tokens_that_no_server_reported_are_null_and_part_of_them_is_a_lower_bound(
    ledger, run_id, record
):
    def documents():
        cost = run_cost(ledger, run_id)
        (node,) = cost.by_node.values()
        (row,) = report_document(report(ledger, "provider"))["rows"]
        again = cost_document(cost_of(ledger.calls(run_id)))
        return [
            (one["input_tokens"], one["output_tokens"], one["complete"])
            for one in (cost_document(cost), node_document(node), row, again)
        ]

    record(ledger, run_id, **OF_LOCAL)
    assert documents() == [(None, None, False)] * 4
    assert run_cost(ledger, run_id).complete, "its price is known: nothing"
    refused = {"price_source": "not billed"}
    record(ledger, run_id, provider="local", status="error", nanousd=0, end=refused)
    assert documents() == [(None, None, False)] * 4, "a call that was refused used no tokens"
    record(ledger, run_id, usage=USAGE, **OF_LOCAL)
    assert documents() == [(3210, 890, False)] * 4


def test_a_call_that_was_refused_used_no_tokens(ledger, run_id, record):
    record(ledger, run_id, status="error", nanousd=0)
    cost = cost_document(run_cost(ledger, run_id))
    assert (cost["input_tokens"], cost["complete"]) == (0, True)


def test_sums_of_tokens_say_what_is_known_for_people():
    unknown = Totals(calls=1, input_tokens=None, output_tokens=None, counted=False)
    known = Totals(calls=1, input_tokens=3210, output_tokens=890)
    for one, shown in ((unknown, "?"), (known, "3,210"), (unknown + known, ">= 3,210")):
        assert tokens_text(one.input_tokens, counted=one.counted) == shown
    assert (Totals() + unknown).input_tokens is None


def test_a_report_has_the_keys_that_scripts_rely_on(ledger, run_id, record):
    record(ledger, run_id, usage=USAGE, nanousd=1_234_000, end={"duration_ms": 2500})
    known = {
        "calls": 1,
        "failed_calls": 0,
        "input_tokens": 3210,
        "output_tokens": 890,
        "usd": "0.001234",
        "complete": True,
        "failed_share": 0.0,
        "success_rate": 1.0,
        "tokens_per_second": 356.0,
        "median_ms": 2500,
        "p95_ms": 2500,
        "run_success_rate": None,
    }
    document = report_document(report(ledger, "model"))
    assert document == {
        "by": "model",
        "since": None,
        "until": None,
        "rows": [{"key": "together:small", **known}],
        "total": {**known, "economized_calls": 0, "shortened_calls": 0},
    }
    assert list(document["rows"][0]) == ["key", *known], "what scripts know comes first"


def test_what_another_model_would_have_cost_stands_beside_the_rest(ledger, run_id, record):
    record(ledger, run_id, usage=USAGE, nanousd=1_234_000)
    document = report_document(report(ledger, "model", against=PricedModel("openai:gpt-4o")))
    against = {"model": "openai:gpt-4o", "usd": "0.016925", "complete": True}
    assert document["total"]["against"] == document["rows"][0]["against"] == against


def test_a_share_that_is_small_is_not_rounded_to_nothing(ledger, run_id, record):
    record(ledger, run_id, status="error", nanousd=0)
    for _ in range(2):
        record(ledger, run_id, nanousd=0)
    assert report_document(report(ledger, "model"))["total"]["failed_share"] == 0.333333


def test_a_report_repeats_the_time_it_is_about(ledger):
    until = datetime(2026, 11, 20, 9, tzinfo=UTC)
    document = report_document(report(ledger, "day", since=date(2026, 11, 1), until=until))
    assert (document["since"], document["until"]) == ("2026-11-01", "2026-11-20T09:00:00.000Z")


def test_a_calls_row_has_the_keys_that_scripts_rely_on_in_their_order(ledger, run_id, record):
    record(ledger, run_id, usage=USAGE, nanousd=1_234_000)
    record(ledger, run_id, status="started")
    done, started = (call_document(call) for call in ledger.calls(run_id))
    assert ", ".join(done) == (
        "call_id, node_path, role, round, candidate, attempt, provider, requested_model,"
        " response_model, status, error_type, finish_reason, shortened, input_tokens,"
        " output_tokens, cache_read_tokens, cache_creation_tokens, reasoning_tokens, usage_source,"
        " usd, price_source, started_at, duration_ms, time_to_first_token_ms, rehearsed,"
        " simulated, truncated, choice, feature, modality, unit, quantity, provider_job, cost_told,"
        " processing, key_source"
    )
    assert (done["usd"], done["shortened"], done["attempt"]) == ("0.001234", False, 1)
    assert (started["usd"], started["status"], started["usage_source"]) == (None, "started", "none")
    json.dumps([done, started])
