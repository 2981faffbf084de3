"""An environment in which nothing is set."""

from __future__ import annotations

import pytest

from aideon_agents.settings import Settings


@pytest.fixture(autouse=True)
def nothing_is_set(tmp_path, monkeypatch):
    for field in Settings.model_fields.values():
        for variable in field.validation_alias.choices:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
