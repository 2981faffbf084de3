"""`--since` and `--until`: days, times, and the words for them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from aideon_agents.cli.costs import period
from aideon_agents.errors import InputError

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("2026-02-20", date(2026, 2, 20), date(2026, 2, 20)),
        ("2026-02-20T08:00", datetime(2026, 2, 20, 8, tzinfo=UTC), None),
        ("2026-02-20 08:00+02:00", datetime(2026, 2, 20, 6, tzinfo=UTC), None),
        ("today", date(2026, 3, 1), date(2026, 3, 1)),
        ("yesterday", date(2026, 2, 28), date(2026, 2, 28)),
        ("this-month", date(2026, 3, 1), date(2026, 3, 31)),
        ("last-month", date(2026, 2, 1), date(2026, 2, 28)),
        ("7d", NOW - timedelta(days=7), None),
        ("24h", NOW - timedelta(hours=24), None),
    ],
)
def test_a_text_means_a_beginning_and_an_end(text, begins, ends):
    assert period(text, None, NOW) == (begins, None)
    assert period(None, text, NOW) == (None, ends or begins)


def test_a_month_ends_with_its_last_day_in_every_year():
    assert period(None, "last-month", datetime(2028, 3, 31, tzinfo=UTC))[1] == date(2028, 2, 29)
    assert period("last-month", None, datetime(2026, 1, 31, tzinfo=UTC))[0] == date(2025, 12, 1)
    assert period(None, "this-month", datetime(2026, 12, 9, tzinfo=UTC))[1] == date(2026, 12, 31)


@pytest.mark.parametrize(
    ("since", "until"),
    [("today", "today"), ("yesterday", "1h"), ("2026-02-20", "2026-02-20T00:01"), ("7d", None)],
)
def test_a_day_is_a_period_and_so_is_what_is_left_of_one(since, until):
    period(since, until, NOW)


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("today", "yesterday"),
        ("2026-02-20T08:00", "2026-02-20T08:00"),
        ("2026-02-21", "2026-02-20T23:59"),
        ("24h", "7d"),
    ],
)
def test_an_end_that_is_no_later_than_the_beginning_is_a_mistake(since, until):
    with pytest.raises(InputError) as raised:
        period(since, until, NOW)
    assert str(raised.value) == (
        f"--since {since} --until {until}: the period ends before it begins; swap them"
    )


@pytest.mark.parametrize("flag", ["--since", "--until"])
@pytest.mark.parametrize(
    "text",
    [
        "tomorrow",
        "2026-13-01",
        "2026-11-20T25:00",
        "0001-01-01T00:00+05:00",
        "9999999999d",
        "-1d",
        "7w",
        "",
    ],
)
def test_a_moment_that_is_none_says_how_to_write_one(aideon, flag, text):
    done = aideon("costs", f"{flag}={text}")
    assert done.code == 2
    assert done.complaint == (
        f"{flag} {text}: write 2026-11-20, 2026-11-20T08:00, today, yesterday, this-month,"
        " last-month, 7d or 24h (all UTC)"
    ).replace("  ", " ")


def test_help_names_the_words(aideon):
    said = " ".join(aideon("costs", "--help").out.replace("│", " ").split())
    assert "today, yesterday, this-month, last-month, 7d or 24h" in said


def test_periods_cut_a_report(aideon):
    aideon("run", "one.py", "--task", "x")
    for flags, calls in (
        (("--since", "24h"), 1),
        (("--until", "24h"), 0),
        (("--since", "yesterday", "--until", "today"), 1),
        (("--until", "last-month"), 0),
    ):
        document = aideon("costs", "--rehearsed", "--json", *flags).document
        assert document["total"]["calls"] == calls, flags


def test_a_period_that_ends_before_it_begins_is_one_line_and_code_2(aideon, folder):
    done = aideon("costs", "--since", "today", "--until", "2020-01-01")
    assert (done.code, done.complaint.startswith("--since today --until 2020-01-01: ")) == (2, True)
    assert not (folder / ".aideon").exists(), "nothing is opened for a mistake"
