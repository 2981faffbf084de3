"""`aideon graph` as JSON: the plain model, for other tools."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("flags", [["--json"], ["-f", "json"]])
def test_the_plain_model_is_one_document(aideon, flags):
    document = aideon("graph", "two.py", *flags).document
    assert {node["label"]: node["kind"] for node in document["nodes"]} == {
        "start": "start",
        "facts": "executor",
        "text": "creative",
        "end": "end",
    }
    assert [(edge["source"], edge["target"]) for edge in document["edges"]] == [
        ("__start__", "facts"),
        ("facts", "text"),
        ("text", "__end__"),
    ]
