"""The benchmarks of batches, small: that they measure what they say, and that the bounds hold."""

from __future__ import annotations

import re


def test_kills_lose_and_double_nothing_and_all_money_is_accounted_for(benchmark):
    done = benchmark("batch", "crashes", "--items", "40", "--kills", "2", "--seed", "7")
    assert len(re.findall(r"^killed after \d+ calls with", done.stdout, re.MULTILINE)) == 2
    assert "items lost 0, doubled in OUT 0, failed 0; in order: True" in done.stdout
    assert re.search(r"^money unaccounted 0 nano-dollars of [1-9]", done.stdout, re.MULTILINE)


def test_a_batch_that_calls_no_model_stays_small(benchmark):
    done = benchmark("batch", "memory", "--items", "1000")
    assert "1,000 items: 1,000 completed, 1,000 lines in OUT" in done.stdout
    assert re.search(r"^\d+ MB of memory at the peak, bound 300$", done.stdout, re.MULTILINE)


def test_a_batch_is_held_against_a_bare_loop_over_the_same_graph(benchmark):
    words = ("--items", "8", "--at-once", "4", "--rounds", "1")
    done = benchmark("batch", "speed", *words, codes=(0, 1))  # 8 items say nothing of the bounds
    assert re.search(r"^ +4 at once  bare .* MB$", done.stdout, re.MULTILINE)
    assert re.search(r"^ +4 at once  batch .* MB$", done.stdout, re.MULTILINE)
    ratios = re.findall(r"([\d.]+) of the bare loop's, bound ([\d.]+)$", done.stdout, re.MULTILINE)
    assert [bound for _, bound in ratios] == ["1.15", "1.15", "1.3"]
    assert all(float(ratio) > 0 for ratio, _ in ratios)


def test_the_end_of_a_long_batch_is_held_against_its_beginning(benchmark):
    done = benchmark("batch", "scale", "--items", "400", codes=(0, 1))  # 400 items say nothing
    assert "400 items of one call, 64 at once; 400 requests" in done.stdout
    assert re.search(r"^\d+\.\d\d of the first ones' speed at the end", done.stdout, re.MULTILINE)
