"""The benchmark of routing on made-up outcomes: what it prints, and what it says without data."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

LLAMA, MINI = "Llama-3.1-405B-Inst-fp8@together", "gpt-4o-mini-2024-07-18"
FLASH, PRO = "gemini-1.5-flash-002", "gemini-1.5-pro-002"
SMALL, LARGE = "Meta-Llama-3_1-8B-Instruct", "Meta-Llama-3_1-70B-Instruct"
PRICES = {name: [3.5, 3.5] for name in (LLAMA, PRO, LARGE)} | {
    name: [0.1, 0.4] for name in (MINI, FLASH, SMALL)
}


def question(drawn):
    """A prompt, its kind, and whether a weak and a strong model are right."""
    kind = drawn.choice(["proof", "capital"])
    word = "".join(drawn.choices("abcdefgh", k=6))
    prompt = f"Prove that {word} is even." if kind == "proof" else f"Which city is near {word}?"
    return prompt, kind, drawn.random() < (0.2 if kind == "proof" else 0.9), drawn.random() < 0.9


def split(number):
    return "bench" if number % 3 == 0 else "train"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with outcomes of the same form as the recorded ones."""
    folder, drawn = tmp_path_factory.mktemp("outcomes"), random.Random(5)  # noqa: S311 - seeded
    tables = {name: [] for name in ("zeroeval_questions", "zeroeval_outcomes")}
    tables |= {name: [] for name in ("mmlupro_questions", "mmlupro_outcomes")}
    for name, count in (("mmlu", 930), ("gsm8k", 240)):
        made = [question(drawn) for _ in range(count)]
        tables[f"routellm_{name}"] = [
            {"prompt": prompt, "subject": f"{kind} {at % 4}", "contaminated": at == 1}
            | {"weak_correct": weak, "strong_correct": strong, "split": split(at)}
            for at, (prompt, kind, weak, strong) in enumerate(made)
        ]
    for at in range(240):
        prompt, kind, weak, strong = question(drawn)
        asked = {"question_id": at, "question": prompt, "options": '["1", "2"]', "category": kind}
        tables["mmlupro_questions"].append(asked | {"split": split(at)})
        chance = drawn.random() < 0.5
        right = {FLASH: weak, PRO: strong, SMALL: chance, LARGE: chance}
        tables["mmlupro_outcomes"] += [
            {"question_id": at, "model": model, "correct": one, "output_tokens_cl100k": 9}
            for model, one in right.items()
        ]
        asked = {"qid": f"q{at}", "task": "crux", "question": prompt, "prompt_tokens_cl100k": 9}
        tables["zeroeval_questions"].append(asked | {"split": split(at)})
        tables["zeroeval_outcomes"] += [
            {"qid": f"q{at}", "model": model, "correct": one, "output_tokens_cl100k": 9}
            for model, one in {LLAMA: strong, MINI: strong}.items()
        ]
    for name, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    (folder / "prices.json").write_text(json.dumps(PRICES), encoding="utf-8")
    return folder


def test_each_pair_is_measured_beside_chance_and_length(benchmark, data):
    # Its bars are for the recorded outcomes.
    printed = benchmark("routing", "--data", str(data), codes=(0, 1)).stdout
    for said in (
        "MMLU: Mixtral-8x7B or GPT-4, 310 prompts",
        "GSM8K: Mixtral-8x7B or GPT-4, 80 prompts",
        "learnt from 300 labels",
        "learnt without its subject",
        "abstains: the strong model is not better on these prompts",
        "learnt, category known",
        "of the strong model's cost saved",
        "+0.0 points [+0.0, +0.0], saves 92.9 %",
        "outcomes of 20 models",
    ):
        assert said in printed, printed


def test_without_data_it_says_so(benchmark, data, tmp_path):
    assert "nothing was measured" in benchmark("routing").stdout
    assert (
        "lacks routellm_mmlu.parquet"
        in benchmark("routing", "--data", str(tmp_path), codes=(2,)).stderr
    )
