"""A workflow's address on its way to workers: it names a file in their folder, and its content.

Whoever can write to the database says what workers run. So an address leads nowhere but below a
worker's working directory or to a ready-made workflow, and a file whose content is another is not
even loaded.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from aideon_agents import tasks
from aideon_agents.errors import TargetError, UserError
from aideon_agents.models import catalog
from aideon_agents.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Collection


_PYTHON = ".py"


def sendable(address: str | None, content_hash: str | None) -> tuple[str, str]:
    """Refuse a workflow that no worker could find."""
    if address is None or content_hash is None:
        raise UserError(
            "workers load a workflow by its address, and this graph has none: put it into a file, "
            "and give its path and hash (`tasks.load` has both)"
        )
    return _inside(address), content_hash


def found(
    address: str, content_hash: str, settings: Settings, chosen: Collection[str]
) -> tasks.Target:
    """Load a batch's workflow from this worker's folder."""
    path = _file(_inside(address))
    if path is not None:
        _refuse_other(path, hashlib.sha256(path.read_bytes()).hexdigest(), content_hash)
    known = catalog.load(settings.catalog, settings.profile)

    def check(role: str, name: str) -> None:
        if role not in chosen:
            known.checked(name)

    target = tasks.load(address, check_model=check)
    _refuse_other(target.path, target.content_hash, content_hash)
    return target


def _refuse_other(path: Path, here: str, wanted: str) -> None:
    if here != wanted:
        raise TargetError(
            f"{path} here is another version ({here[:12]}) than that of the batch ({wanted[:12]}): "
            "bring the same file to this folder"
        )


def _file(address: str) -> Path | None:
    """The Python file that an address names, to be looked at before it is run; None: none is."""
    file, separator, _ = address.partition(".py:")
    path = Path(f"{file}.py" if separator else address)
    return path if path.suffix == _PYTHON and path.is_file() else None


def _inside(address: str) -> str:
    file, separator, _ = address.partition(".py:")
    path = Path(f"{file}.py" if separator else address)
    here = Path.cwd().resolve()
    if path.is_absolute() or ".." in path.parts or not path.resolve().is_relative_to(here):
        raise TargetError(
            f"{address} leads out of the working directory, and workers run what lies in theirs: "
            "give a path below it, such as workflows/article.py:graph"
        )
    return address
