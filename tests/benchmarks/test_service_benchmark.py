"""The benchmark of the service, small: that it measures what it says."""

from __future__ import annotations

import re


def test_the_speed_of_a_service_is_shown_beside_its_bars(benchmark):
    words = ("--databases", "sqlite", "--workers", "1", "--clients", "1,50", "--latencies", "200")
    done = benchmark("service", "speed", *words, "--requests", "50", codes=(0, 1))
    shown = re.findall(
        r"^sqlite +1 +200 ms +(\d+) +([\d.]+) +([\d.]+) ms +([\d.]+) ms +([\d.]+) ms",
        done.stdout,
        re.MULTILINE,
    )
    assert [one[0] for one in shown] == ["1", "50"]
    assert all(float(figure) > 0 for one in shown for figure in one[1:])
    assert re.search(r"bars 15 and 100 ms: (not )?kept$", done.stdout, re.MULTILINE)
    assert "answers" not in done.stdout, "every run completed"


def test_the_memory_of_open_pages_is_shown_beside_its_bar(benchmark):
    done = benchmark("service", "pages", "--pages", "10")
    shown = re.findall(r"^sqlite +10 +([\d.]+) +([-\d.]+) +[-\d.]+ +20$", done.stdout, re.MULTILINE)
    ((before, more),) = shown
    assert float(before) > 20 > float(more)
