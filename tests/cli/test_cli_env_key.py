"""A key from `.env` is kept out of everything, also when it does not look like a key."""

from __future__ import annotations

from pathlib import Path

from aideon_agents.cli.app import main
from aideon_agents.testing import Fault, SimulatedProvider

KEY = "correct horse battery"


def test_a_key_from_the_env_file_that_a_provider_quotes_is_shown_nowhere(capsys):
    with SimulatedProvider(faults=Fault(400, message=f"bad key {KEY}")) as provider:
        Path(".env").write_text(
            f"TOGETHER_API_KEY={KEY}\nTOGETHER_BASE_URL={provider.base_url}\n", encoding="utf-8"
        )
        assert main(["run", "brief", "--task", "A brief."]) == 1
        assert provider.requests
    said = capsys.readouterr()
    kept = b"".join(file.read_bytes() for file in Path(".aideon").iterdir())
    assert KEY not in said.out + said.err
    assert KEY.encode() not in kept
    assert "bad key [key]" in said.err
