"""`aideon models`: the catalog of models."""

from __future__ import annotations

import json


def test_the_list_shows_current_models_and_leaves_out_the_retired(aideon):
    shown = aideon("models", "list")
    assert "together:Qwen/Qwen3.5-9B" in shown.out
    assert "Mixtral" not in shown.out
    assert "retired 2026-04-16" in aideon("models", "list", "--all").out


def test_the_list_as_json_has_every_field(aideon):
    (one,) = [
        one
        for one in aideon("models", "list", "--json").document
        if one["name"] == "openai:gpt-4o-mini"
    ]
    assert (one["id"], one["origin"], one["modality"]) == ("gpt-4o-mini", "current", "text")
    assert one["lifecycle"]["date"] == "2027-01-14"
    assert one["prices"]["in"] == "0.15"
    assert one["capabilities"]["vision"] is True


def test_the_list_takes_a_modality_and_a_provider(aideon):
    shown = aideon("models", "list", "--modality", "code", "--provider", "huggingface", "--json")
    assert {(one["modality"], one["name"].partition(":")[0]) for one in shown.document} == {
        ("code", "huggingface")
    }
    unknown = aideon("models", "list", "--provider", "nobody", "--json")
    assert (unknown.code, unknown.out) == (2, "")
    assert "--provider nobody: the catalog has no model of it: use one of tog" in unknown.complaint
    nothing = aideon("models", "list", "--provider", "local", "--modality", "video")
    assert (nothing.code, nothing.out) == (0, "")
    assert "no model of the catalog is like that" in nothing.err


def test_the_seed_profile_lists_the_models_of_the_documents(aideon, monkeypatch):
    monkeypatch.setenv("AIDEON_PROFILE", "seed")
    listed = aideon("models", "list", "--json").document
    assert {one["origin"] for one in listed} == {"seed"}
    # The documents have prices of tokens alone, and some are wrong.
    of_tokens = [one["prices"] for one in listed if one["prices"] and one["prices"]["in"]]
    assert of_tokens
    assert not any(one["billed"] for one in of_tokens)


def test_show_prints_a_model_and_json_all_of_it(aideon):
    shown = aideon("models", "show", "together:mistralai/Mixtral-8x7B-Instruct-v0.1")
    assert shown.code == 0
    assert "retired" in shown.out
    assert "2026-04-16" in shown.out
    one = aideon("models", "show", "openai:gpt-6-luna", "--json").document
    assert (one["name"], one["rung"], one["capabilities"]["reasoning"]) == (
        "openai:gpt-6-luna",
        "small",
        True,
    )


def test_show_finds_a_family_of_the_documents(aideon):
    assert "openai:gpt-4o" in aideon("models", "show", "GPT-4o").out
    one = aideon("models", "show", "zephyr 7b", "--json").document
    assert (one["name"], one["id"], one["family"]) == ("huggingface:Zephyr 7B", None, "Zephyr 7B")
    assert one["lifecycle"]["replaced_by"].startswith("huggingface:")


def test_show_of_an_unknown_name_names_the_ones_that_are_like_it(aideon):
    assert "did you mean openai:gpt-4o" in aideon("models", "show", "gpt-4p").complaint
    assert (
        "did you mean together:Qwen/Qwen3.5-9B"
        in aideon("models", "show", "together:qwen/qwen3.5-9").complaint
    )
    assert "see aideon models list --all" in aideon("models", "show", "xyzzy").complaint


def test_a_catalog_that_is_invalid_is_one_line(aideon, folder, monkeypatch):
    (folder / "own.toml").write_text("[models.'together:m']\ntier = 'gold'\n")
    monkeypatch.setenv("AIDEON_CATALOG", "own.toml")
    for words in (["models", "list"], ["run", "brief", "--task", "Heat."]):
        done = aideon(*words)
        assert done.code == 2
        assert done.complaint.startswith(
            "the catalog own.toml: models.\"together:m\".tier: Input should be 'free'"
        )


RETIRED = "together:mistralai/Mixtral-8x7B-Instruct-v0.1"
TASK = f"""
name: old
type: sequential
steps:
  - {{agent: executor, name: facts, description: "Collect the facts", model: "{RETIRED}"}}
"""


def test_a_retired_name_in_a_task_file_is_replaced_where_the_user_says_so(aideon, folder):
    (folder / "old.yaml").write_text(TASK)
    words = ("run", "old.yaml", "--task", "Heat pumps move heat.", "--rehearse", "--json")
    refused = aideon(*words)
    assert refused.code == 2
    assert "is retired since 2026-04-16: use together:Qwen/Qwen3.5-9B" in refused.err
    done = aideon(*words, "--replace-retired")
    assert done.code == 0
    (call,) = aideon("runs", "show", "last", "--json").document["calls"]
    assert call["requested_model"] == "Qwen/Qwen3.5-9B"
    assert call["choice"]["replaces"] == RETIRED


def test_a_retired_name_of_a_batch_is_replaced_where_the_user_says_so(aideon, folder):
    (folder / "old.yaml").write_text(TASK)
    (folder / "items.jsonl").write_text('{"task": "Heat pumps move heat."}\n')
    words = ("batch", "old.yaml", "items.jsonl", "-o", "out.jsonl", "--rehearse")
    assert aideon(*words).code == 2
    assert aideon(*words, "--replace-retired", "--json").code == 0
    assert aideon("run", "brief", "--task", "Heat.", "--model", f"executor={RETIRED}").code == 2


def test_a_model_that_ends_is_warned_of_on_stderr(begin, folder, monkeypatch):
    life = '{status = "ending", date = 2999-01-14, replaced_by = "openai:gpt-6-luna"}'
    (folder / "own.toml").write_text(f"[models.'openai:acme-late']\nlifecycle = {life}\n")
    monkeypatch.setenv("AIDEON_CATALOG", "own.toml")
    process = begin(
        *("run", "brief", "--task", "Heat pumps move heat.", "--rehearse", "--json"),
        *("--model", "executor=openai:acme-late", "--model", "planner=openai:acme-late"),
    )
    out, err = process.communicate(timeout=100)
    warning = "openai:acme-late ends 2999-01-14: use openai:gpt-6-luna"
    assert (json.loads(out)["status"], err.count(warning)) == ("completed", 1)
