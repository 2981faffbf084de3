"""Quotas: counted per UTC day in the transaction of what uses them, exactly, whoever else does so."""

from __future__ import annotations

import dataclasses
import signal
import subprocess

import pytest
import warm

from aideon_agents.access import increases, quotas, users
from aideon_agents.access.callers import Caller
from aideon_agents.errors import InputError, NotFound, QuotaExceeded, UserError
from aideon_agents.ledger.budgets import holds
from aideon_agents.ledger.budgets.limits import CallDimensions
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.rows import NOT_BILLED, Call, CallEnd, Run

ALICE = Caller("alice", "member", "free")
TEXT = "text_generation"

HAMMERS = """
import sys
from aideon_agents.access import quotas
from aideon_agents.access.callers import Caller
from aideon_agents.errors import QuotaExceeded
from aideon_agents.ledger.store import Ledger

url, name = sys.argv[1:]
caller, granted = Caller("alice", "member", "free"), 0
with Ledger.from_url(url) as ledger:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(30):
        try:
            with ledger.database.transaction() as tx:
                quotas.admit(tx, caller, "text_generation", f"{name}-{number}")
        except QuotaExceeded as refused:
            assert (refused.used, refused.limit) == (50, 50)
        else:
            granted += 1
    print(granted, flush=True)
    sys.stdin.readline()
"""

GRABS_TOKENS = """
import sys
from aideon_agents.ledger.budgets.limits import CallDimensions
from aideon_agents.ledger.budgets.units import Use
from aideon_agents.ledger.store import Ledger

url, name = sys.argv[1:]
use = Use("alice", "text_generation", "tokens", "2026-11-21", 30, 1000)
with Ledger.from_url(url) as ledger:
    place = CallDimensions(at="2026-11-21T12:00:00.000Z", run="r", node="draft", uses=(use,))
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(ledger.budgets.take(f"{name}-{n}", place, 0) is None for n in range(20)), flush=True)
    sys.stdin.readline()
"""


def admit(ledger, use_id, caller=ALICE, feature=TEXT, **given):
    with ledger.database.transaction() as tx:
        quotas.admit(tx, caller, feature, use_id, **given)


def requests_used(ledger, feature=TEXT):
    return quotas.used(ledger, "alice", "free")[feature]["requests_used"]


def together(ledger_url, code, count=4):
    """Start processes, let all of them go at once, and give their figures; then kill them."""
    started = [
        warm.Process(
            ["-c", code, ledger_url, f"p{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    figures = [int(process.stdout.readline()) for process in started]
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    return figures


def test_four_processes_that_try_120_times_are_granted_exactly_the_50_of_the_quota(
    ledger, ledger_url
):
    granted = together(ledger_url, HAMMERS)
    assert sum(granted) == 50
    assert requests_used(ledger) == 50  # they were killed, and their requests stay counted


def test_processes_hold_no_more_tokens_than_a_quota_has_and_lose_them_with_their_lives(
    ledger, ledger_url, monkeypatch
):
    granted = together(ledger_url, GRABS_TOKENS)
    assert sum(granted) == 33
    ledger.budgets.forfeit_dead()
    (counter,) = ledger.select("SELECT account, used, held FROM counters")
    assert tuple(counter.values() if isinstance(counter, dict) else counter) == (
        "day:2026-11-21:user:alice:text_generation:tokens",
        990,
        0,
    )
    states = {row["status"] for row in ledger.select("SELECT status FROM uses")}
    assert states == {"forfeited"}


def test_a_request_is_counted_once_however_often_its_run_resumes(ledger):
    for _ in range(3):
        admit(ledger, "run-1")
    assert requests_used(ledger) == 1


def test_a_request_is_given_back_when_nothing_was_called_and_counts_again_when_it_resumes(ledger):
    admit(ledger, "run-1")
    with ledger.database.transaction() as tx:
        quotas.ended(tx, "run-1")
    assert requests_used(ledger) == 0
    admit(ledger, "run-1")
    assert requests_used(ledger) == 1


@pytest.mark.parametrize(("source", "left"), [("system", 1), (None, 1), ("user", 0)])
def test_a_request_is_kept_only_where_a_call_used_the_systems_key(ledger, source, left):
    run_id = ledger.start_run(Run(workflow="w", user="alice"))
    admit(ledger, run_id)
    call = Call(
        call_id="c",
        run_id=run_id,
        node_path="draft",
        role="",
        provider="together",
        requested_model="m",
        started_at=utc_text(now()),
        key_source=source,
    )
    ledger.start_call(call)
    with ledger.database.transaction() as tx:
        quotas.ended(tx, run_id)
    assert requests_used(ledger) == left


def test_a_refusal_names_the_quota_when_it_resets_and_the_ways_to_more(ledger, by):
    users.add(ledger, "alice", by)
    quotas.set_quota(ledger, "user:alice", TEXT, "requests", by, most=1)
    admit(ledger, "run-1")
    with pytest.raises(QuotaExceeded) as caught:
        admit(ledger, "run-2")
    refused = caught.value
    assert (refused.feature, refused.unit, refused.used, refused.limit) == (TEXT, "requests", 1, 1)
    assert refused.reset_at == quotas.reset_at()
    assert refused.reset_at.endswith("T00:00:00Z")
    assert refused.reset_at > utc_text(now())
    assert refused.upgrade == {"tier": "premium", "limit": None}
    assert refused.own_key is True
    assert refused.cheaper is None
    assert (refused.kind, refused.value) == ("quota", 1)
    assert "\n" not in str(refused)
    assert (
        "needs 1 request, and of 1 request of text_generation a day 1 is used: wait until"
        in str(refused)
    )
    assert requests_used(ledger) == 1


def test_a_viewer_is_offered_no_key_of_their_own(ledger, by):
    viewer = dataclasses.replace(ALICE, role="viewer")
    quotas.set_quota(ledger, "tier:free", TEXT, "requests", by, most=0)
    with pytest.raises(QuotaExceeded) as caught:
        admit(ledger, "run-1", viewer)
    assert caught.value.own_key is False


def test_a_request_is_refused_at_the_door_when_no_token_is_left_for_its_first_call(ledger, by):
    quotas.set_quota(ledger, "tier:free", TEXT, "tokens", by, most=0)
    with pytest.raises(QuotaExceeded, match="of 0 tokens of text_generation a day"):
        admit(ledger, "run-1")
    assert requests_used(ledger) == 0
    assert ledger.select("SELECT use_id FROM uses") == []


def test_the_quotas_of_the_free_tier_are_those_of_the_documents():
    free = {
        (one["feature"], one["unit"]): one["limit"]
        for one in quotas.listed(EMPTY, "tier:free")
        if one["limit"] is not None
    }
    assert free == {
        (TEXT, "requests"): 50,
        (TEXT, "tokens"): 10_000,
        (TEXT, "tokens_per_request"): 2_000,
        ("code_generation", "requests"): 30,
        ("code_generation", "tokens"): 15_000,
        ("code_generation", "tokens_per_request"): 3_000,
        ("image_generation", "requests"): 10,
        ("vision_analysis", "requests"): 20,
        ("audio_tts", "requests"): 10,
        ("audio_tts", "minutes"): 5,
        ("audio_stt", "requests"): 10,
        ("audio_stt", "minutes"): 10,
    }


class EMPTY:
    """A ledger without quotas."""

    @staticmethod
    def select(_sql, _values):
        return []


@pytest.mark.parametrize("tier", ["premium", "enterprise"])
def test_other_tiers_are_unlimited_and_yet_counted(ledger, tier):
    caller = dataclasses.replace(ALICE, tier=tier)
    for number in range(60):
        admit(ledger, f"run-{number}", caller)
    used = quotas.used(ledger, "alice", tier)[TEXT]
    assert used["requests_used"] == 60
    assert "requests_limit" not in used


def test_a_users_own_quota_counts_before_the_tiers_and_that_before_the_file(ledger, by):
    users.add(ledger, "alice", by)
    quotas.set_quota(ledger, "tier:free", TEXT, "requests", by, most=7)
    assert quotas.limits_of(ledger, "alice", "free")[TEXT, "requests"] == 7
    quotas.set_quota(ledger, "user:alice", TEXT, "requests", by, most=None)
    assert quotas.limits_of(ledger, "alice", "free")[TEXT, "requests"] is None
    assert quotas.limits_of(ledger, "bob", "free")[TEXT, "requests"] == 7
    quotas.remove_quota(ledger, "user:alice", TEXT, "requests", by)
    quotas.remove_quota(ledger, "tier:free", TEXT, "requests", by)
    assert quotas.limits_of(ledger, "alice", "free")[TEXT, "requests"] == 50
    with pytest.raises(NotFound):
        quotas.remove_quota(ledger, "tier:free", TEXT, "requests", by)


def test_minutes_are_counted_in_tenths_rounded_up_and_replaced_by_what_a_sound_took(ledger):
    admit(ledger, "run-1", feature="audio_stt", minutes=0.51)
    admit(ledger, "run-2", feature="audio_stt", minutes=9.4)
    with pytest.raises(QuotaExceeded) as caught:
        admit(ledger, "run-3", feature="audio_stt", minutes=0.1)
    assert (caught.value.used, caught.value.limit, caught.value.cheaper) == (10, 10, None)
    with ledger.database.transaction() as tx:
        quotas.minutes_used(tx, ALICE, "audio_stt", "run-2", 9.01)
    used = quotas.used(ledger, "alice", "free")["audio_stt"]
    assert (used["minutes_used"], used["minutes_limit"], used["requests_used"]) == (9.7, 10, 2)
    assert used["near"] == ["minutes"]
    with pytest.raises(QuotaExceeded) as caught:
        admit(ledger, "run-3", feature="audio_stt", minutes=0.4)
    assert caught.value.cheaper == {"minutes": 0.3}


def test_counters_have_their_day_in_their_name_so_the_next_day_begins_at_nothing(ledger):
    admit(ledger, "run-1")
    (row,) = ledger.select("SELECT account FROM counters WHERE account LIKE '%requests'")
    assert row["account"] == f"day:{utc_text(now())[:10]}:user:alice:text_generation:requests"


@pytest.mark.parametrize(
    ("named", "most", "why"),
    [
        (("tier:gold", TEXT, "requests"), 1, "has no quotas: write tier:free"),
        (("user:", TEXT, "requests"), 1, "has no quotas"),
        (("user:nemo", TEXT, "requests"), 1, "there is no user 'nemo'"),
        (("tier:free", "texts", "requests"), 1, "there is no feature 'texts'"),
        (("tier:free", TEXT, "minutes"), 1, "is not counted in 'minutes': write one of requests"),
        (("tier:free", TEXT, "requests"), -1, "is no quota of requests"),
        (("tier:free", TEXT, "requests"), 0.5, "is no quota of requests"),
        (("tier:free", TEXT, "requests"), float("nan"), "is no quota of requests"),
        (("tier:free", TEXT, "requests"), 1e30, "is no quota of requests"),
        (("tier:free", "audio_tts", "minutes"), 0.55, "in tenths"),
    ],
)
def test_a_quota_of_nothing_that_there_is_is_refused(ledger, by, named, most, why):
    with pytest.raises(UserError, match=why):
        quotas.set_quota(ledger, *named, by, most=most)
    assert ledger.select("SELECT subject FROM quotas") == []


def test_a_request_for_more_is_decided_once_and_sets_the_quota_if_it_is_approved(ledger, by):
    users.add(ledger, "alice", by)
    asked = increases.ask(ledger, ALICE, TEXT, "requests", by, most=200, reason="a class of 30")
    assert (asked["status"], asked["asked"], asked["user_id"]) == ("open", 200, "alice")
    other = increases.ask(ledger, ALICE, "audio_tts", "minutes", by, most=7.5)
    assert [one["id"] for one in increases.requests(ledger, status="open")] == [
        other["id"],
        asked["id"],
    ]
    decided = increases.decide(ledger, asked["id"].lower(), by, approve=True)
    assert (decided["status"], decided["decided_by"]) == ("approved", "root")
    assert quotas.limits_of(ledger, "alice", "free")[TEXT, "requests"] == 200
    assert increases.decide(ledger, other["id"], by, approve=False)["asked"] == 7.5
    assert quotas.limits_of(ledger, "alice", "free")["audio_tts", "minutes"] == 50
    for approve in (True, False):
        with pytest.raises(UserError, match="was approved by root already"):
            increases.decide(ledger, asked["id"], by, approve=approve)
    with pytest.raises(NotFound):
        increases.decide(ledger, "nope", by, approve=True)
    assert increases.requests(ledger, user="bob") == []


def test_less_than_there_is_cannot_be_asked_for(ledger, by):
    with pytest.raises(InputError, match="has a limit of 50 of requests"):
        increases.ask(ledger, ALICE, TEXT, "requests", by, most=50)
    premium = dataclasses.replace(ALICE, tier="premium")
    with pytest.raises(InputError, match="has no limit of requests"):
        increases.ask(ledger, premium, TEXT, "requests", by, most=500)


# --- tokens, with the money of a call ---------------------------------------------------------


def place(run_id, amount, most=100):
    origin = quotas.Origin(user="alice", tokens=most)
    at = "2026-11-21T12:00:00.000Z"
    uses = (origin.tokens_of(at, amount),)
    return CallDimensions(at=at, run=run_id, user="alice", node="draft", uses=uses)


def tokens(ledger):
    (row,) = ledger.select("SELECT used, held FROM counters")
    return row["used"], row["held"]


def take(ledger, call_id, amount, most=100, worst=5):
    call = place("r", amount, most)
    row = Call(
        call_id=call_id,
        run_id="r",
        node_path="draft",
        role="",
        provider="together",
        requested_model="m",
        started_at=call.at,
    )
    refused = ledger.budgets.take(call_id, call, worst, row=row)
    ledger.budgets.unsent.pop(call_id, None)
    return refused


ENDS = [
    (CallEnd(status="ok", duration_ms=1, usage=Usage(input_tokens=3, output_tokens=4)), 7),
    (CallEnd(status="ok", duration_ms=1), 60),
    (CallEnd(status="error", duration_ms=1, cost_nanousd=0, price_source=NOT_BILLED), 0),
    (CallEnd(status="cancelled", duration_ms=1), 60),
    (CallEnd(status="cached", duration_ms=1, cost_nanousd=0), 0),
]


@pytest.mark.parametrize(("end", "used"), ENDS)
def test_tokens_are_held_at_their_bound_and_settled_to_what_was_reported(ledger, end, used):
    assert take(ledger, "c1", 60) is None
    assert tokens(ledger) == (0, 60)
    refused = take(ledger, "c2", 60)
    assert (refused.waits, refused.needed, refused.by.held) == (True, 60, 60)
    assert (refused.use.feature, refused.use.unit) == (TEXT, "tokens")
    assert ledger.calls("r")[0].status == "started"
    assert len(ledger.calls("r")) == 1  # nothing of the refused call is there
    assert ledger.finish_call("c1", end)
    assert tokens(ledger) == (used, 0)
    assert not ledger.finish_call("c1", end)
    assert tokens(ledger) == (used, 0)


def test_a_call_that_does_not_fit_at_all_does_not_wait_and_holds_no_money(ledger):
    ledger.set_budget("user:alice", "1")
    refused = take(ledger, "c1", 101)
    assert (refused.waits, refused.by.limit, refused.by.spent) == (False, 100, 0)
    assert ledger.select("SELECT call_id FROM holds") == []
    assert take(ledger, "c2", None).needed is None
    assert take(ledger, "c3", None, most=None) is None


def test_a_budget_that_refuses_holds_no_tokens(ledger):
    ledger.set_budget("user:alice", "0.000000001")
    assert take(ledger, "c1", 60).use is None
    assert ledger.select("SELECT account FROM counters") == []
    assert ledger.select("SELECT use_id FROM uses") == []


def test_a_call_that_was_never_sent_gives_its_tokens_back(ledger):
    call = place("r", 60)
    assert ledger.budgets.take("c1", call, 5) is None
    ledger.budgets.release("c1")
    assert tokens(ledger) == (0, 0)


def test_the_late_end_of_a_call_whose_lease_ran_out_replaces_what_was_forfeited(
    ledger, another, monkeypatch
):
    monkeypatch.setattr(holds, "LEASE", -1.0)
    assert take(ledger, "c1", 60) is None
    another().budgets.forfeit_dead()
    assert tokens(ledger) == (60, 0)
    assert ledger.finish_call("c1", ENDS[0][0])
    assert tokens(ledger) == (7, 0)


def test_tokens_are_forfeited_also_where_an_older_version_has_forfeited_the_money(ledger):
    assert take(ledger, "c1", 60) is None
    ledger.database.write("UPDATE holds SET status = 'forfeited'", {})
    ledger.budgets.forfeit_dead()
    assert tokens(ledger) == (60, 0)
