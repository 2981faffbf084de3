"""The feature flags, and the first values that a project gives them."""

from __future__ import annotations

import pytest

from aideon_agents.access import audit, flags
from aideon_agents.errors import Changed, NotFound, UserError

FALLBACK = "together_ai_fallback"
USERS = [f"user-{number}" for number in range(400)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def who_has_it(ledger):
    return {user for user in USERS if flags.is_on(ledger, FALLBACK, user)}


def test_the_four_flags_are_on_until_they_are_set_and_keys_of_users_are_off(ledger, by):
    assert [one.name for one in flags.listed(ledger)] == [
        "together_ai_integration",
        "together_ai_free_tier",
        "together_ai_fallback",
        "together_ai_ui_indicators",
        "user_provider_keys",
    ]
    assert [one.on for one in flags.listed(ledger)] == [True, True, True, True, False]
    assert all(one.changed_by is None for one in flags.listed(ledger))
    flags.change(ledger, FALLBACK, by, is_on=False)
    assert not flags.is_on(ledger, FALLBACK, "ada")
    assert [one.on for one in flags.listed(ledger)] == [True, True, False, True, False]
    flags.change(ledger, FALLBACK, by, is_on=True)
    assert flags.is_on(ledger, FALLBACK, "ada")


def test_a_change_counts_at_the_next_look_of_another_process(ledger, another, by):
    other = another()
    assert flags.is_on(other, FALLBACK, "ada")
    flags.change(ledger, FALLBACK, by, is_on=False)
    assert not flags.is_on(other, FALLBACK, "ada")


def test_a_share_is_sticky_and_grows(ledger, by):
    shares = []
    for share in (0, 10, 50, 100):
        flags.change(ledger, FALLBACK, by, is_on=True, share=share)
        shares.append(who_has_it(ledger))
        assert shares[-1] == who_has_it(ledger)
    assert shares[0] == set()
    assert shares[0] < shares[1] < shares[2] < shares[3] == set(USERS)
    assert 20 <= len(shares[1]) <= 65
    assert 160 <= len(shares[2]) <= 240


@pytest.mark.parametrize("share", [-1, 101])
def test_a_share_that_is_no_percentage_is_refused(ledger, by, share):
    with pytest.raises(UserError, match="from 0 to 100"):
        flags.change(ledger, FALLBACK, by, is_on=True, share=share)


def test_a_flag_that_is_unknown_is_an_error_that_names_the_nearest(ledger, by):
    with pytest.raises(NotFound, match="did you mean together_ai_fallback"):
        flags.change(ledger, "together_ai_falback", by, is_on=False)
    with pytest.raises(NotFound, match="the flags are together_ai_integration"):
        flags.is_on(ledger, "dark_mode", "ada")


def test_what_was_changed_since_it_was_read_is_not_overwritten(ledger, by):
    seen = flags.find(ledger, FALLBACK)
    flags.change(ledger, FALLBACK, by, is_on=False, seen=seen)
    with pytest.raises(Changed, match="read it again"):
        flags.change(ledger, FALLBACK, by, is_on=True, seen=seen)
    assert not flags.is_on(ledger, FALLBACK, "ada")


def test_a_change_is_audited_with_what_differs(ledger, by):
    flags.change(ledger, FALLBACK, by, is_on=True, share=10)
    (entry,) = audit.entries(ledger)
    assert (entry["action"], entry["target"]) == ("flag.changed", FALLBACK)
    assert (entry["before"], entry["after"]) == ({"share": None}, {"share": 10})


def test_a_project_gives_first_values_that_the_ledger_replaces(ledger, folder, by):
    (folder / "pyproject.toml").write_text(
        "[tool.aideon.flags]\ntogether_ai_fallback = false\ntogether_ai_free_tier = 10\n"
    )
    assert not flags.is_on(ledger, FALLBACK, "ada")
    assert flags.find(ledger, "together_ai_free_tier").share == 10
    assert flags.is_on(ledger, "together_ai_integration", "ada")
    flags.change(ledger, FALLBACK, by, is_on=True)
    assert flags.is_on(ledger, FALLBACK, "ada")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('together_ai_fallback = "yes"', "must be true, false or a percentage"),
        ("together_ai_fallback = 101", "must be true, false or a percentage"),
        ("together_ai_falback = true", "did you mean together_ai_fallback"),
    ],
)
def test_a_first_value_that_is_wrong_is_an_error_that_names_the_file(ledger, folder, line, says):
    (folder / "pyproject.toml").write_text(f"[tool.aideon.flags]\n{line}\n")
    with pytest.raises(UserError, match=rf"pyproject.toml: tool.aideon.flags.*{says}"):
        flags.listed(ledger)
