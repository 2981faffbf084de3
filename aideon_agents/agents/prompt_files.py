"""The system prompt of an agent: the text of its role in `prompts/*.md`, and what every agent needs.

A project replaces the text of a role with `prompts/ROLE.md` in the folder of its workflow, or the
text of one agent with `prompt=`. The rules about material and the date are sent in any case: they
keep a text that an agent works on from steering it.

A prompt file may begin with front matter between two lines `---`, which is not sent. Ours say their
version there.
"""

from __future__ import annotations

import functools
import inspect
import re
from contextvars import ContextVar
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_PACKAGE = f"{__name__.partition('.')[0]}."
_LONGEST_PATH = 500
"""Characters after which a prompt that ends in .md is no path."""


PURPOSES: Mapping[str, str] = {
    "planner": "Breaks work into parts.",
    "executor": "Finds, checks or works something out.",
    "validator": "Judges a result against criteria.",
    "creative": "Writes or invents.",
}
"""What an agent is for that has no description."""

workflow_folder: ContextVar[Path | None] = ContextVar("workflow_folder", default=None)
"""The folder of the workflow that is being loaded; None: none is."""


@functools.cache
def prompt(name: str) -> str:
    """A prompt of this package."""
    file = resources.files("aideon_agents.agents") / "prompts" / f"{name}.md"
    return _body(file.read_text("utf-8"))


def replaced(folder: Path | None, name: str) -> str | None:
    """The prompt with which a project replaces one of ours; None: it has none."""
    file = folder / "prompts" / f"{name}.md" if folder else None
    return _read(file) if file and file.is_file() else None


def is_file(text: str | Path) -> bool:
    """Whether a prompt is a file with the prompt."""
    return isinstance(text, Path) or (
        text.endswith(".md") and "\n" not in text and len(text) <= _LONGEST_PATH
    )


def given(text: str | Path | None, folder: Path | None) -> str | None:
    """The prompt of one agent: a text, or a file whose name ends in .md; None: it has none."""
    if text is None:
        return None
    found = _read((folder or Path()) / text) if is_file(text) else _body(str(text))
    if not found:
        raise UserError("prompt is empty: give a text, or the path of a file that ends in .md")
    return found


def system_for(options: Mapping[str, Any], *, has_tools: bool) -> Callable[[str], str]:
    """From the name of a prompt to the system prompt of an agent with these options."""
    folder = folder_of_workflow()
    return functools.partial(
        system,
        own=given(options.get("prompt"), folder),
        folder=folder,
        instructions=options.get("instructions"),
        grounded=options.get("grounded", False),
        has_tools=has_tools,
    )


def system(
    name: str,
    *,
    own: str | None,
    folder: Path | None,
    instructions: str | None,
    grounded: bool,
    has_tools: bool,
) -> str:
    """The system prompt of an agent, without the date.

    `name` is that of the prompt, `own` the one that the agent was made with, and `folder` that of
    its workflow.
    """
    parts = [own or replaced(folder, name) or prompt(name), instructions]
    if has_tools:
        parts.append(prompt("tools"))
    if grounded:
        parts.append(prompt("grounded"))
    return "\n\n".join(filter(None, [*parts, prompt("rules")]))


def folder_of_workflow() -> Path | None:
    """The folder of the workflow that is loaded, else of the file that makes an agent.

    None: the agent is made at a prompt.
    """
    if loading := workflow_folder.get():
        return loading
    frame = inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__")).startswith(_PACKAGE):
        frame = frame.f_back
    file = frame and frame.f_globals.get("__file__")
    return Path(file).parent if file else None


def _read(file: Path) -> str:
    try:
        return _body(file.read_text("utf-8-sig"))
    except UnicodeDecodeError:
        raise UserError(f"{file} is not text in UTF-8: convert it to UTF-8") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from None


def _body(text: str) -> str:
    return _FRONT_MATTER.sub("", text.replace("\r\n", "\n")).strip()
