"""Runs whose models are chosen by what was learnt: from outcomes, and from the prompt."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from aideon_agents import arun, executor, record_performance
from aideon_agents.errors import UserError
from aideon_agents.ledger.reports import report
from aideon_agents.models.learning.fitting import learn
from aideon_agents.models.learning.router import Label
from aideon_agents.testing import SimulatedProvider

FIRST, SECOND = "together:Qwen/Qwen3.5-9B", "together:zai-org/GLM-5.3-Flash"


@pytest.fixture
def play(keyed, ledger):
    """Runs one executor and gives back the model that was asked, and why."""

    async def run(task="Pumps.", model=None, use=None, **options):
        with SimulatedProvider(announce=False) as provider:
            graph = executor("facts", model=model, use=use, max_tokens=64)
            settings = keyed(provider)
            result = await arun(graph, task, settings=settings, ledger=ledger, **options)
        (row,) = ledger.calls(result.run_id)
        return f"{row.provider}:{row.requested_model}", json.loads(row.choice)

    return run


async def test_outcomes_change_which_model_is_asked_and_the_row_says_so(play, ledger):
    for _ in range(60):
        record_performance("executor", FIRST, 0.2, source="person", ledger=ledger)
        record_performance("executor", SECOND, 0.95, source="person", ledger=ledger)
    asked, choice = await play()
    assert (asked, choice["rule"]) == (SECOND, "learned")
    assert choice["learned"]["over"] == FIRST
    assert choice["learned"]["gain"] > choice["learned"]["chance"]
    given, choice = await play(model=FIRST)
    assert (given, choice["rule"]) == (FIRST, "model")
    rehearsed, _ = await play(rehearse=True)
    assert rehearsed == FIRST


async def test_outcomes_of_what_a_task_is_about_or_for_count_for_that_alone(play, ledger):
    for _ in range(60):
        record_performance("executor", SECOND, 0.9, source="person", ledger=ledger)
        for of in ("executor/-/complex", "executor/quick"):
            record_performance(of, SECOND, 0.1, source="person", ledger=ledger)
    _, about = await play("Analyze the market.")
    assert (about["content"], about["learned"]["class"]) == ("complex", "executor/-/complex")
    _, quick = await play(use="quick")
    assert quick["learned"]["class"] == "executor/quick"
    _, plain = await play()
    assert (plain.get("content"), plain["learned"]["class"]) == (None, "executor")


async def test_few_outcomes_leave_the_default_and_the_row_says_why(play, ledger):
    for _ in range(3):
        record_performance("executor", SECOND, 1, ledger=ledger)
    asked, choice = await play()
    assert (asked, choice["rule"]) == (FIRST, "role")
    assert choice["learned"] == {"class": "executor", "abstains": "few outcomes"}


async def test_the_less_of_a_budget_is_left_the_more_the_cheaper_model_is_worth(play, ledger):
    for _ in range(60):
        record_performance("executor", FIRST, 0.75, source="person", ledger=ledger)
        record_performance("executor", SECOND, 0.95, source="person", ledger=ledger)
    ledger.set_budget("day", "0.003")
    asked, whole = await play()
    assert (asked, whole["rule"]) == (SECOND, "learned")
    ledger.set_budget("day", 1)
    while report(ledger, "model").total.usd < Decimal("0.0016"):
        await play(model="together:deepseek-ai/DeepSeek-V4-Pro-0813")
    assert report(ledger, "model").total.usd < Decimal("0.0022")  # less than four fifths
    asked, of_much = await play()
    assert asked == SECOND
    ledger.set_budget("day", "0.003")
    asked, of_little = await play()
    assert (asked, of_little["rule"]) == (FIRST, "role")
    assert of_little["learned"]["abstains"] == "no certain gain"
    gains = [choice["learned"]["gain"] for choice in (of_much, whole, of_little)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] < gains[0]


def written(folder, name="router.json", **names):
    """A router that prefers the strong model for proofs, in the configuration of a folder."""
    labels = [Label(f"Prove lemma {n}, please.", 0, 1) for n in range(60)]
    labels += [Label(f"Which city is near number {n}?", 1, 1) for n in range(60)]
    names = names or {"weak": FIRST, "strong": SECOND}
    router = learn(labels, share=0.5, **names)
    (folder / name).write_text(router.model_dump_json(), encoding="utf-8")
    (folder / "pyproject.toml").write_text(f'[tool.aideon]\nrouter = "{name}"\n', encoding="utf-8")


async def test_a_router_decides_by_the_prompt_which_of_two_models_is_asked_first(
    play, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    both = [FIRST, SECOND]
    assert (await play("Prove lemma 3, please.", both))[0] == SECOND
    asked, choice = await play("Which city is near number 7?", both)
    assert (asked, choice["rule"], choice["learned"]) == (FIRST, "learned", {"router": FIRST})
    only, choice = await play("Prove lemma 3, please.", FIRST)
    assert (only, choice["rule"]) == (FIRST, "model")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[tool.aideon]\nrouter = "none.json"\n', "none.json cannot be read"),
        ("[tool.aideon]\nrouter = 3\n", "name of a router's file"),
        ('[tool.aideon]\nrouter = "pyproject.toml"\n', "is no router"),
    ],
)
async def test_a_router_that_cannot_be_used_is_an_error_before_a_call(
    play, tmp_path, monkeypatch, text, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        await play()


async def test_a_router_without_the_names_of_its_models_is_an_error(play, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, weak=None, strong=None)
    with pytest.raises(UserError, match="names no models"):
        await play()
