"""What a limit stands on: how scopes are written, and which calls count in them."""

from __future__ import annotations

import dataclasses

import pytest

from aideon_agents.errors import UserError
from aideon_agents.ledger.budgets.limits import CallDimensions, Scope, own_accounts

PLACE = CallDimensions(
    at="2026-11-30T23:59:59.999Z",
    run="R1",
    batch="nightly",
    item="7",
    user="ada",
    tier="free",
    node="write/refine/draft",
    provider="together",
)


def keys(scope, place=PLACE):
    return [account.key for account in Scope.parse(scope).accounts(place)]


@pytest.mark.parametrize(
    ("scope", "found"),
    [
        ("run", ["run:R1"]),
        ("run:R1", ["run:R1"]),
        ("run:R2", []),
        ("batch", ["batch:nightly"]),
        ("item", ["item:nightly/7"]),
        ("item:nightly/7", ["item:nightly/7"]),
        ("user", ["user:ada"]),
        ("user:bob", []),
        ("tier:free", ["tier:free"]),
        ("provider", ["provider:together"]),
        ("provider:openai", []),
        ("day", ["day:2026-11-30"]),
        ("month", ["month:2026-11"]),
        ("day:user", ["day:2026-11-30:user:ada"]),
        ("month:provider:together", ["month:2026-11:provider:together"]),
        ("day:run", ["day:2026-11-30:run:R1"]),
    ],
)
def test_a_call_counts_in_the_accounts_of_a_scope(scope, found):
    assert keys(scope) == found
    assert str(Scope.parse(scope)) == scope


def test_a_node_s_limit_counts_what_is_inside():
    assert keys("node:write/refine") == ["node:write/refine"]
    assert keys("node:write") == ["node:write"]
    assert keys("node:write/ref") == []
    assert keys("node:draft") == []


def test_a_limit_for_each_node_counts_in_every_one_around_the_call():
    around = ["node:write/refine/draft", "node:write/refine", "node:write"]
    assert keys("node") == around
    assert keys("node", CallDimensions(at=PLACE.at)) == []


@pytest.mark.parametrize("scope", ["run", "batch", "item", "user", "tier", "node", "provider"])
def test_a_call_that_belongs_to_nothing_of_a_kind_counts_in_none(scope):
    assert keys(scope, CallDimensions(at=PLACE.at)) == []
    assert keys("day", CallDimensions(at=PLACE.at)) == ["day:2026-11-30"]


def test_an_item_counts_only_inside_its_batch():
    assert keys("item", CallDimensions(at=PLACE.at, item="7")) == []


def test_days_and_months_begin_at_midnight_utc():
    later = CallDimensions(at="2026-12-01T00:00:00.000Z")
    assert (keys("day"), keys("day", later)) == (["day:2026-11-30"], ["day:2026-12-01"])
    assert (keys("month"), keys("month", later)) == (["month:2026-11"], ["month:2026-12"])


def test_scopes_are_read_with_blanks_around_and_colons_in_names():
    assert str(Scope.parse(" day: user: ada ")) == "day:user:ada"
    assert Scope.parse("node:a:b").name == "a:b"


@pytest.mark.parametrize(
    "text", ["", "week", "day:", "user:", "user: ", "day:day", "users:ada", "day:user:", ":run"]
)
def test_what_is_no_scope_is_refused_in_a_line_that_says_how_to_write_one(text):
    with pytest.raises(UserError, match="is not a scope: write day, month, or one of run, item"):
        Scope.parse(text)


def test_a_run_has_accounts_of_its_own_for_itself_its_nodes_and_its_provider():
    found = [(str(scope), account.key) for scope, account in own_accounts(PLACE).values()]
    assert found == [
        ("run", "run:R1"),
        ("batch", "batch:nightly"),
        ("item", "item:nightly/7"),
        ("node:write/refine/draft", "run:R1:node:write/refine/draft"),
        ("node:write/refine", "run:R1:node:write/refine"),
        ("node:write", "run:R1:node:write"),
        ("provider:together", "run:R1:provider:together"),
    ]
    assert list(own_accounts(CallDimensions(at=PLACE.at, node="draft", provider="together"))) == []


def test_a_call_counts_in_every_run_around_it_and_in_the_batches_of_those():
    inner = CallDimensions(
        at=PLACE.at, run="R2", batch="evening", item="1", user="bob", node="draft"
    )
    place = dataclasses.replace(PLACE, node="draft", inner=(inner,))
    assert [account.key for _, account in own_accounts(place).values()] == [
        *("run:R1", "run:R2", "batch:nightly", "batch:evening"),
        *("item:nightly/7", "item:evening/1", "run:R1:node:draft", "run:R2:node:draft"),
        *("run:R1:provider:together", "run:R2:provider:together"),
    ]
    assert keys("run", place) == ["run:R1", "run:R2"]
    assert keys("user", place) == ["user:ada"]
    assert keys("node", place) == ["node:draft"]
