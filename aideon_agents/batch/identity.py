"""What the identity of a batch is made of: digests of a workflow and of options."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic_core import to_json

from aideon_agents.models.pictures import identities
from aideon_agents.state import GivenModel


def content_of(spec: Any) -> dict[str, Any]:
    """What an agent was made with, wherever its file is."""
    return {
        **vars(spec),
        "folder": None,
        "images": [one if isinstance(one, str) else identities([one]) for one in spec.images],
    }


def digest(value: object) -> str:
    plain = json.loads(to_json(value, fallback=_named, inf_nan_mode="strings"))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _named(value: object) -> str:
    """The name of an object that JSON cannot hold; it is the same in the next process."""
    if isinstance(value, GivenModel):
        return str(value)
    return (
        f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    )
