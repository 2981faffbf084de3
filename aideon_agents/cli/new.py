"""What there is to start from: `aideon new`, `aideon schema` and `aideon workflows`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import InputError, UserError

FILES = ("README.md", "brief.yaml", "test_workflow.py", "workflow.py")
"""The files that the folder gets, from `template`."""


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    as_json: options.AsJson = False,
) -> None:
    """Create a folder with a workflow, a task file, a test that cannot pay, and a README."""
    try:
        _fill(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be created: {error.strerror or error}") from None
    written = [str(folder / name) for name in FILES]
    if as_json:
        output.document({"folder": str(folder), "files": written})
        return
    for path in written:
        output.line(path)
    output.note(f"next: read {written[0]}, or run: aideon run {folder}/workflow.py --task ...")


def _fill(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: name a new folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    template = resources.files("aideon_agents.cli") / "template"
    for name in FILES:
        (folder / name).write_bytes((template / name).read_bytes())


def schema(
    as_json: Annotated[bool, typer.Option("--json", help="The output is always JSON.")] = False,  # noqa: ARG001 - every command takes it
) -> None:
    """Print the JSON Schema of task files."""
    from aideon_agents.tasks import json_schema

    output.document(json_schema())


def workflows(as_json: options.AsJson = False) -> int:
    """List the ready-made workflows and those of pyproject, with their inputs."""
    from aideon_agents.tasks import load, ready_made
    from aideon_agents.tasks.registered import described, registered

    found: list[dict[str, Any]] = []
    places = {name: (name, path) for name, path in ready_made().items()}
    for name, address in registered().items():
        places[name] = (address, Path(address.partition(":")[0]))
    for name, (address, path) in sorted(places.items()):
        try:
            target = load(address)
        except UserError as error:
            output.complain(str(error))
            continue
        of_file = described(target)
        found.append({"name": name, "target": address, "path": str(path), **of_file})
    if as_json:
        output.document({"workflows": found})
        return options.DONE
    rows = [
        (one["name"], one["description"] or "", "\n".join(map(_input, one["inputs"])))
        for one in found
    ]
    output.table(("workflow", "does", "inputs"), rows)
    return options.DONE


def _input(one: dict[str, Any]) -> str:
    needed = " (required)" if one["required"] else ""
    return f"-p {one['key']}={needed} {one['description'] or ''}".rstrip()
