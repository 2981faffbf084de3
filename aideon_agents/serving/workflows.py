"""The workflows that the service runs, by the names under which callers know them.

A caller can only name one of these. It can never give an address, which is the path of code.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from aideon_agents import tasks
from aideon_agents.errors import InputError, NotFound, UserError
from aideon_agents.graphs.walk import named_images, path_keys
from aideon_agents.models import catalog
from aideon_agents.models.pictures import keys_in
from aideon_agents.tasks.registered import described

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.access.callers import Caller
    from aideon_agents.settings import Settings
    from aideon_agents.tasks import Target


@dataclasses.dataclass(frozen=True)
class Workflow:
    """A workflow that the service runs."""

    name: str
    target: Target
    description: str | None
    """The first line of its file's docstring; None: it has none."""
    inputs: tuple[Mapping[str, Any], ...]
    """What it takes besides the task: `key`, `description` and `required`."""

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the inputs."""
        return {
            "type": "object",
            "properties": {
                one["key"]: {"description": one["description"]} if one["description"] else {}
                for one in self.inputs
            },
            "required": [one["key"] for one in self.inputs if one["required"]],
        }

    def document(self) -> dict[str, Any]:
        """The workflow as JSON values."""
        return {"name": self.name, "description": self.description, "inputs": self.schema}

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Refuse an input that names a file: it would be read on the server."""
        graph = self.target.graph
        pictures = {key for images, _ in named_images(graph) for key in keys_in(images)}
        for key in inputs:
            if key in path_keys(graph) or key in pictures:
                raise InputError(
                    f"the input {key} of {self.name} names files, and the service reads no file "
                    "for a caller: put the text into the task or into another input"
                )


class Workflows:
    """The registered workflows. Their files are loaded once."""

    def __init__(self, addresses: Mapping[str, str], settings: Settings) -> None:
        known = catalog.load(settings.catalog, settings.profile)

        def check(role: str, name: str) -> None:
            del role
            known.checked(name)

        self._known: dict[str, Workflow] = {}
        for name, address in sorted(addresses.items()):
            try:
                target = tasks.load(address, check_model=check)
            except UserError as error:
                raise type(error)(f"the workflow {name}: {error}") from error
            of_file = described(target)
            inputs = tuple(of_file["inputs"])
            self._known[name] = Workflow(name, target, of_file["description"], inputs)

    def get(self, name: str) -> Workflow | None:
        """The workflow with this name; None: this process does not run it."""
        return self._known.get(name)

    def of(self, caller: Caller) -> list[Workflow]:
        """Those that a caller may run, by name."""
        may = caller.workflows
        return [one for one in self._known.values() if may is None or one.name in may]

    def find(self, caller: Caller, name: str) -> Workflow:
        """The workflow that a caller names."""
        for one in self.of(caller):
            if one.name == name:
                return one
        raise NotFound(f"there is no workflow {name!r}: GET /api/v1/workflows lists them")
