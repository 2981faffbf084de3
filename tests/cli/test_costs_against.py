"""`aideon costs --against` and `--advice`: what else the same rows say."""

from __future__ import annotations

import csv
import io
import json

import pytest

from aideon_agents import Ledger
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.rows import Call, CallEnd, Run

USAGE = Usage(input_tokens=1000, output_tokens=100)


@pytest.fixture
def spent(folder):
    """Writes calls of a run; each costs so many nano-dollars, None: nobody knows."""

    def write(number, *, nanousd=1000, usage=USAGE, node="draft", **end):
        with Ledger(folder / ".aideon" / "ledger.db") as ledger:
            run_id = ledger.start_run(Run(workflow="w"))
            for index in range(number):
                call = Call(
                    call_id=f"{run_id}-{index}",
                    run_id=run_id,
                    node_path=node,
                    role="creative",
                    provider="together",
                    requested_model="openai/gpt-oss-120b",
                    started_at="2026-11-20T09:00:00.000Z",
                )
                ledger.start_call(call)
                known = {"status": "ok", "duration_ms": 5, "usage": usage, **end}
                ledger.finish_call(call.call_id, CallEnd(cost_nanousd=nanousd, **known))

    return write


def test_the_table_calls_it_the_same_tokens_at_the_other_models_price(aideon, spent):
    spent(2)
    done = aideon("costs", "--against", "openai:gpt-4o")
    assert done.code == 0
    titles, _, row = done.out.splitlines()[1:4]
    assert "against" in titles
    assert "$0.007000" in row
    assert done.out.endswith("\nthe same tokens at openai:gpt-4o's price (against): $0.007000\n")


def test_every_form_holds_it_by_row_and_json_in_total(aideon, spent):
    spent(2)
    spent(1, usage=None, nanousd=None)
    against = {"model": "openai:gpt-4o", "usd": "0.007000", "complete": False}
    document = aideon("costs", "--against", "openai:gpt-4o", "--json").document
    assert document["total"]["against"] == document["rows"][0]["against"] == against
    text = aideon("costs", "--against", "openai:gpt-4o", "-f", "csv").out
    (row,) = csv.DictReader(io.StringIO(text))
    cells = [row[f"against_{name}"] for name in ("model", "usd", "complete")]
    assert cells == ["openai:gpt-4o", "0.007000", "false"]
    assert ">= $0.007000" in aideon("costs", "--against", "openai:gpt-4o").out


def test_with_nothing_spent_there_is_a_heading_for_it_all_the_same(aideon):
    text = aideon("costs", "--against", "openai:gpt-4o", "-f", "csv").out
    assert text.endswith(",against_model,against_usd,against_complete\r\n")
    total = aideon("costs", "--against", "openai:gpt-4o", "--json").document["total"]
    assert total["against"] == {"model": "openai:gpt-4o", "usd": "0.000000", "complete": True}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("openai:gpt-nobody", "openai:gpt-nobody has no known price"),
        ("gpt-4o", "unknown provider 'gpt-4o'"),
        ("openay:gpt-4o", "did you mean openai:gpt-4o?"),
        ("openai:", "names no model"),
        ("together:mistralai/Mixtral-8x7B-Instruct-v0.1", "is retired since 2026-04-16"),
    ],
)
def test_a_model_that_cannot_be_compared_with_is_one_line_before_anything(
    aideon, folder, name, why
):
    done = aideon("costs", "--against", name)
    assert done.code == 2
    assert done.complaint.startswith("--against: ")
    assert why in done.complaint
    assert not (folder / ".aideon").exists()


def test_advice_says_what_where_and_what_to_do(aideon, spent):
    spent(10, finish_reason="length")
    done = aideon("costs", "--advice")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "cut_short: draft\n"
        "  10 of 10 answers (100 %) ended at their max_tokens and are cut short; they cost"
        " $0.000010. Raise the node's max_tokens, or ask for a shorter answer\n"
    )


def test_advice_is_a_document_too(aideon, spent, folder):
    spent(10, finish_reason="length")
    done = aideon("costs", "--advice", "--json")
    (one,) = done.document["advice"]
    assert list(one) == ["kind", "where", "text", "figures"]
    assert (one["kind"], one["where"]) == ("cut_short", "draft")
    assert one["figures"] == {
        "answers": 10,
        "cut_answers": 10,
        "cut_share": 1.0,
        "usd": "0.000010",
        "complete": True,
    }
    aideon("costs", "--advice", "-f", "json", "-o", "advice.json")
    assert json.loads((folder / "advice.json").read_text()) == done.document


def test_money_and_shares_inside_a_figure_are_json_too(aideon, spent, monkeypatch, folder):
    catalog = """
[profiles.current]
small = ["openai:gpt-4o-mini"]
medium = ["together:openai/gpt-oss-120b"]
large = ["openai:gpt-4o"]
"""
    (folder / "catalog.toml").write_text(catalog)
    monkeypatch.setenv("AIDEON_CATALOG", "catalog.toml")
    spent(10, nanousd=10**9, node="text")
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        ledger.database.write("UPDATE calls SET finish_reason = 'stop'", {})
    spent(10, node="draft")
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        ledger.database.write(
            "UPDATE calls SET provider = 'openai', requested_model = 'gpt-4o-mini'"
            " WHERE node_path = 'draft'",
            {},
        )
    (one,) = aideon("costs", "--advice", "--json").document["advice"]
    assert one["kind"] == "cheaper_model"
    assert one["figures"]["against"] == {
        "model": "openai:gpt-4o-mini",
        "usd": "0.002100",
        "complete": True,
    }
    assert (one["figures"]["usd"], one["figures"]["share"]) == ("10.000000", 0.999999)


def test_with_nothing_to_advise_it_says_so(aideon, spent):
    spent(1)
    for _ in range(2):
        done = aideon("costs", "--advice")
        assert done.out == ("no suggestions: no figure is beyond a threshold\n")
        assert aideon("costs", "--advice", "--json").document == {"advice": []}


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_advice_is_no_table_of_figures(aideon, form):
    done = aideon("costs", "--advice", "-f", form, "-o", "advice")
    assert done.code == 2
    assert done.complaint == f"-f {form}: use one of table, json with --advice"


@pytest.mark.parametrize("flags", [("--top", "3"), ("--against", "openai:gpt-4o")])
def test_advice_takes_no_flag_that_would_do_nothing(aideon, flags):
    done = aideon("costs", "--advice", *flags)
    assert done.code == 2
    assert done.complaint == "--advice covers all figures: leave out --top and --against"
