"""Reads the recorded outcomes: what two models made of the same prompts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.parquet

from aideon_agents.models.learning.router import Label

if TYPE_CHECKING:
    from pathlib import Path

MMLU, GSM8K = "MMLU", "GSM8K"
LETTERS = "ABCDEFGHIJKLMNOP"


class Pair(NamedTuple):
    """The outcomes of two models, by split."""

    train: list[Label]
    bench: list[Label]
    train_subjects: list[str]
    bench_subjects: list[str]
    costs: tuple[tuple[float, float], ...] = ()
    """US dollars by prompt of `bench`: of the weak and of the strong model; empty: unknown."""


def rows(data: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a file."""
    return pyarrow.parquet.read_table(data / name).to_pylist()


def routellm(data: Path, name: str) -> Pair:
    """A pair of the RouteLLM paper, without what the paper leaves out."""
    found = [
        one for one in rows(data, f"routellm_{name.lower()}.parquet") if not one["contaminated"]
    ]
    split = {part: [one for one in found if one["split"] == part] for part in ("train", "bench")}
    labels = {
        part: [
            Label(one["prompt"], float(one["weak_correct"]), float(one["strong_correct"]))
            for one in listed
        ]
        for part, listed in split.items()
    }
    subjects = {part: [one.get("subject", "") for one in listed] for part, listed in split.items()}
    return Pair(labels["train"], labels["bench"], subjects["train"], subjects["bench"])


def pro(data: Path, weak: str, strong: str) -> Pair:
    """A pair of MMLU-Pro, with the category and the options of each question."""
    prices = json.loads((data / "prices.json").read_text("utf-8"))
    outcomes: dict[str, dict[int, dict[str, Any]]] = {weak: {}, strong: {}}
    for one in rows(data, "mmlupro_outcomes.parquet"):
        if one["model"] in outcomes:
            outcomes[one["model"]][one["question_id"]] = one
    parts: dict[str, list[Label]] = {"train": [], "bench": []}
    costs: list[tuple[float, float]] = []
    for question in rows(data, "mmlupro_questions.parquet"):
        both = [outcomes[name].get(question["question_id"]) for name in (weak, strong)]
        if question["split"] not in parts or None in both:
            continue
        lettered = zip(LETTERS, json.loads(question["options"]), strict=False)
        prompt = "\n".join([question["question"], *(f"{at}. {text}" for at, text in lettered)])
        right = [float(one["correct"]) for one in both]
        parts[question["split"]].append(Label(prompt, *right, question["category"]))
        if question["split"] == "bench":
            spent = [
                cost(prices[name], len(prompt) / 4, one["output_tokens_cl100k"])
                for name, one in zip((weak, strong), both, strict=True)
            ]
            costs.append((spent[0], spent[1]))
    categories = ([one.category or "" for one in parts[part]] for part in ("train", "bench"))
    return Pair(parts["train"], parts["bench"], *categories, costs=tuple(costs))


def cost(prices: list[float], input_tokens: float, output_tokens: float) -> float:
    """US dollars of one answer; `prices` are of a million tokens, in and out."""
    return (prices[0] * input_tokens + prices[1] * (output_tokens or 0)) / 1e6
