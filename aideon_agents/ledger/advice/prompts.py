"""Prompts that grow from call to call and are paid for afresh each time.

A ledger holds no prompts, so what is repeated in them is not known. But where a node calls one
model several times in a run, and its prompt never becomes shorter, it is a conversation: each call
sends what the last one sent, and more. Then all prompts but the longest are, at most, repetition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.ledger.advice.cells import FEW, Advice, money, named, percent
from aideon_agents.ledger.advice.prices import saved_by_cache
from aideon_agents.ledger.pricing import usd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aideon_agents.ledger.database import Row
    from aideon_agents.ledger.dimensions import Selection
    from aideon_agents.ledger.store import Ledger

CACHED_FROM = 1024
"""Tokens of the shortest prompt that providers keep; a shorter one is never read from a cache."""

NOTABLE_SHARE = 0.05
"""Of the cost: one dollar in twenty."""


def repeated_input(ledger: Ledger, selection: Selection, whole: int) -> Iterator[Advice]:
    """Find nodes that send the same again without the provider's cache."""
    found = ledger.select(
        f"""
        SELECT node, provider, model, COUNT(*) AS runs, SUM(calls) AS calls,
            SUM(repeated) AS repeated, SUM(input_tokens) AS input_tokens, MAX(last) AS last,
            SUM(cached) AS cached
        FROM (
            SELECT node, provider, model, run_id, COUNT(*) AS calls, MAX(started_at) AS last,
                SUM(input_tokens) - MAX(input_tokens) AS repeated,
                SUM(input_tokens) AS input_tokens, SUM(cache_read_tokens) AS cached
            FROM (
                SELECT calls.node_path AS node, calls.provider AS provider,
                    calls.requested_model AS model, calls.run_id AS run_id,
                    calls.started_at AS started_at, calls.input_tokens AS input_tokens,
                    COALESCE(calls.cache_read_tokens, 0) AS cache_read_tokens,
                    LAG(calls.input_tokens) OVER (
                        PARTITION BY calls.run_id, calls.node_path, calls.provider,
                            calls.requested_model
                        ORDER BY calls.started_at, calls.call_id
                    ) AS before
                FROM calls {selection.where("calls")}
                    AND calls.status = 'ok' AND calls.input_tokens IS NOT NULL
            ) AS in_order
            GROUP BY node, provider, model, run_id
            HAVING COUNT(*) > 1 AND COUNT(*) FILTER (WHERE before > input_tokens) = 0
        ) AS growing
        GROUP BY node, provider, model ORDER BY node, provider, model
        """,  # noqa: S608 - both parts are ours
        selection.values,
    )
    for row in found:
        again = int(row["calls"]) - row["runs"]
        repeated, cached = int(row["repeated"]), int(row["cached"])
        if again < FEW or cached or repeated < CACHED_FROM * again:
            continue
        provider, model = row["provider"], row["model"]
        saved = again * saved_by_cache(provider, model, repeated // again, row["last"])
        if saved and saved >= NOTABLE_SHARE * whole:
            yield _said(row["node"], f"{provider}:{model}", row, saved)


def _said(node: str, model: str, row: Row, saved: int) -> Advice:
    calls, repeated, sent = int(row["calls"]), int(row["repeated"]), int(row["input_tokens"])
    return Advice(
        kind="repeated_input",
        where=named(node),
        text=(
            f"{calls:,} calls of {model} in {row['runs']:,} runs sent prompts that only grew, and"
            f" no cache read was reported: up to {repeated:,} of {sent:,} input tokens"
            f" ({percent(repeated / sent)}) had been sent before. Read from the provider's cache,"
            f" the same tokens cost up to {money(saved)} less. Keep what does not change at the"
            " beginning of the prompt, and see whether the provider has to be told to cache"
        ),
        figures={
            "model": model,
            "runs": row["runs"],
            "calls": calls,
            "input_tokens": sent,
            "repeated_tokens_at_most": repeated,
            "cache_read_tokens": 0,
            "cache_discount_usd": usd(saved),
        },
        nanousd=saved,
    )
