"""Answers worked out by rule from the prompt's own material.

Rehearsal and the simulated provider need answers that are free, deterministic and valid. These are
extracts and examples; they never pretend to be a language model's.
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
