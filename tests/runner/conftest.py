"""Settings without a key, a ledger in a file, and a provider that is at hand."""

from __future__ import annotations

import pytest

from aideon_agents import Ledger, Settings


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory; the environment sets nothing."""
    for field in Settings.model_fields.values():
        for variable in field.validation_alias.choices:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def keyed():
    """Settings whose Together is a simulated provider."""

    def settings(provider, **fields) -> Settings:
        return Settings(together_api_key="key", together_base_url=provider.base_url, **fields)

    return settings
