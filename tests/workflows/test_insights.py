"""The ready-made workflow `insights`: what it computes, and what it takes from a model."""

from __future__ import annotations

import json
import math
import random
import runpy
from pathlib import Path

import pytest

from aideon_agents import Ledger, Settings, UserError, run
from aideon_agents.tasks import load
from aideon_agents.testing import Fault, ScriptedChatModel, SimulatedProvider

FILE = Path(__file__).parents[2] / "workflows" / "insights.py"
TASK = "What matters?"
SALES = [100, 103, 108, 111, 114, 119, 124, 126, 131]
RETURNS = [3, 2, 3, 4, 3, 40, 3, 2, 3]
ROWS = [
    {"day": f"2026-01-0{n}", "sales": sold, "returns": back, "shop": "A"}
    for n, (sold, back) in enumerate(zip(SALES, RETURNS, strict=True), 1)
]


@pytest.fixture
def graph():
    return load("insights").graph


def told(**answer):
    """Options of a run whose model gives these insights."""
    model = ScriptedChatModel(answers=[{"insights": [answer]}])
    return {"model": {"executor": model}, "settings": Settings(offline=False)}


def asked(graph, tmp_path, data=ROWS, **options):
    given = {"inputs": {"data": data}, "ledger": tmp_path / "ledger.db", **options}
    done = run(graph, TASK, **given)
    assert (done.status, done.error) == ("completed", None)
    return done


def test_it_finds_the_trend_and_the_row_that_is_unlike_the_others(graph, tmp_path):
    facts = asked(graph, tmp_path, rehearse=True).results["measure"].data.facts
    found = {(one.kind, one.column): one for one in facts}
    assert found.keys() == {
        ("summary", "sales"),
        ("trend", "sales"),
        ("summary", "returns"),
        ("anomaly", "returns"),
    }
    assert found["summary", "sales"].figures["sum"] == sum(SALES)
    assert found["trend", "sales"].figures["slope"] == pytest.approx(3.875, abs=0.1)
    # Every pair rises: S is 36, and its variance 9 * 8 * 23 / 18.
    assert found["trend", "sales"].figures["p"] == pytest.approx(
        math.erfc(35 / math.sqrt(92) / math.sqrt(2))
    )
    assert found["anomaly", "returns"].figures["value"] == 40
    assert "2026-01-06" in found["anomaly", "returns"].text


def test_noise_has_few_trends():
    trend = runpy.run_path(str(FILE))["_trend"]
    chance = random.Random(1)  # noqa: S311 - the same numbers each time
    seen = [trend([chance.gauss(0, 1) for _ in range(30)])[0] < 0.01 for _ in range(500)]
    assert sum(seen) <= 12  # 5 are expected, and more than 12 once in 800 such tests


@pytest.mark.parametrize("form", ["csv", "semicolon", "json", "columns", "wrapped"])
def test_it_reads_tables_in_their_usual_forms(graph, tmp_path, form):
    lines = [list(ROWS[0]), *([str(one) for one in row.values()] for row in ROWS)]
    texts = {
        "csv": ("a.csv", "\n".join(map(",".join, lines))),
        "semicolon": ("a.csv", "\ufeff" + "\n".join(map(";".join, lines))),
        "json": ("a.json", json.dumps(ROWS)),
        "columns": ("a.json", json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]})),
        "wrapped": ("a.json", json.dumps({"items": ROWS, "next": None})),
    }
    name, text = texts[form]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    facts = asked(graph, tmp_path, str(path), rehearse=True).results["measure"].data
    assert facts.rows == 9
    assert {one.column for one in facts.facts} == {"sales", "returns"}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("{", "is no JSON"),
        ("[1, 2]", "must be rows"),
        ("[]", "has no rows"),
        ('{"a": 1}', "must be rows"),
    ],
)
def test_data_that_is_no_table_is_refused(graph, tmp_path, data, error):
    path = tmp_path / "a.json"
    path.write_text(data, encoding="utf-8")
    with pytest.raises(UserError, match=error):
        run(graph, TASK, inputs={"data": str(path)}, ledger=tmp_path / "ledger.db", rehearse=True)


def test_a_model_words_what_was_computed(graph, tmp_path):
    worded = {"kind": "anomaly", "text": "Returns were 40 once, not 3.", "facts": ["F4"]}
    said = asked(graph, tmp_path, **told(**worded)).data
    assert (said.model_used, said.note, said.processing_time >= 0) == ("small", None, True)
    (one,) = said.insights
    assert (one.text, one.figures["F4"]["value"]) == (worded["text"], 40)
    assert said.confidence == one.confidence == pytest.approx(1)


@pytest.mark.parametrize(
    "worded",
    [
        {"text": "Returns were 41 once.", "facts": ["F4"]},
        {"text": "Returns rise.", "facts": ["F9"]},
        {"text": "Returns rise.", "facts": []},
    ],
)
def test_an_insight_that_no_fact_supports_is_left_out(graph, tmp_path, worded):
    said = asked(graph, tmp_path, **told(kind="trend", **worded)).data
    assert worded["text"] not in [one.text for one in said.insights]
    assert said.model_used is None
    assert "1 insights of the model were left out" in said.note
    assert [one.kind for one in said.insights] == ["trend", "anomaly", "recommendation"]


def test_the_size_of_the_data_chooses_the_size_of_the_model(graph, tmp_path):
    sizes = {}
    for times in (1, 10, 20):
        done = asked(graph, tmp_path, ROWS * times, rehearse=True)
        sizes[times] = done.nodes[0].models
    assert len({tuple(one) for one in sizes.values()}) >= 2


def test_without_a_model_the_facts_are_the_answer(graph, tmp_path):
    with SimulatedProvider(faults=[Fault(401)] * 50) as provider:
        settings = Settings(
            together_api_key="any", together_base_url=provider.base_url, offline=False
        )
        said = asked(graph, tmp_path, settings=settings).data
    assert said.model_used is None
    assert said.note.startswith("No model answered, so these are the computed facts: ")
    assert [one.kind for one in said.insights] == ["trend", "anomaly", "recommendation"]


def test_a_budget_still_stops_it(graph, tmp_path):
    with SimulatedProvider() as provider:
        settings = Settings(
            together_api_key="any", together_base_url=provider.base_url, offline=False
        )
        done = run(
            graph,
            TASK,
            inputs={"data": ROWS},
            ledger=tmp_path / "ledger.db",
            settings=settings,
            budget="0.0000001",
        )
    assert (done.status, done.stop_reason) == ("stopped", "budget")


def test_without_data_it_reads_what_the_users_own_runs_cost(graph, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setenv("AIDEON_LEDGER", url)
    with SimulatedProvider() as provider, Ledger.from_url(url) as ledger:
        settings = Settings(
            together_api_key="any", together_base_url=provider.base_url, offline=False, ledger=url
        )
        for user in ("ada", "ada", "bob"):
            run(load("brief").graph, TASK, settings=settings, ledger=ledger, user=user)
        done = run(graph, TASK, settings=settings, ledger=ledger, user="ada", rehearse=True)
        assert done.results["measure"].data.rows == 1
        calls = next(one for one in done.results["measure"].data.facts if one.column == "calls")
        rows = ledger.select(
            "SELECT COUNT(*) AS n FROM calls JOIN runs ON runs.run_id = calls.run_id"
            " WHERE runs.user = 'ada' AND calls.rehearsed = 0"
        )
        assert calls.figures["sum"] == rows[0]["n"]
