"""What the catalog saves: another model in the place of one, for every prompt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from outcomes import Pair, cost, rows

if TYPE_CHECKING:
    from pathlib import Path

FILES = (
    *("routellm_mmlu.parquet", "routellm_gsm8k.parquet", "prices.json"),
    *("zeroeval_questions.parquet", "zeroeval_outcomes.parquet"),
    *("mmlupro_questions.parquet", "mmlupro_outcomes.parquet"),
)
LLAMA = "Llama-3.1-405B-Inst-fp8@together"
SWAPS = (
    ("MMLU-Pro", "Meta-Llama-3_1-70B-Instruct", "gemini-1.5-flash-002"),
    ("crux", LLAMA, "gpt-4o-mini-2024-07-18"),
    ("gsm", LLAMA, "Meta-Llama-3.1-70B-Instruct"),
    ("gsm", LLAMA, "Meta-Llama-3.1-8B-Instruct"),
    ("crux", LLAMA, "Meta-Llama-3.1-8B-Instruct"),
)
"""Task, the model in use, and the one in its place. The last two are the documents' own ladder."""


def show(data: Path) -> None:
    """Print what each swap saves, and what it does to quality."""
    prices = json.loads((data / "prices.json").read_text("utf-8"))
    tables = {
        "MMLU-Pro": _by_model(data, "mmlupro", "question_id"),
        **{task: _by_model(data, "zeroeval", "qid", task) for task in ("gsm", "crux")},
    }
    print("\nThe catalog's share: another model for every prompt, without a router")
    for task, used, other in SWAPS:
        table = tables[task]
        both = sorted(table.get(used, {}).keys() & table.get(other, {}).keys())
        if not both:
            continue
        gained = np.array([table[other][n][0] - table[used][n][0] for n in both])
        spent = [
            sum(cost(prices[name], *table[name][n][1:]) for n in both) for name in (used, other)
        ]
        low, high = bounds(gained)
        print(
            f"  {task:9} {used.partition('@')[0]:28} -> {other:28} {100 * gained.mean():+5.1f} points"
            f" [{low:+.1f}, {high:+.1f}], saves {100 * (1 - spent[1] / spent[0]):.1f} %, n = {len(both):,}"
        )


def routed(pair: Pair, sent: Any) -> str:
    """What routing saves in money against the strong model alone."""
    costs = np.array(pair.costs)
    saved = np.where(sent, 0.0, costs[:, 1] - costs[:, 0])
    drawn = np.random.default_rng(7).integers(0, len(saved), (1000, len(saved)))
    low, high = np.percentile(saved[drawn].sum(1) / costs[:, 1][drawn].sum(1), [2.5, 97.5])
    part = saved.sum() / costs[:, 1].sum()
    return (
        f"{100 * part:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of the strong model's cost saved"
    )


def bounds(values: Any) -> tuple[float, float]:
    """The bootstrap interval of a mean, in points."""
    drawn = np.random.default_rng(7).integers(0, len(values), (1000, len(values)))
    low, high = np.percentile(100 * values[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _by_model(
    data: Path, name: str, key: str, task: str | None = None
) -> dict[str, dict[Any, tuple[float, float, float]]]:
    """Right or wrong, input and output tokens, by model and question of the split `bench`."""
    asked: dict[Any, float] = {}
    for one in rows(data, f"{name}_questions.parquet"):
        if one["split"] == "bench" and task in (None, one.get("task")):
            text = one["question"] + one.get("options", "")
            asked[one[key]] = one.get("prompt_tokens_cl100k") or len(text) / 4
    found: dict[str, dict[Any, tuple[float, float, float]]] = {}
    for one in rows(data, f"{name}_outcomes.parquet"):
        if one[key] in asked:
            known = float(one["correct"]), asked[one[key]], one["output_tokens_cl100k"]
            found.setdefault(one["model"], {})[one[key]] = known
    return found
