"""What `import aideon_agents` gives, and that it gives it late."""

from __future__ import annotations

import subprocess
import sys

import pytest

import aideon_agents


@pytest.mark.parametrize("name", aideon_agents.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name):
    assert getattr(aideon_agents, name).__doc__


def test_the_public_names_are_sorted_and_listed():
    assert aideon_agents.__all__ == sorted(aideon_agents.__all__)
    assert dir(aideon_agents) == aideon_agents.__all__


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'agent_smith'"):
        aideon_agents.agent_smith  # noqa: B018 - asking for it is what is tested


def test_importing_the_package_imports_nothing_else():
    source = (
        "import sys, aideon_agents\n"
        "print({'langchain_core', 'langgraph', 'pydantic', 'openai'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
