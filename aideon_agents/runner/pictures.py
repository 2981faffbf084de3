"""The pictures of a run: given by its caller, and referred to in its row, so that it can resume."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from aideon_agents.errors import InputError, NoModel
from aideon_agents.ledger.postgres.address import names_a_server
from aideon_agents.ledger.sqlite.database import ledger_path
from aideon_agents.ledger.store import Ledger
from aideon_agents.models.pictures import content, reference, stored
from aideon_agents.runner.spec import RunSpec, check_models

if TYPE_CHECKING:
    from aideon_agents.state import Picture


def with_pictures(spec: RunSpec, own: tuple[Picture, ...]) -> RunSpec:
    """What a run is given, with more pictures; InputError: one of these is gone, or has changed.

    Where its state is kept, pictures that were given as bytes are kept as files beside the ledger.
    """
    if not own:
        return spec
    if spec.checkpoint is not None and any(one.data is not None for one in own):
        where = spec.ledger.path if isinstance(spec.ledger, Ledger) else str(spec.ledger)
        path = None if where is None or names_a_server(f"{where}") else ledger_path(f"{where}")
        own = stored(own, (path.parent if path else Path(".aideon")) / "artifacts")
    for one in own:
        if one.url is None:
            content(one)
    images = (*spec.context.images, *own)
    context = dataclasses.replace(spec.context, images=images)
    options = {**(spec.start.options or {}), "images": [*map(reference, images)]}
    start = dataclasses.replace(spec.start, options=options)
    return dataclasses.replace(spec, context=context, start=start)


def for_item(spec: RunSpec, own: tuple[Picture, ...]) -> RunSpec:
    """What an item of a batch is given; InputError: its pictures cannot be sent to any model."""
    spec = with_pictures(spec, own)
    try:
        if own:
            check_models(spec.graph, spec.context)
    except NoModel as none:
        raise InputError(str(none)) from None
    return spec
