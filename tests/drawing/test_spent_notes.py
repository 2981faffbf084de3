"""What a run spent, in words: on cards and groups, above the picture, in every form."""

from __future__ import annotations

from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest
from langgraph.graph import END, START, StateGraph

from aideon_agents.drawing.figures import NodeFigures, RunFigures
from aideon_agents.drawing.folding import folded
from aideon_agents.drawing.mermaid import mermaid
from aideon_agents.drawing.notes import (
    annotated,
    counted,
    money,
    percent,
    spent_document,
    time,
    tokens,
)
from aideon_agents.drawing.svg import svg
from aideon_agents.drawing.text import text
from aideon_agents.graphs.topology import read
from aideon_agents.state import State

BIG, SMALL = "together:openai/big-120b", "openai:small"


def node(path="plan", usd="0.0123", **fields):
    known = {
        "complete": True,
        "share": 0.24,
        "calls": 2,
        "failed_calls": 0,
        "input_tokens": 1000,
        "output_tokens": 840,
        "counted": True,
        "rounds": 1,
        "duration_ms": 1420,
        "median_usd": None if usd is None else Decimal(usd),
        "ran": 1,
        "models": (BIG,),
        "gave_way": (),
        "badges": {},
    }
    return NodeFigures(
        node_path=path, usd=None if usd is None else Decimal(usd), **{**known, **fields}
    )


def run(nodes=None, **fields):
    known = {
        "run_ids": ("01ABC",),
        "workflow": "brief",
        "statuses": {"completed": 1},
        "stop_reason": None,
        "rehearsed": False,
        "simulated": False,
        "duration_ms": 20_900,
        "totals": node(""),
        "taken": {},
        "unknown": frozenset(),
    }
    return RunFigures(nodes=nodes or {}, **{**known, **fields})


def note(figures, graph, one="plan"):
    return annotated(figures, graph, graph).notes[one]


@pytest.fixture
def graph(graphs):
    return read(graphs.chain("brief", plan="planner", polish=graphs.loop("polish")))


def test_amounts_are_short_and_never_say_less_than_they_know():
    assert [money(Decimal(one)) for one in ("0", "0.00000004", "0.000123", "0.0123", "1234.5")] == [
        "$0", "$0.00000004", "$0.000123", "$0.0123", "$1,234.50",
    ]  # fmt: skip
    assert (money(None), money(Decimal(2), complete=False)) == ("?", ">= $2.00")
    assert [tokens(one) for one in (0, 10_210, 1_234_567)] == ["0 tok", "10,210 tok", "1.2M tok"]
    assert [time(one) for one in (None, 640, 125_000, 3_780_000)] == [
        "", "0.64 s", "2 min 5 s", "1 h 3 min",
    ]  # fmt: skip
    assert [percent(one) for one in (0, 0.001, 0.24, 1)] == ["0 %", "< 1 %", "24 %", "100 %"]
    assert [counted(one, "call") for one in (1, 1200)] == ["1 call", "1,200 calls"]


def test_a_card_has_cost_tokens_time_share_calls_and_model(graph):
    said = note(run({"plan": node()}), graph)
    assert said.figures == ("$0.0123", "1,840 tok", "1.42 s")
    assert (said.subtitle, said.share, said.foot) == ("big-120b", 0.24, "24 % · 2 calls")
    said = note(run({"plan": node(rounds=3, failed_calls=1)}), graph)
    assert said.foot == "24 % · 2 calls, 1 failed · 3 rounds"


def test_what_nobody_knows_is_said_to_be_unknown(graph):
    unknown = node(usd=None, share=None, input_tokens=None, output_tokens=None, complete=False)
    said = note(run({"plan": unknown}), graph)
    assert said.figures == ("?", "? tok", "1.42 s")
    assert (said.share, said.foot) == (None, "2 calls")
    assert note(run({"plan": node(duration_ms=None)}), graph).figures == ("$0.0123", "1,840 tok")
    in_part = node(counted=False, duration_ms=None)
    assert note(run({"plan": in_part}), graph).figures == ("$0.0123", ">= 1,840 tok")
    whole = annotated(run(totals=node("", complete=False)), graph, graph)
    assert whole.caption == "total >= $0.0123 · 1,840 tok · 20.90 s · run 01ABC"


def test_a_fallback_names_both_models_and_many_are_counted(graph):
    fallback = node(models=(SMALL,), gave_way=(BIG,), badges={"fallback": 1, "retry": 1})
    said = note(run({"plan": fallback}), graph)
    assert said.subtitle == "big-120b → small"
    assert [(badge.text, badge.tone) for badge in said.badges] == [
        ("fallback", "warning"),
        ("retry", "warning"),
    ]
    many = node(models=(BIG, SMALL, "local:third"))
    assert note(run({"plan": many}), graph).subtitle == "3 models"


def test_what_a_provider_calls_its_model_is_one_line_of_plain_text(graph):
    odd = run({"plan": node(models=("local:\x1b[31mred\x00\nmodel",))}, workflow="a\x07b")
    said = annotated(odd, graph, graph)
    assert said.notes["plan"].subtitle == "[31mred model"
    assert said.title == "a b"
    ET.fromstring(svg(graph, said))  # noqa: S314 - we have just drawn it


def test_what_was_not_run_is_faint_and_what_was_refused_is_not(graph):
    idle = node(usd=None, calls=0, badges={"not_run": 1}, models=())
    said = note(run({"plan": idle}), graph)
    assert (said.emphasis, said.badges[0].text, said.figures) == ("faint", "not run", ())
    refused = node(usd=None, calls=0, badges={"over_budget": 1}, models=())
    said = note(run({"plan": refused}), graph)
    assert (said.emphasis, said.badges[0].text) == ("plain", "over budget")


@pytest.mark.parametrize(
    ("fields", "title", "caption"),
    [
        ({}, "brief", "total $0.0123 · 1,840 tok · 20.90 s · run 01ABC"),
        (
            {"statuses": {"stopped": 1}, "stop_reason": "budget"},
            "brief · stopped (budget)",
            "total $0.0123 · 1,840 tok · 20.90 s · run 01ABC",
        ),
        (
            {"rehearsed": True, "statuses": {"crashed": 1}},
            "brief · rehearsed · crashed",
            "would have cost $0.0123 · 1,840 tok",
        ),
        (
            {"run_ids": ("a", "b", "c"), "statuses": {"completed": 2, "failed": 1}},
            "brief · 3 runs · 2 completed, 1 failed",
            "total $0.0123 · 1,840 tok · median $0.0123 a run · median 20.90 s",
        ),
        (
            {
                "totals": node("", usd=None, calls=0),
                "statuses": {"running": 1},
                "duration_ms": None,
            },
            "brief · running",
            "no call · run 01ABC",
        ),
    ],
)
def test_the_title_tells_what_ran_and_how_it_ended(graph, fields, title, caption):
    said = annotated(run(**fields), graph, graph)
    assert (said.title, said.caption) == (title, caption)


def test_a_batch_has_a_name_of_its_own(graph):
    runs = run(run_ids=("a", "b"), statuses={"completed": 2})
    said = annotated(runs, graph, graph, name="brief · batch 01B")
    assert said.title == "brief · batch 01B · 2 runs"


def test_how_a_batch_ended_is_not_cut_off(graph):
    runs = run(run_ids=("a", "b"), statuses={"completed": 1, "failed": 1}, rehearsed=True)
    name = "a workflow of some length · batch 01M7ZFJ252P87JBBQ330MQPTFK"
    said = annotated(runs, graph, graph, name=name)
    assert said.title.endswith("1 completed, 1 failed")
    assert f">{said.title}</text>" in svg(graph, said)
    head, _, _ = text(graph, said).partition("\nwould have cost")
    assert " ".join(head.split()) == said.title


def test_several_runs_show_medians_and_how_many_runs_a_badge_is_of(graph):
    figures = run({"plan": node(badges={"failed": 2})}, run_ids=("a", "b"))
    said = note(figures, graph)
    assert said.figures == ("$0.0123", "1,840 tok", "median 1.42 s")
    assert said.foot == "24 % · median $0.0123 · 2 calls"
    assert said.badges[0].text == "failed (2)"


def test_an_open_group_says_its_sum_in_its_title_and_a_closed_one_on_its_card(graph):
    figures = run({"polish": node("polish", badges={"failed": 1})})
    assert note(figures, graph, "polish").figures == ("$0.0123", "24 %", "1,840 tok", "1.42 s")
    closed = annotated(figures, graph, folded(graph, 0)).notes["polish"]
    assert (closed.figures, closed.subtitle) == (("$0.0123", "1,840 tok", "1.42 s"), "big-120b")
    assert closed.badges[0].text == "failed"
    several = run({"polish": node("polish")}, run_ids=("a", "b"))
    assert note(several, graph, "polish").figures == ("$0.0123", "24 %", "1,840 tok")


WAY = {("__start__", "plan"): 1, ("plan", "polish|draft"): 1, ("polish|draft", "polish|check"): 1}


def test_closing_a_group_keeps_the_way_through_it(graph):
    taken = {**WAY, ("polish|check", "__end__"): 1}
    whole = annotated(run(taken=taken), graph, folded(graph, 0))
    assert whole.taken == {("__start__", "plan"), ("plan", "polish"), ("polish", "__end__")}
    assert whole.unknown == frozenset()


def test_of_a_closed_group_nobody_knows_whether_it_led_to_itself(graphs):
    builder = StateGraph(State)
    builder.add_node("sub", graphs.chain("sub", first="planner", then="creative"))
    builder.add_edge(START, "sub")
    builder.add_conditional_edges("sub", lambda state: "done", {"again": "sub", "done": END})
    topology = read(builder.compile(name="g"))
    taken = {("__start__", "sub|first"): 1, ("sub|first", "sub|then"): 1}
    said = annotated(run(taken=taken), topology, folded(topology, 0))
    assert said.taken == {("__start__", "sub")}
    assert said.unknown == {("sub", "sub")}


def test_without_a_run_nothing_is_known_of_the_way(graph):
    assert annotated(run(run_ids=()), graph, graph).taken is None


def test_every_form_shows_it(graph, mermaid_judge):
    idle = node("polish/check", usd=None, calls=0, badges={"not_run": 1}, models=())
    nodes = {"plan": node(badges={"failed": 1}), "polish|check": idle, "polish": node("polish")}
    figures = run(nodes, taken=WAY, unknown=frozenset({("polish|check", "__end__")}))
    said = annotated(figures, graph, graph)

    outline = text(graph, said)
    assert outline.startswith("brief\ntotal $0.0123 · 1,840 tok · 20.90 s · run 01ABC\n\nstart\n")
    assert (
        "plan (planner)\n  $0.0123 · 1,840 tok · 1.42 s · 24 % · 2 calls · big-120b [failed]\n"
        in outline
    )
    assert "▾ polish\n  $0.0123 · 24 % · 1,840 tok · 1.42 s\n  draft" in outline
    assert "check (validator)\n    [not run]\n    ↺ again: back to draft until" in outline
    assert outline.count(", not taken") == 1

    source = mermaid(graph, said)
    (answer,) = mermaid_judge.parsed([source])
    assert "error" not in answer
    assert answer["nodes"]["n_plan"].split("<br>") == [
        *("plan", "(planner)", "$0.0123 · 1,840 tok · 1.42 s", "24 % · 2 calls", "big-120b"),
        "failed",
    ]
    assert "linkStyle 0,1,2 stroke-width:3px" in source
    assert "linkStyle 3 opacity:0.4" in source
    assert "class n_polish_check is_faint" in source
    assert "class n_plan is_bad" in source

    drawn = ET.fromstring(svg(graph, said))  # noqa: S314 - we have just drawn it
    ways = {
        (one.get("data-source"), one.get("data-target")): one.get("class")
        for one in drawn.iter("{http://www.w3.org/2000/svg}g")
        if one.get("data-source")
    }
    assert ways["__start__", "plan"] == "way strong"
    assert ways["polish|check", "polish|draft"] == "way if idle"
    assert ways["polish|check", "polish|__end__"] == "way if"
    assert "24 % · 2 calls" in [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]


def test_of_two_conditions_that_lead_the_same_way_mermaid_says_neither(graph):
    taken = {**WAY, ("polish|check", "__end__"): 1}
    source = mermaid(graph, annotated(run(taken=taken), graph, graph))
    assert [line for line in source.splitlines() if "linkStyle" in line] == [
        "  linkStyle 0,1,2 stroke-width:3px",
        "  linkStyle 3 opacity:0.4",
    ]


def test_as_json_money_is_text_and_what_is_unknown_is_null(graph):
    figures = run(
        {"plan": node(share=1 / 3)},
        taken={**WAY, ("polish|check", "__end__"): 1},
        unknown=frozenset({("polish|check", "polish|draft")}),
    )
    made = spent_document(figures, graph, annotated(figures, graph, graph))
    by_id = {one["id"]: one for one in made["nodes"]}
    assert by_id["plan"]["figures"]["usd"] == "0.012300"
    assert by_id["plan"]["figures"]["share"] == 0.333333
    assert by_id["polish|draft"]["figures"] is None
    taken = {(one["source"], one["target"], one["label"]): one["taken"] for one in made["edges"]}
    assert taken["__start__", "plan", None] is True
    assert taken["polish|check", "polish|draft", "again"] is None
    assert taken["polish|check", "__end__", "passed"] is None  # or it was max_rounds
    assert made["run"]["totals"]["calls"] == 2
    assert made["run"]["title"] == "brief"
