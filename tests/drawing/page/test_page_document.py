"""A run's page as a file: it holds all of it, and nothing of it is taken for markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from aideon_agents.drawing.page.document import page, policy
from aideon_agents.errors import UserError
from aideon_agents.graphs.topology import read


def test_a_page_holds_every_call_and_every_figure_of_its_run(told, pages, elements):
    found = told.find_run("last")
    data = elements(pages(told)).data
    calls = [dict(zip(data["fields"], row, strict=True)) for row in data["calls"]]
    assert [call["call_id"] for call in calls] == [row.call_id for row in told.calls(found.run_id)]
    assert {call["node_path"] for call in calls} > {"plan", "gather/story/title", "polish/check"}
    assert sum(call["status"] == "error" for call in calls) >= 1
    assert data["run"]["run_id"] == found.run_id
    assert re.fullmatch(r"0\.\d+", data["totals"]["usd"])
    assert {node["node_path"] for node in data["nodes"]} == {call["node_path"] for call in calls}


def test_nothing_that_was_said_becomes_an_element(told, pages, elements, hostile):
    for one in told.runs():
        made = pages(told, one.run_id)
        found = elements(made)
        assert [dict(tag).get("id") for name, tag in found.tags if name == "script"] == [
            "data",
            "contents",
            None,
        ]
        assert not {"img", "b"} & {name for name, _ in found.tags}
        assert "\u2028" not in made
        assert hostile not in made


def test_what_was_said_is_on_the_page_word_for_word(told, pages, elements, hostile):
    contents = "".join(text for name, text in elements(pages(told)).scripts if name == "contents")
    said = [json.loads(line) for line in contents.strip().split("\n")]
    assert len(said) == len(told.contents(told.find_run("last").run_id))
    assert any(hostile in message["content"] for _, prompt, _ in said for message in prompt)


def test_the_policy_allows_this_script_and_no_request(told, pages):
    made = pages(told)
    (script,) = re.findall(r"<script>(.*?)</script>", made, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (said,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', made)
    assert said == policy(live=False)
    rules = dict(rule.strip().split(" ", 1) for rule in said.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["connect-src"] == "'none'"
    assert policy(live=True) == said.replace("connect-src 'none'", "connect-src 'self'")


def test_the_page_names_no_other_place(told, pages):
    made = pages(told)
    without_data = re.sub(r'(?s)<script type="[^"]+" id="\w+">.*?</script>', "", made)
    named = set(re.findall(r"https?://[^\s\"'<)]+", without_data))
    assert named == {"http://www.w3.org/2000/svg"}
    assert "innerHTML" not in made


def test_a_key_in_an_error_or_a_prompt_is_not_on_the_page(scripted, ledger, pages):
    key = "sk-" + "a1B2" * 12
    scripted.run({"error": f"401: {key}"}, error=f"KeyRejected: {key}", status="failed")
    assert "a1B2a1B2" not in pages(ledger)


def test_the_same_run_gives_the_same_page(told, pages):
    assert pages(told) == pages(told)


def test_a_run_whose_graph_nobody_kept_has_a_page_without_one(scripted, ledger, pages, elements):
    scripted.run({"path": "draft"})
    data = elements(pages(ledger)).data
    assert (data["views"], len(data["calls"])) == ([], 1)


def test_a_graph_alone_has_a_page_as_well(a_graph, elements):
    topology = read(a_graph())
    made = page(topology, None, lambda _: None, theme="dark", depth=0)
    data = elements(made).data
    assert data["run"]["workflow"] == "campaign"
    assert data["run"]["status"] is None
    assert (data["theme"], data["first"]) == ("dark", ["gather", "polish"])
    assert "<title>campaign</title>" in made


def test_a_missing_extra_is_named(a_graph, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pygraphviz", None)
    with pytest.raises(UserError, match=r"aideon-agents\[draw\]"):
        page(read(a_graph()), None, lambda _: None)
