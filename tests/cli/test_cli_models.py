"""`aideon models`: the catalog of models."""

from __future__ import annotations


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
    nothing = aideon("models", "list", "--provider", "nobody")
    assert (nothing.code, nothing.out) == (0, "")
    assert "no model of the catalog is like that" in nothing.err


def test_the_seed_profile_lists_the_models_of_the_documents(aideon, monkeypatch):
    monkeypatch.setenv("AIDEON_PROFILE", "seed")
    listed = aideon("models", "list", "--json").document
    assert {one["origin"] for one in listed} == {"seed"}
    assert all(not one["prices"]["billed"] for one in listed if one["prices"])
