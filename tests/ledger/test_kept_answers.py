"""The tables of the answer cache, on both databases."""

from __future__ import annotations

import time

import pytest

from aideon_agents.errors import InputError
from aideon_agents.ledger import answers
from aideon_agents.ledger.answers import age_seconds


def keep(ledger, key, *, prompt="p", model="together:m", text="{}", stored=None):
    answers.keep(ledger.database, key, prompt=prompt, model=model, answer=text, simulated=False)
    if stored is not None:
        at = {"at": stored, "key": key}
        ledger.database.write(
            "UPDATE answers SET stored_at = :at, used_at = :at WHERE key = :key", at
        )


def kept(ledger):
    return [row["key"] for row in ledger.select("SELECT key FROM answers ORDER BY key")]


def test_an_answer_is_found_until_it_is_too_old(ledger):
    keep(ledger, "k", text='{"a": "\\u0000 Wärme 熱"}', stored=1000.0)
    found = answers.find(ledger.database, "k", since=1000.0)
    assert found is not None
    assert (found["answer"], found["model"]) == ('{"a": "\\u0000 Wärme 熱"}', "together:m")
    assert answers.find(ledger.database, "k", since=1000.1) is None
    assert answers.find(ledger.database, "other", since=0) is None


def test_a_newer_answer_replaces_the_older(ledger):
    keep(ledger, "k", text='"a"')
    keep(ledger, "k", text='"b"')
    found = answers.find(ledger.database, "k", since=0)
    assert found is not None
    assert found["answer"] == '"b"'
    assert kept(ledger) == ["k"]


def test_the_newest_answer_to_a_prompt_is_that_of_a_model_that_may_answer(ledger):
    keep(ledger, "a", model="together:m", stored=1.0)
    keep(ledger, "b", model="openai:n", stored=2.0)
    keep(ledger, "c", model="together:m", prompt="q", stored=3.0)
    newest = answers.newest(ledger.database, "p", ["together:m", "openai:n"])
    older = answers.newest(ledger.database, "p", ["together:m"])
    assert newest is not None
    assert older is not None
    assert (newest["key"], older["key"]) == ("b", "a")
    assert answers.newest(ledger.database, "p", ["local:x"]) is None


def test_a_lease_is_one_callers_until_it_ends(ledger, another):
    mine, theirs = ledger.database, another().database
    assert answers.lease(mine, "k", "me", since=0)
    assert not answers.lease(theirs, "k", "you", since=0)
    answers.give_up(theirs, "k", "you")  # not theirs
    assert not answers.lease(theirs, "k", "you", since=0)
    answers.give_up(mine, "k", "me")
    assert answers.lease(theirs, "k", "you", since=0)


def test_no_lease_is_given_once_there_is_an_answer(ledger):
    keep(ledger, "k")
    assert not answers.lease(ledger.database, "k", "me", since=0)
    assert answers.lease(ledger.database, "k", "me", since=time.time() + 60)


@pytest.mark.parametrize(
    "change",
    ["expires_at = 1, host = 'elsewhere'", "pid = 999999999, process_start = 'gone'"],
    ids=["not renewed", "its process is gone"],
)
def test_a_lease_that_was_lost_is_given_to_the_next(ledger, change):
    assert answers.lease(ledger.database, "k", "me", since=0)
    ledger.database.write(f"UPDATE leases SET {change}", {})  # noqa: S608 - the test's own
    assert answers.lease(ledger.database, "k", "you", since=0)
    answers.renew(ledger.database, "k", "me")  # of no effect
    assert [row["owner"] for row in ledger.select("SELECT * FROM leases")] == ["you"]


def test_a_lease_that_is_renewed_stays(ledger):
    assert answers.lease(ledger.database, "k", "me", since=0)
    ledger.database.write("UPDATE leases SET expires_at = 1, host = 'elsewhere'", {})
    answers.renew(ledger.database, "k", "me")
    assert not answers.lease(ledger.database, "k", "you", since=0)


def test_what_was_used_longest_ago_makes_room(ledger, monkeypatch):
    monkeypatch.setattr(answers, "MOST_BYTES", 30)
    for number, key in enumerate("abc"):
        keep(ledger, key, text="x" * 10, stored=float(number))
    answers.find(ledger.database, "a", since=0)
    keep(ledger, "d", text="x" * 11)
    assert kept(ledger) == ["a", "d"]
    keep(ledger, "e", text="x" * 31)  # larger than all the room
    assert kept(ledger) == ["a", "d"]
    keep(ledger, "f", text="ä" * 15)
    assert kept(ledger) == ["f"]


def test_many_small_answers_make_room_for_a_large_one(ledger, monkeypatch):
    monkeypatch.setattr(answers, "_AT_ONCE", 2)
    monkeypatch.setattr(answers, "MOST_BYTES", 10)
    for number in range(10):
        keep(ledger, str(number), text="x", stored=float(number))
    keep(ledger, "large", text="x" * 7)
    assert kept(ledger) == ["7", "8", "9", "large"]


def test_answers_are_cleared_by_age_and_by_model(ledger):
    keep(ledger, "a", stored=1.0)
    keep(ledger, "b", stored=2.0, model="openai:n")
    keep(ledger, "c", stored=3.0, text="12345")
    assert answers.clear(ledger.database, until=1.0) == {"entries": 1, "bytes": 2}
    assert answers.clear(ledger.database, until=1.0) == {"entries": 0, "bytes": 0}
    assert answers.clear(ledger.database, model="openai:n")["entries"] == 1
    assert kept(ledger) == ["c"]
    assert answers.clear(ledger.database) == {"entries": 1, "bytes": 5}


def test_figures_count_hits_and_what_they_saved(ledger, record):
    none = dict.fromkeys(("entries", "bytes", "hits", "saved", "unknown"), 0)
    assert answers.figures(ledger.database) == none
    keep(ledger, "a", text="123")
    record(ledger, "R", status="cached", end={"saved_nanousd": 2**40})
    record(ledger, "R", status="cached")
    record(ledger, "R", nanousd=5)
    assert answers.figures(ledger.database) == (
        none | {"entries": 1, "bytes": 3, "hits": 2, "saved": 2**40, "unknown": 1}
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("12h", 43_200), ("1d", 86_400), ("1w", 604_800)],
)
def test_an_age_is_a_number_and_a_unit(text, seconds):
    assert age_seconds(text, "cache") == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "d",
        "1y",
        "-1d",
        "1.5h",
        "1 d",
        "0d",
        "1D",
        "\u0661d",
        "1d\n",
        "9" * 10 + "d",
        60,
        None,
    ],
)
def test_another_age_is_refused_in_one_line(text):
    with pytest.raises(InputError, match=r"^cache takes an age such as 90s, .*, not ") as wrong:
        age_seconds(text, "cache")
    assert "\n" not in str(wrong.value)
