"""The founding documents' tables, which the profile `seed` holds, and the names that are written today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aideon_agents import Settings
from aideon_agents.models import catalog
from aideon_agents.models.choosing import choose
from aideon_agents.models.providers import ModelName, providers
from aideon_agents.state import ModelRequest

ROOT = Path(__file__).parents[2]
WRITTEN = [
    path
    for place in ("README.md", "docs", "examples", "workflows", "aideon_agents")
    for path in ([ROOT / place] if (ROOT / place).is_file() else sorted((ROOT / place).rglob("*")))
    if path.suffix in {".md", ".py", ".yaml", ".yml", ".json", ".jsonl", ".toml"}
    and path.name != "models.toml"
]
NAME = re.compile(r"\b(?:together|openai|huggingface|replicate|runway|stability):[\w./:-]*[\w]")

LLAMA = "meta-llama/Meta-Llama-3.1-{}-Instruct-Turbo"
OF_002 = {
    "text": (LLAMA.format("8B"), LLAMA.format("70B"), LLAMA.format("405B")),
    "code": ("Nexusflow/NexusRaven-V2-13B", *2 * ["deepseek-ai/deepseek-coder-33b-instruct"]),
    "vision": ("Qwen/Qwen-VL-Chat", *2 * ["deepseek-ai/deepseek-vl-7b-chat"]),
    "image": ("stabilityai/sdxl-turbo", *2 * ["stabilityai/stable-diffusion-xl-base-1.0"]),
    "tts": ("cartesia/Sonic-English", *2 * ["cartesia/Sonic-English-Plus"]),
    "stt": 3 * ("openai/whisper-large-v3",),
}
"""By modality: the models of the tiers free, premium and enterprise."""
OF_003 = {
    ("text", "free", "primary"): LLAMA.format("8B"),
    ("text", "free", "fallback"): "mistralai/Mixtral-8x7B-Instruct-v0.1",
    ("text", "premium", "fallback"): LLAMA.format("70B"),
    ("text", "premium", "critical"): LLAMA.format("405B"),
    ("code", "free", "primary"): "Nexusflow/NexusRaven-V2-13B",
    ("code", "free", "fallback"): "codellama/CodeLlama-13b-Instruct-hf",
    ("code", "premium", "fallback"): "deepseek-ai/deepseek-coder-33b-instruct",
    ("code", "premium", "complex"): "codellama/CodeLlama-70b-Instruct-hf",
    ("vision", "free", "primary"): "deepseek-ai/DeepSeek-VL-7B-Chat",
    ("vision", "premium", "fallback"): "Qwen/Qwen-VL-Chat",
    ("vision", "premium", "specialised"): "Snowflake/snowflake-arctic-instruct",
    ("image", "free", "primary"): "stabilityai/stable-diffusion-xl-base-1.0",
    ("image", "free", "secondary"): "runwayml/stable-diffusion-v1-5",
    ("image", "premium", "quick"): "stabilityai/sdxl-turbo",
    ("image", "premium", "high_quality"): "playgroundai/playground-v2.5",
    ("tts", "free", "primary"): "cartesia/sonic",
    ("tts", "premium", "primary"): "cartesia/sonic",
    ("stt", "free", "primary"): "whisper-medium",
    ("stt", "premium", "primary"): "whisper-large-v3",
}
FAMILIES_OF_004 = {
    *("Mistral 7B", "Mixtral 8x22B", "CodeLlama 7B", "CodeLlama 13B", "CodeLlama 34B"),
    *("WizardCoder Python 34B", "RedPajama INCITE", "Nous Hermes", "Qwen", "Zephyr 7B"),
    *("DialoGPT", "BlenderBot", "StarCoder", "CodeGen", "Salesforce code generation"),
    *("DistilGPT2", "GPT-2", "EleutherAI"),
}


def table(document):
    """A document's table: the models at Together by modality, tier and use."""
    return {
        (one.modality, row.tier, row.use): one.id
        for one in catalog.load(profile="seed").entries.values()
        for row in one.listed
        if row.document == document and row.tier and one.provider == "together"
    }


def test_the_table_of_tiers_of_document_002_is_complete():
    tiers = ("free", "premium", "enterprise")
    assert table("002") == {
        (modality, tier, "primary"): model
        for modality, models in OF_002.items()
        for tier, model in zip(tiers, models, strict=True)
    }


def test_the_tables_of_roles_of_document_003_are_complete():
    assert table("003") == OF_003


def test_the_roles_and_complexities_of_document_000_are_those_of_the_sizes():
    seed = catalog.load(profile="seed")
    rows = {
        rung: row
        for rung, (name,) in seed.rungs.items()
        for row in seed.entries[str(name)].listed
        if row.document == "000"
    }
    assert {rung: (row.roles, row.complexity) for rung, row in rows.items()} == {
        "small": (("executor", "validator"), ("low",)),
        "medium": (("planner",), ("medium",)),
        "large": (("creative",), ("high",)),
    }


def test_the_prices_of_document_000_are_kept_as_they_are():
    kept = {
        one.id: (str(one.prices.input), str(one.prices.output))
        for one in catalog.load(profile="seed").entries.values()
        if one.origin == "seed" and one.prices and not one.prices.billed
    }
    assert kept == {
        LLAMA.format("8B"): ("0.18", "0.59"),
        LLAMA.format("70B"): ("0.88", "0.88"),
        LLAMA.format("405B"): ("3.50", "3.50"),
        "meta-llama/Llama-Vision-Free": ("0.18", "0.18"),
    }


def test_the_families_of_document_004_have_no_id_and_a_successor_that_is_offered():
    current = catalog.load()
    families = {
        one.family: one
        for one in current.families.values()
        if any(row.document == "004" for row in one.listed)
    }
    assert set(families) == FAMILIES_OF_004
    for one in families.values():
        assert one.id is None
        assert current.entries[str(one.lifecycle.replaced_by)].lifecycle.status == "active"


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_written_name_is_of_a_model_that_is_gone_or_ends(path):
    current = catalog.load().entries
    named = {name for name in NAME.findall(path.read_text("utf-8")) if name in current}
    assert [name for name in named if current[name].lifecycle.status in {"ending", "retired"}] == []


BY_ROLE = {"planner": "70B", "executor": "8B", "validator": "8B", "creative": "405B"}


@pytest.fixture
def seed():
    settings = Settings(together_api_key="a", profile="seed")
    listed, known = catalog.load(profile="seed"), providers(settings)

    def first(tier, modality=None, **request):
        given = ModelRequest(**{"role": "executor", **request})
        return choose(given, tier, listed, known, modality=modality).chain[0]

    return first


@pytest.mark.parametrize("modality", OF_002)
def test_the_seeds_tables_by_modality_and_tier_come_out(seed, modality):
    found = [seed(tier, modality) for tier in ("free", "premium", "enterprise")]
    assert found == [ModelName("together", name) for name in OF_002[modality]]


@pytest.mark.parametrize(("modality", "tier", "use"), OF_003)
def test_the_seeds_tables_by_modality_tier_and_use_come_out(seed, modality, tier, use):
    assert seed(tier, modality, use=use) == ModelName("together", OF_003[modality, tier, use])


@pytest.mark.parametrize("role", BY_ROLE)
def test_the_seeds_ladder_by_role_comes_out(seed, role):
    assert f"3.1-{BY_ROLE[role]}-" in str(seed("enterprise", role=role))
