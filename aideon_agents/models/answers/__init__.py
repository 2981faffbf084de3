"""Answers made by rule from the material in the prompt.

Rehearsal and the simulated provider need answers that are free, deterministic and valid. They are
extracts and examples, and never pretend to come from a language model.
"""

from __future__ import annotations

from aideon_agents.models.answers.digest import digest
from aideon_agents.models.answers.instance import instance
from aideon_agents.models.answers.reply import (
    Answer,
    Ask,
    Turn,
    cut,
    estimate_tokens,
    limited,
    material,
    reply,
    text_of,
    tool_call,
)

__all__ = [
    "Answer",
    "Ask",
    "Turn",
    "cut",
    "digest",
    "estimate_tokens",
    "instance",
    "limited",
    "material",
    "reply",
    "text_of",
    "tool_call",
]
