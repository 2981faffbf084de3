"""The benchmark that tries to overspend a budget from everywhere at once, small."""

from __future__ import annotations

import re


def test_no_budget_is_overspent_and_nobody_is_refused_without_need(benchmark):
    done = benchmark("budget", "--calls", "400", "--seed", "7")
    assert done.stderr == ""
    figures = re.findall(
        r"overspent ([\d,]+); refused without need ([\d,]+)$", done.stdout, re.MULTILINE
    )
    assert figures == [("0", "0")] * 4
    assert re.search(
        r"^processes +[1-9]\d* admitted, [1-9]\d* refused, \d+ broken off",
        done.stdout,
        re.MULTILINE,
    )
    (times,) = re.findall(r"^naive .* ([\d.]+) times the budget$", done.stdout, re.MULTILINE)
    assert float(times) > 2


def test_one_budget_on_a_server_holds_for_eight_processes_that_are_killed(benchmark):
    done = benchmark("budget", "--postgres", "--calls", "160", "--seed", "3")
    assert done.stderr == ""
    assert re.search(
        r"^fits +[\d,]+ calls admitted and settled per second", done.stdout, re.MULTILINE
    )
    zeros = "overspent 0; refused without need 0; overtaken 0; stuck 0"
    assert zeros in done.stdout
