"""`aideon models learn`: labels in, a router out."""

from __future__ import annotations

import json
import random
import sys

import pytest

NAMES = ("--weak", "together:small", "--strong", "together:big")


@pytest.fixture
def labels(folder):
    """Writes labels, each with some more fields, and gives back the file's name."""

    def write(count=120, **more):
        drawn = random.Random(3)  # noqa: S311 - chance in a test
        lines = []
        for _ in range(count):
            is_proof = drawn.random() < 0.5
            text = "Prove that {} is even." if is_proof else "Which city is near {}?"
            prompt = text.format("".join(drawn.choices("abcdefgh", k=6)))
            label = {"prompt": prompt, "weak": int(not is_proof), "strong": 1, **more}
            lines.append(json.dumps(label))
        (folder / "labels.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return "labels.jsonl"

    return write


def test_a_router_is_written_with_the_figures_it_rests_on(aideon, labels, folder):
    done = aideon("models", "learn", labels(), *NAMES, "-o", "own.json")
    assert done.code == 0, done.err
    assert "120 labels: APGR" in done.out
    assert 'router = "own.json"' in done.err
    written = json.loads((folder / "own.json").read_text("utf-8"))
    assert (written["weak"], written["strong"], written["abstains"]) == (NAMES[1], NAMES[3], None)


def test_figures_come_as_json(aideon, labels):
    found = aideon("models", "learn", labels(), "--share", "0.3", "--json").document
    assert (found["file"], found["labels"], found["share"]) == ("router.json", 120, 0.3)
    assert found["apgr"][1] <= found["apgr"][0] <= found["apgr"][2]


def test_too_few_labels_give_a_router_that_abstains(aideon, labels, folder):
    done = aideon("models", "learn", labels(10), *NAMES)
    assert (done.code, done.out.startswith("abstains: 10 labels are too few")) == (0, True)
    assert json.loads((folder / "router.json").read_text("utf-8"))["abstains"]


def test_one_model_cannot_be_the_weak_and_the_strong_one(aideon, labels, folder):
    done = aideon("models", "learn", labels(10), "--weak", "together:a", "--strong", "together:a")
    assert (done.code, done.complaint) == (
        2,
        "--weak and --strong are both together:a: name two models",
    )
    assert not (folder / "router.json").exists()


def test_a_verdict_that_a_model_gave_itself_is_refused(aideon, labels):
    own = aideon("models", "learn", labels(judge="huggingface:any/BIG"), *NAMES)
    assert own.code == 2
    assert own.complaint.startswith("labels.jsonl:1: huggingface:any/BIG judged itself")
    unnamed = aideon("models", "learn", labels(judge="openai:gpt-4o"))
    assert "--weak and --strong" in unnamed.complaint
    assert aideon("models", "learn", labels(judge="openai:gpt-4o"), *NAMES).code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no labels"),
        ("{", "labels.jsonl:1 is no JSON"),
        ("[]", "labels.jsonl:1 is no label"),
        ('{"prompt": 1, "weak": 0, "strong": 1}', "labels.jsonl:1: prompt"),
        ('\n{"prompt": "a", "weak": 2, "strong": 1}', "labels.jsonl:2: weak and strong"),
        ('{"prompt": "a", "weak": NaN, "strong": 1}', "labels.jsonl:1: weak and strong"),
        ('{"prompt": "a", "strong": 1}', "labels.jsonl:1: weak and strong"),
        ('{"prompt": "a", "weak": 0, "strong": 1, "judge": 3}', "labels.jsonl:1: judge"),
    ],
)
def test_a_line_that_is_no_label_is_named(aideon, folder, text, said):
    (folder / "labels.jsonl").write_text(text, encoding="utf-8")
    done = aideon("models", "learn", "labels.jsonl")
    assert done.code == 2
    assert said in done.complaint


@pytest.mark.parametrize(
    "flags", [("--weak", "nobody:x"), ("-o", "none/router.json"), ("--share", "2")]
)
def test_wrong_flags_are_the_callers_mistake(aideon, labels, flags):
    assert aideon("models", "learn", labels(), *flags).code == 2


def test_a_file_that_is_not_there_is_named(aideon):
    assert "none.jsonl cannot be read" in aideon("models", "learn", "none.jsonl").complaint


def test_without_numpy_the_extra_is_named(aideon, labels, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    done = aideon("models", "learn", labels())
    assert done.code == 2
    assert "pip install 'aideon-agents[learn]'" in done.complaint
