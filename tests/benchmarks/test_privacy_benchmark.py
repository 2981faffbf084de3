"""The benchmark of private prompts finds no leak, and would find one."""

from __future__ import annotations


def test_no_private_text_leaves_whatever_goes_wrong(benchmark):
    done = benchmark("privacy", "--cases", "100")
    assert "100 private prompts" in done.stdout
    for where in ("cloud", "logs", "errors", "ledger"):
        assert f"text found in {where}: 0" in done.stdout
    assert "100 harmless texts: 0 taken for private ones" in done.stdout
