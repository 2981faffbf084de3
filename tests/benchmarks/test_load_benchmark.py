"""The load test of a service, small: that it measures what it says."""

from __future__ import annotations

import re


def test_the_load_test_shows_the_speed_and_the_server(benchmark):
    done = benchmark("load", "--clients", "3", "--seconds", "1", "--latency", "50")
    runs = re.search(
        r"^3 clients for \d+ s: (\d+) runs, [\d.]+ a second$", done.stdout, re.MULTILINE
    )
    assert runs, done.stdout
    assert int(runs[1]) >= 3
    times = re.search(r"p50 (\d+) ms, p95 (\d+) ms, p99 (\d+) ms", done.stdout)
    assert times, done.stdout
    p50, p95, p99 = map(int, times.groups())
    assert 50 <= p50 <= p95 <= p99
    assert f"errors: 0 of {runs[1]}" in done.stdout
    assert re.search(
        r"CPU [\d.]+ cores, [\d.]+ ms a run; memory in MB by process: \d+$",
        done.stdout,
        re.MULTILINE,
    )


def test_the_load_test_counts_what_fails(benchmark):
    words = ("--clients", "1", "--seconds", "0.5", "--url", "http://127.0.0.1:9")
    done = benchmark("load", *words, codes=(1,))
    assert re.search(
        r"errors: (\d+) of \1; \1 times ClientConnectorError$", done.stdout, re.MULTILINE
    )
    assert "no process of this machine listens at port 9" in done.stdout
