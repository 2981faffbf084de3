"""A ledger of its own on either database, with users who have keys."""

from __future__ import annotations

import contextlib

import pytest

from aideon_agents.access import api_keys, users
from aideon_agents.access.audit import By
from aideon_agents.ledger.store import Ledger

BY = By("root", address="cli")


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return request.getfixturevalue("emptied")()


@pytest.fixture
def ledger(ledger_url):
    with Ledger.from_url(ledger_url) as opened:
        yield opened


@pytest.fixture
def another(ledger_url):
    """Opens the same ledger once more, as another process does."""
    with contextlib.ExitStack() as opened:
        yield lambda: opened.enter_context(Ledger.from_url(ledger_url))


@pytest.fixture
def by():
    return BY


@pytest.fixture
def with_key(ledger):
    """Adds a user, and makes a key of that user."""

    def make(user, *, role="member", tier="free", **given):
        users.add(ledger, user, BY, role=role, tier=tier)
        return api_keys.make(ledger, user, BY, **given)

    return make
