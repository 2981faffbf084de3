"""Bodies that real servers send and nobody documents: what is known of them, and what is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from aideon_agents import Context, CostHandler, Ledger, Settings, arun, errors, executor
from aideon_agents.models import Models
from aideon_agents.state import ModelRequest

if TYPE_CHECKING:
    from pathlib import Path

USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


class Facts(BaseModel):
    facts: list[str]


def body(message: dict[str, Any] | None = None, usage: Any = USAGE, finish: str = "stop") -> Any:
    said = {"role": "assistant", "content": "Heat moves."} if message is None else message
    return {
        "id": "x",
        "object": "chat.completion",
        "model": "openai/gpt-oss-120b",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        "usage": usage,
    }


@pytest.fixture
def ask(server: Any, tmp_path: Path) -> Any:
    """Ask the odd server once; its rows, the result, and what it was asked."""

    async def asked(*bodies: Any, output: type[BaseModel] | None = None, **options: Any) -> Any:
        server.answers = list(bodies)
        settings = Settings(local_base_url=server.url, offline=False)
        node = executor("facts", model="local:openai/gpt-oss-120b", output=output, **options)
        with Ledger(tmp_path / "ledger.db") as ledger:
            result = await arun(node, "Task.", settings=settings, ledger=ledger)
            return result, ledger.calls(result.run_id)

    return asked


@pytest.mark.parametrize(
    "usage",
    [
        {},
        None,
        {"total_tokens": 110},
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": 100},
        {"prompt_tokens": -1, "completion_tokens": 10},
        {"prompt_tokens": True, "completion_tokens": 10},
        {"prompt_tokens": "many", "completion_tokens": 10},
        [100, 10],
        "lots",
    ],
)
async def test_usage_without_both_counts_is_unknown_and_never_zero(ask, usage):
    result, (row,) = await ask(body(usage=usage))
    assert (result.status, row.status, row.usage_source) == ("completed", "ok", "none")
    assert (row.input_tokens, row.output_tokens) == (None, None)


@pytest.mark.parametrize(
    "usage",
    [USAGE, {"input_tokens": 100, "output_tokens": 10}, {**USAGE, "prompt_tokens": "100"}],
)
async def test_usage_by_other_names_or_as_text_is_read(ask, usage):
    _, (row,) = await ask(body(usage=usage))
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (100, 10, "reported")


@pytest.mark.parametrize(
    ("sent", "tokens"),
    [
        ({**body(), "choices": []}, (100, 10)),
        (body({"role": "assistant", "content": ""}), (100, 10)),
        (body({"role": "assistant", "content": None}), (100, 10)),
        ({**body(usage=None), "choices": []}, (None, None)),
    ],
)
async def test_an_answer_without_an_answer_is_tried_again_and_costs_what_was_reported(
    ask, sent, tokens
):
    result, rows = await ask(sent, body())
    assert result.status == "completed"
    assert [(row.status, row.error_type) for row in rows] == [("error", "Transient"), ("ok", None)]
    assert (rows[0].input_tokens, rows[0].output_tokens) == tokens


async def test_a_refusal_is_an_error_that_is_paid(ask):
    result, (row,) = await ask(body({"role": "assistant", "content": None, "refusal": "No."}))
    assert (result.status, row.error_type, row.output_tokens) == ("failed", "Refused", 10)


@pytest.mark.parametrize(
    "said",
    [
        {"content": ""},
        {"content": None},
        {"content": None, "reasoning_content": "Hm."},
        {"content": "", "reasoning": "Hm."},
    ],
)
async def test_an_empty_answer_that_met_its_limit_is_asked_for_once_more_with_more_room(ask, said):
    empty = body({"role": "assistant", **said}, finish="length")
    result, rows = await ask(empty, body())
    assert (result.output, [row.status for row in rows]) == ("Heat moves.", ["error", "ok"])
    assert [row.output_tokens for row in rows] == [10, 10]
    result, rows = await ask(empty)
    assert (result.status, [row.error_type for row in rows]) == ("failed", ["Transient"] * 2)
    assert "max_tokens (4096)" in result.error
    assert "max_tokens (8192)" in result.error


async def test_tool_arguments_that_come_as_an_object_are_understood(ask):
    def stock(item: str) -> str:
        """How many of an item are in stock."""
        return f"3 {item}"

    function = {"name": "stock", "arguments": {"item": "pump"}}
    call = {"id": "c1", "type": "function", "function": function}
    calling = body(
        {"role": "assistant", "content": None, "tool_calls": [call]}, finish="tool_calls"
    )
    result, rows = await ask(calling, body(), tools=[stock])
    assert (result.output, [row.status for row in rows]) == ("Heat moves.", ["ok", "ok"])


@pytest.mark.parametrize(
    "said",
    [
        'Here is the JSON:\n```json\n{"facts": ["a"]}\n```\nHope this helps.',
        'Sure! {"facts": ["a"]} That is all.',
        '<think>{"facts": 1}</think>\n{"facts": ["a"]}',
    ],
)
async def test_json_among_words_is_found(ask, said):
    result, rows = await ask(body({"role": "assistant", "content": said}), output=Facts)
    assert (result.status, len(rows)) == ("completed", 1)
    assert result.results["facts"].data == Facts(facts=["a"])


async def test_a_server_that_ignores_the_format_is_told_the_schema_in_words(ask, server):
    answer = body({"role": "assistant", "content": '{"facts": ["a"]}'})
    result, rows = await ask(body(), answer, output=Facts)
    assert (result.status, len(rows)) == ("completed", 2)
    assert '"facts"' in server.asked[1]["messages"][-1]["content"]


def chunk(**parts: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": parts.get("text", "")}, "finish_reason": None}
    return {
        "id": "x",
        "object": "chat.completion.chunk",
        "model": "openai/gpt-oss-120b",
        "choices": [choice] if "text" in parts else [],
        "usage": parts.get("usage"),
    }


async def test_a_stream_that_breaks_off_after_its_usage_costs_that(server, tmp_path):
    sent = [chunk(text="Heat "), chunk(text="moves."), chunk(usage=USAGE)]
    server.answers = ["".join(f"data: {json.dumps(one)}\n\n" for one in sent).encode()]
    models = Models(Settings(local_base_url=server.url, offline=False))
    request = ModelRequest(role="executor", model=("local:openai/gpt-oss-120b",))
    chain = models.chat(request, Context(stream=True))
    with Ledger(tmp_path / "ledger.db") as ledger:
        with pytest.raises(errors.AllModelsFailed):
            await chain.ainvoke("Task.", {"callbacks": [CostHandler(ledger)]})
        rows = ledger.calls(ledger.runs()[0].run_id)
    row, again = rows
    assert again.status == row.status  # no other candidate is left: once more
    assert (row.status, row.input_tokens, row.output_tokens) == ("broken", 100, 10)
    assert (row.usage_source, row.cost_nanousd) == ("reported", 0)


@pytest.mark.parametrize("count", [10**25, 2**63 - 1, "9" * 40])
async def test_a_count_that_no_call_can_have_is_unknown_and_costs_nobody_the_answer(ask, count):
    result, (row,) = await ask(body(usage={**USAGE, "prompt_tokens": count}))
    assert (result.status, result.output) == ("completed", "Heat moves.")
    assert (row.status, row.input_tokens, row.usage_source) == ("ok", None, "none")


async def test_half_a_character_in_an_answer_loses_nothing_else(ask):
    result, _ = await ask(body({"role": "assistant", "content": "Heat \ud800 moves."}))
    assert result.output == "Heat � moves."


async def test_a_redirect_is_not_followed_to_an_address_that_nobody_chose(ask, server):
    moved = (308, {}, {"location": server.url.replace("/v1", "/elsewhere")})
    result, rows = await ask(moved)
    assert (result.status, len(rows)) == ("failed", len(server.asked))
    assert "308" in result.error
