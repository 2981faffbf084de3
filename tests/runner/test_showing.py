"""A result shows itself in a notebook: its graph with what each node cost, and a table."""

from __future__ import annotations

import sys
from xml.etree import ElementTree as ET

import pytest

from aideon_agents import Ledger, creative, executor, run, sequential
from aideon_agents.runner import recall
from aideon_agents.runner.result import ledger_location
from aideon_agents.testing import Fault, SimulatedProvider

PUMPS = "Heat pumps move heat."


@pytest.fixture
def result(ledger):
    graph = sequential(executor("facts"), creative("text"), name="article")
    return run(graph, PUMPS, rehearse=True, ledger=ledger)


def test_a_result_shows_its_graph_with_costs_and_a_table(result):
    shown = result._repr_mimebundle_(include=None, exclude=None)
    html = ET.fromstring(f"<body>{shown['text/html']}</body>".replace("<br>", "<br/>"))  # noqa: S314 - ours
    cells = [["".join(cell.itertext()) for cell in row] for row in html.iter("tr")]
    assert [row[0] for row in cells] == ["node", "facts", "text", "total"]
    assert cells[3][2:5] == ["2", *(str(sum(int(row[n]) for row in cells[1:3])) for n in (3, 4))]
    assert "article · rehearsed" in shown["text/html"]
    assert "<svg " in shown["text/html"]
    assert shown["text/plain"].startswith(f"article {result.run_id}: completed, $0.0000")
    assert "facts (executor)\n  $0.0000" in shown["text/plain"]
    assert shown["text/plain"].endswith(PUMPS)
    assert result._repr_html_() == shown["text/html"]


def test_without_the_extra_the_graph_is_shown_as_text(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    html = result._repr_html_()
    assert "<svg" not in html
    assert "<pre>article · rehearsed" in html


def test_when_the_ledger_is_gone_the_table_is_left_and_no_ledger_is_made(result, ledger, folder):
    ledger.close()
    assert "<svg " in result._repr_html_()  # it is opened again
    for part in folder.glob("ledger.db*"):
        part.unlink()
    html = result._repr_html_()
    assert "<svg" not in html
    assert "<table" in html
    assert not list(folder.glob("ledger.db*"))
    assert result._repr_mimebundle_()["text/plain"].endswith(PUMPS)


def test_a_run_that_another_ledger_holds_is_shown_without_its_graph(result, tmp_path):
    with Ledger(tmp_path / "other.db") as other:
        object.__setattr__(result, "kept_in", ledger_location(other))
    assert "<svg" not in result._repr_html_()


def test_what_went_wrong_is_said_and_nothing_of_it_is_markup(ledger, keyed):
    with SimulatedProvider(faults=Fault(400, message="<b>bad</b>")) as provider:
        graph = sequential(executor("facts", model="together:first"), name="<i>odd</i>")
        failed = run(graph, PUMPS, settings=keyed(provider), ledger=ledger)
    html = failed._repr_html_()
    assert "failed" in html
    assert "error: " in html
    assert "<b>" not in html
    assert "<i>" not in html
    assert "1 (1 failed)" in html


def test_a_recalled_run_shows_itself_after_its_ledger_was_closed(result, ledger):
    found = recall(ledger, ledger.find_run("last"))
    ledger.close()
    assert "<svg " in found._repr_html_()


def test_a_run_without_a_model_of_its_graph_is_a_table(result, ledger):
    ledger.database.write("UPDATE runs SET graph = NULL", {})
    assert "<svg" not in result._repr_html_()
    assert "<table" in result._repr_html_()


def test_a_run_that_called_nothing_has_no_table(ledger):
    html = run(lambda state: "done", "x", ledger=ledger)._repr_html_()
    assert "<svg " in html
    assert "<table" not in html


def test_a_ledger_on_a_server_is_read_and_left_open(postgres_url):
    with Ledger.from_url(postgres_url) as ledger:
        assert ledger_location(ledger) is ledger
        result = run(sequential(creative("text")), PUMPS, rehearse=True, ledger=ledger)
        assert "<svg " in result._repr_html_()
        assert ledger.runs()
