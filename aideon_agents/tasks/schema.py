"""The JSON Schema of task files, made from the models that read them."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from aideon_agents.tasks.steps import Step

_ID = "https://github.com/AllienNova/aideon-agents/task-file.schema.json"


def json_schema() -> dict[str, Any]:
    """What an editor needs to check task files."""
    made = TypeAdapter[Any](Step).json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": _ID,
        "title": "Aideon task file",
        "description": "A workflow, written down: one step, made of steps all levels down.",
        **made,
    }
