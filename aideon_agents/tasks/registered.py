"""The workflows that a project registers in its pyproject.toml, and what a workflow says of itself."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.errors import UserError
from aideon_agents.graphs.walk import required_keys
from aideon_agents.settings.deployments import FILE, table

if TYPE_CHECKING:
    from pathlib import Path

    from aideon_agents.tasks.target import Target


def registered() -> dict[str, str]:
    """The workflows in `[tool.aideon.workflows]`: an address by name."""
    listed = table("workflows")
    if not all(isinstance(one, str) for one in listed.values()):
        raise UserError(f'{FILE}: tool.aideon.workflows takes NAME = "file.py:graph"')
    return dict(listed)


def described(target: Target) -> dict[str, Any]:
    """What a workflow does and takes: `description`, and `inputs` with `key` and `required`."""
    description, inputs = _declared(target.path)
    required = required_keys(target.graph)
    return {
        "description": description,
        "inputs": [
            {"key": key, "description": inputs.get(key), "required": key in required}
            for key in dict.fromkeys([*required, *inputs])
        ],
    }


def _declared(path: Path) -> tuple[str | None, dict[str, str]]:
    """What a Python file says of itself: the first line of its docstring, and its `INPUTS`."""
    if path.suffix != ".py":
        return None, {}
    tree = ast.parse(path.read_text("utf-8"))
    first_line = (ast.get_docstring(tree) or "").partition("\n")[0] or None
    for node in tree.body:
        names = node.targets if isinstance(node, ast.Assign) else ()
        if any(isinstance(one, ast.Name) and one.id == "INPUTS" for one in names):
            value = ast.literal_eval(cast("ast.Assign", node).value)
            return first_line, cast("dict[str, str]", value)
    return first_line, {}
