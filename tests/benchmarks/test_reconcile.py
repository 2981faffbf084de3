"""The benchmark that holds the ledger against the bill, small: 40 runs in every way there is."""

from __future__ import annotations

import re


def test_the_ledger_knows_what_the_provider_charges(benchmark):
    done = benchmark("reconcile", "--runs", "40", "--batches", "0", "--seed", "7")
    assert re.search(r"^runs +40 in ", done.stdout, re.MULTILINE)
    assert re.search(r"^known +[\d,]+ rows, [\d,]{4,} tokens, ", done.stdout, re.MULTILINE)
    assert re.search(r"^difference +0 tokens, 0 nano-dollars$", done.stdout, re.MULTILINE)
    assert re.search(r"^silent +0$", done.stdout, re.MULTILINE)
    budgets = r"^budgets +[1-9]\d* exceeded 0; of [1-9]\d* holds 0 left open, 0 nano-dollars$"
    assert re.search(budgets, done.stdout, re.MULTILINE)


def test_batches_of_a_provider_are_exact_although_their_processes_are_killed(benchmark):
    done = benchmark("reconcile", "--runs", "1", "--batches", "1", "--seed", "7")
    begun = r"^batches +[1-9]\d* at providers, through [1-9]\d* killed processes"
    assert re.search(begun, done.stdout, re.MULTILINE)
    exact = r"^their difference +0 nano-dollars; 0 silent, 0 bought twice, 0 nano-dollars held$"
    assert re.search(exact, done.stdout, re.MULTILINE)
