"""`aideon schema`: what a task file can say, for editors and other programs."""

from __future__ import annotations

from typing import Annotated

import typer

from aideon_agents.cli import output


def schema(
    as_json: Annotated[bool, typer.Option("--json", help="It is JSON in any case.")] = False,  # noqa: ARG001 - every command takes it
) -> None:
    """Print the task files' JSON Schema."""
    from aideon_agents.tasks import json_schema  # noqa: PLC0415 - help must not wait for LangGraph

    output.document(json_schema())
