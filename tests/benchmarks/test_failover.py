"""The benchmark of failover, small: both chains are measured on one plan, and each figure has its bar."""

from __future__ import annotations

import re


def test_both_chains_are_measured_and_each_figure_stands_beside_its_bar(benchmark):
    # Not its exit code: it judges times, and other tests run beside it.
    done = benchmark("failover", "--seconds", "8", "--users", "4", codes=(0, 1))
    for name in ("with_fallbacks", "aideon_agents"):
        figures = rf"{name} +asked \d+, answered \d+\.\d+%, calls \d+, wasted \d+ = \d+\.\d+% "
        unforeseen = r"\(\d+ of them in flight when the first failure of a death was known\), "
        assert re.search(
            figures + unforeseen + r"probes per half-open at most \d+, added", done.stdout
        )
    bars = re.findall(
        r"^(answered|wasted|probes per half-open) \d.*\(bar .*\)", done.stdout, re.MULTILINE
    )
    assert bars == ["answered", "wasted", "probes per half-open"]
