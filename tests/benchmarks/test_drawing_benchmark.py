"""The benchmark that holds drawings against what ran, small: 12 workflows, every route forced."""

from __future__ import annotations

import re


def test_what_is_drawn_is_what_runs(benchmark):
    done = benchmark("drawing", "--workflows", "12", "--no-sizes")
    lines = dict(re.findall(r"^(\w+) +(.+)$", done.stdout, re.MULTILINE))
    assert re.fullmatch(
        r"\d{2,} edges ran: 0 edges missing, 0 false edges, 0 boxes overlapping, "
        r"0 label collisions, 0 lines across boxes",
        lines["svg"],
    )
    assert re.fullmatch(
        r"\d{2,} edges ran: 0 edges missing, 0 false edges, 0 not parsed by Mermaid",
        lines["mermaid"],
    )
    assert " edges missing, " in lines["langgraph"]
