"""The functions that a task file names as tools, from the Python files beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool

from aideon_agents.errors import TargetError
from aideon_agents.tasks import python_file
from aideon_agents.tasks.hints import nearest

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


class ToolFiles:
    """Loads each file once, however many tools come from it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[Path, tuple[ModuleType, bytes]] = {}

    @property
    def contents(self) -> tuple[bytes, ...]:
        """What the files contain, in the order in which they were first named."""
        return tuple(content for _, content in self._loaded.values())

    def tool(self, address: str) -> Any:
        """Find a tool."""
        file, _, name = address.rpartition(":")
        path = self._folder / file
        module = self._module(path)
        found = vars(module).get(name)
        if _is_tool(found):
            return found
        tools = [key for key, value in vars(module).items() if _is_tool(value) and key[0] != "_"]
        wrong = (
            "has no function" if found is None else f"has a {type(found).__name__}, no function,"
        )
        raise TargetError(f"{path} {wrong} {name!r}: {nearest(name, tools)}")

    def _module(self, path: Path) -> ModuleType:
        if path not in self._loaded:
            try:
                content = path.read_bytes()
            except OSError as error:
                why = error.strerror or str(error)
                raise TargetError(f"{path} cannot be read: {why}") from None
            self._loaded[path] = python_file.execute(path, content), content
        return self._loaded[path][0]


def _is_tool(value: Any) -> bool:
    return isinstance(value, BaseTool) or (callable(value) and not isinstance(value, type))
