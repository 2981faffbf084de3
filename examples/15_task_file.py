"""A task file: the same workflow without Python. `aideon run note.yaml` runs it as well."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

NOTE = """
name: note
type: sequential
steps:
  - {agent: executor, name: facts, description: "Collect the facts on {task}", complexity: low}
  - type: iterative
    name: write
    step: {agent: creative, name: draft, description: "Write a note for {reader}"}
    criteria: "under 100 words; every claim is backed by a fact above"
    max_rounds: 3
"""

with TemporaryDirectory() as folder:
    (Path(folder) / "note.yaml").write_text(NOTE, encoding="utf-8")
    for command in (
        "graph note.yaml",
        "run note.yaml --task heat-pumps -p reader=engineers --rehearse",
    ):
        words = [sys.executable, "-m", "aideon_agents", *command.split()]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
        print(f"$ aideon {command}\n{done.stdout}")
