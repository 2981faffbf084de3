"""What there is to start from: `aideon new`, `aideon schema` and `aideon workflows`."""

from __future__ import annotations

import ast
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, cast

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
    from aideon_agents.graphs.walk import required_keys
    from aideon_agents.tasks import load, ready_made

    found: list[dict[str, Any]] = []
    places = {name: (name, path) for name, path in ready_made().items()}
    for name, address in _registered().items():
        places[name] = (address, Path(address.partition(":")[0]))
    for name, (address, path) in sorted(places.items()):
        try:
            target = load(address)
        except UserError as error:
            output.complain(str(error))
            continue
        description, inputs = _declared(target.path)
        required = required_keys(target.graph)
        found.append(
            {
                "name": name,
                "target": address,
                "path": str(path),
                "description": description,
                "inputs": [
                    {"key": key, "description": inputs.get(key), "required": key in required}
                    for key in dict.fromkeys([*required, *inputs])
                ],
            }
        )
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


def _registered() -> dict[str, str]:
    """The workflows in `[tool.aideon.workflows]`: a target by name."""
    file = Path("pyproject.toml")
    if not file.is_file():
        return {}
    try:
        tool: Any = tomllib.loads(file.read_text("utf-8")).get("tool", {})
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    listed = tool.get("aideon", {}).get("workflows", {})
    if not isinstance(listed, dict) or not all(
        isinstance(one, str) for one in cast("dict[str, Any]", listed).values()
    ):
        raise UserError(f'{file}: tool.aideon.workflows takes NAME = "file.py:graph"')
    return cast("dict[str, str]", listed)


def _declared(path: Path) -> tuple[str | None, dict[str, str]]:
    """What a Python file says of itself: the first line of its docstring, and its `INPUTS`."""
    if path.suffix != ".py":
        return None, {}
    tree = ast.parse(path.read_text("utf-8"))
    described = (ast.get_docstring(tree) or "").partition("\n")[0] or None
    for node in tree.body:
        names = node.targets if isinstance(node, ast.Assign) else ()
        if any(isinstance(one, ast.Name) and one.id == "INPUTS" for one in names):
            value = ast.literal_eval(cast("ast.Assign", node).value)
            return described, cast("dict[str, str]", value)
    return described, {}
