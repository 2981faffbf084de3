"""`aideon models choose`: the chain of a request, and why the other models are not in it."""

from __future__ import annotations

import pytest


@pytest.fixture
def together(monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "secret-key")


def test_the_chain_is_numbered_and_the_others_have_their_reasons(aideon, together):
    done = aideon("models", "choose", "--role", "planner")
    assert done.code == 0
    assert done.err == "chosen by the role, size medium, tier premium\n"
    chain, _, others = done.out.partition("\n\nnot asked:\n")
    assert chain.startswith("1. together:openai/gpt-oss-120b\n2. together:")
    assert "  openai:gpt-6.1-terra: no OPENAI_API_KEY\n" in others
    assert "tier premium stops at medium" in others
    assert max(map(len, done.out.splitlines())) <= 90
    assert "secret-key" not in done.out + done.err


def test_json_has_the_chain_the_rule_and_the_reasons(aideon, together):
    flags = ("--complexity", "high", "--tier", "enterprise", "--json")
    found = aideon("models", "choose", *flags).document
    assert list(found) == [
        *("tier", "rule", "rung", "use", "content", "chain", "rejected", "ending")
    ]
    assert (found["rule"], found["rung"], found["tier"]) == ("complexity", "large", "enterprise")
    assert {"model": "openai:gpt-6.1-sol", "why": "no OPENAI_API_KEY"} in found["rejected"]


def test_a_long_task_and_a_small_budget_leave_models_out(aideon, together):
    long = aideon("models", "choose", "--task", "word " * 150_000, "--json").document
    why = {one["model"]: one["why"] for one in long["rejected"]}
    assert why["together:Qwen/Qwen2.5-7B-Instruct-Turbo"].startswith("context 32,768 < ")
    cheap = aideon("models", "choose", "--role", "planner", "--budget", "$0.001", "--json").document
    assert any(one["why"].startswith("more expensive than") for one in cheap["rejected"])


def test_without_a_key_it_shows_what_every_key_would_allow(aideon):
    done = aideon("models", "choose", "--use", "critical")
    assert done.err.startswith(
        "no provider has a key: this is the choice if each of them had one\n"
    )
    assert "1. together:" in done.out


def test_a_private_catalog_profile_and_a_modality_are_taken(aideon, monkeypatch):
    monkeypatch.setenv("AIDEON_PROFILE", "seed")
    found = aideon("models", "choose", "--modality", "image", "--use", "quick", "--json").document
    assert found["chain"][0] == "together:stabilityai/sdxl-turbo"


def test_the_words_of_a_task_choose_as_they_do_in_a_run(aideon, together):
    done = aideon("models", "choose", "--task", "ANALYZE the market")
    assert done.err == "chosen by the content (complex), size medium, tier premium\n"
    given = aideon("models", "choose", "--task", "Analyze it", "--complexity", "low", "--json")
    assert (given.document["rule"], given.document["content"]) == ("complexity", None)


def test_a_private_task_goes_to_servers_of_ones_own_or_is_refused(
    aideon, together, tmp_path, monkeypatch
):
    refused = aideon("models", "choose", "--task", "Write to bob@example.com")
    assert refused.code == 1
    assert refused.complaint.startswith("the prompt holds an email address, and may not leave")
    monkeypatch.chdir(tmp_path)
    table = '[tool.aideon.deployments.mine]\nbase_url = "http://127.0.0.1:9/v1"\nprivate = true\n'
    (tmp_path / "pyproject.toml").write_text(table + 'model = "qwen"\n', encoding="utf-8")
    found = aideon("models", "choose", "--task", "Write to bob@example.com", "--json").document
    assert (found["rule"], found["chain"]) == ("privacy", ["mine:qwen"])
    why = {one["model"]: one["why"] for one in found["rejected"]}
    assert why["together:Qwen/Qwen3.5-9B"] == "private prompt: an email address"
    harmless = aideon("models", "choose", "--task", "Write to Bob", "--json").document
    assert harmless["chain"][0] == "together:Qwen/Qwen3.5-9B"


def test_a_deployment_is_chosen_as_in_a_run_where_no_provider_has_a_key(
    aideon, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    table = '[tool.aideon.deployments.mine]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "qwen"\n'
    (tmp_path / "pyproject.toml").write_text(table, encoding="utf-8")
    done = aideon("models", "choose")
    assert done.err == "chosen by the role, size small, tier premium\n"
    assert done.out.startswith("1. mine:qwen\n\nnot asked:\n")
    assert "  together:Qwen/Qwen3.5-9B: no TOGETHER_API_KEY\n" in done.out
    (tmp_path / "pyproject.toml").write_text(table.replace("model =", "#"), encoding="utf-8")
    refused = aideon("models", "choose")
    assert (refused.code, refused.out) == (2, "")
    assert "give --model executor=mine:MODEL, set TOGETHER_API_KEY" in refused.err


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--tier", "fre"), "there is no tier 'fre': one of free, premium, enterprise"),
        (("--budget", "much"), "--budget is 'much': give US dollars, such as 0.05"),
        (("--budget", "-1"), "--budget is '-1': give US dollars, such as 0.05"),
        (("--budget", "nan"), "--budget is 'nan': give US dollars, such as 0.05"),
        (("--role", "writer"), "Invalid value for '--role'"),
        (("--use", "best"), "Invalid value for '--use'"),
    ],
)
def test_a_wrong_flag_is_a_mistake_of_the_caller(aideon, flags, complaint):
    done = aideon("models", "choose", *flags)
    assert done.code == 2
    assert done.complaint.startswith(complaint)
