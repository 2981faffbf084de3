"""LangGraph's JavaScript SDK over a server, in Node; `make js` installs it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

JS = Path(__file__).parent / "js"
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="Node is not installed")
@pytest.mark.skipif(
    not (JS / "node_modules" / "@langchain" / "langgraph-sdk").is_dir(),
    reason="the JavaScript SDK is not installed: make js installs it",
)
def test_a_chat_page_works_with_the_javascript_sdk(served_by):
    _, client = served_by("--rehearse")
    words = [str(NODE), str(JS / "client.mjs"), str(client.base_url).rstrip("/")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert [one["name"] for one in seen["assistants"]] == [
        "asks",
        "asks_both",
        "both",
        "fails",
        "named",
        "one",
        "two",
    ]
    assert seen["thread"]["metadata"] == {"page": "chat"}
    streamed = [one["event"] for one in seen["streamed"]]
    assert (streamed[0], streamed[-1]) == ("metadata", "end")
    assert {"values", "updates", "custom"} <= {*streamed}
    assert seen["created"]["thread_id"] == seen["thread"]["thread_id"]
    assert seen["waiting"]["status"] == "interrupted"
    assert len(seen["waiting"]["interrupts"]) == 1
    assert seen["refused"] == 409
    assert [one["event"] for one in seen["answered"][-2:]] == ["values", "end"]
    assert seen["joined"] == seen["answered"][2:]
    spoken = [(one["type"], one["content"]) for one in seen["values"]["messages"]]
    assert spoken == [("human", "heat pumps"), ("ai", "heat pumps.")]
    assert seen["values"]["messages"][0]["id"] == "m-heat pumps"
    assert [one["thread_id"] for one in seen["listed"]] == [seen["thread"]["thread_id"]]
    assert seen["item"]["value"] == {"text": "heat"}
    assert [one["event"] for one in seen["failed"]][-2:] == ["error", "end"]
    assert seen["idle"] == "idle"
