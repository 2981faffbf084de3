"""Routers: what they learn from labels, when they abstain, and their files."""

from __future__ import annotations

import random

import numpy as np
import pytest

from aideon_agents.errors import InputError
from aideon_agents.models.learning.fitting import (
    FEWEST,
    Features,
    apgr,
    fit,
    interval,
    learn,
    share_for,
)
from aideon_agents.models.learning.router import Label, Router

KINDS = {
    "proof": ("Prove that the sum of {} and {} is even.", 0.2, 0.9),
    "capital": ("Which city is the capital of {}, near {}?", 0.9, 0.9),
    "riddle": ("What is both {} and {}, and never seen twice?", 0.1, 0.1),
}


def made(count: int, *, seed: int = 1, useful: bool = True) -> list[Label]:
    """So many labels. Not `useful`: their prompts say nothing about who is right."""
    drawn = random.Random(seed)  # noqa: S311 - chance in a test
    labels = []
    for _ in range(count):
        kind = drawn.choice(list(KINDS))
        text = KINDS[kind][0] if useful else "Tell me about {} and {}."
        prompt = text.format(*("".join(drawn.choices("abcdefgh", k=6)) for _ in range(2)))
        right = [float(drawn.random() < chance) for chance in KINDS[kind][1:]]
        labels.append(Label(prompt, *right))
    return labels


PAIR = {"weak": "together:small", "strong": "together:big"}


def gains_of(labels):
    return np.array([one.strong - one.weak for one in labels])


@pytest.fixture(scope="module")
def router():
    return learn(made(300), **PAIR)


def test_a_router_learns_where_the_strong_model_is_better_and_not_what_is_hard(router):
    assert router.abstains is None
    fresh = made(300, seed=2)
    scores = np.array([router.score(one.prompt) for one in fresh])
    assert apgr(scores, gains_of(fresh)) > 0.75
    proof, riddle = (KINDS[kind][0].format("ab", "cd") for kind in ("proof", "riddle"))
    assert router.score(proof) > router.score(riddle) + 0.1


def test_a_file_decides_as_the_fitted_weights_do(router, tmp_path):
    labels = [one._replace(category="odd" if len(one.prompt) % 2 else "even") for one in made(200)]
    features, categories = (
        Features.of([one.prompt for one in labels]),
        [one.category for one in labels],
    )
    expected = fit(features, gains_of(labels), categories).scores(features, categories)
    file = tmp_path / "router.json"
    file.write_text(learn(labels, **PAIR).model_dump_json())
    loaded = Router.load(file)
    found = [loaded.score(one.prompt, one.category) for one in labels]
    assert found == pytest.approx(expected.tolist(), abs=0.005)
    assert file.stat().st_size < 500_000


@pytest.mark.parametrize("prompt", ["", " ", "\ud800", "x" * 100_000, "熱 🌡 " * 2000, "\x00\n\n"])
def test_any_prompt_has_an_estimate(router, prompt):
    assert -2 < router.score(prompt) < 2


def test_a_category_that_is_new_counts_for_nothing(router):
    assert router.score("Prove it.", "new") == router.score("Prove it.")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (made(FEWEST - 1), "too few"),
        ([Label(one.prompt, one.strong, one.weak) for one in made(200)], "not better"),
        ([Label(one.prompt, 1.0, 1.0) for one in made(200)], "not better"),
        (made(400, useful=False), "chance"),
        ([Label("the same", one.weak, one.strong) for one in made(200)], "chance"),
    ],
)
def test_a_router_abstains_where_labels_do_not_tell_the_models_apart(labels, said):
    assert said in (learn(labels, **PAIR).abstains or "")


def test_a_router_abstains_where_the_length_alone_does_as_well():
    drawn = np.random.default_rng(3).integers(1, 60, 400)
    labels = [Label("a " * n, 0.0 if n > 30 else 1.0, 1.0) for n in map(int, drawn)]
    found = learn(labels, **PAIR)
    assert found.abstains is None or "length" in found.abstains


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_that_is_wanted_is_the_share_that_is_sent(share):
    labels = made(400)
    found = learn(labels, share=share, **PAIR)
    fresh = made(400, seed=5)
    sent = np.mean([found.prefers_strong(one.prompt) for one in fresh])
    assert sent == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"format": 1}', "\x00", '{"weak": "a:b", "words": "AAAA"}']
)
def test_a_file_that_is_no_router_is_an_error_that_names_it(tmp_path, text):
    file = tmp_path / "broken.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"broken\.json is no router"):
        Router.load(file)


def test_a_router_whose_numbers_are_broken_is_an_error(router, tmp_path):
    file = tmp_path / "broken.json"
    file.write_text(router.model_copy(update={"words": router.words[:50]}).model_dump_json())
    with pytest.raises(InputError, match=r"broken\.json is no router"):
        Router.load(file)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.json cannot be read"):
        Router.load(tmp_path / "none.json")


def test_the_area_is_a_half_by_chance_and_more_where_gains_come_first():
    gains = np.array([1.0] * 10 + [0.0] * 30)
    assert apgr(np.arange(40.0)[::-1], gains) == pytest.approx(0.875)
    assert apgr(np.arange(40.0), gains) == pytest.approx(0.125)
    low, high = interval(np.arange(40.0)[::-1], gains)
    assert low < 0.875 < high
    assert share_for(np.arange(40.0)[::-1], gains, 0.5) == pytest.approx(5 / 40)
