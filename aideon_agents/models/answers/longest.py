"""The longest answers there can be: what a workflow costs at most is rehearsed with them."""

from __future__ import annotations

import json
from typing import Any, cast

from aideon_agents.models.answers.tokens import BYTES_PER_TOKEN, estimate_tokens

_A_SENTENCE = 3
"""Words from which a text is prose: a name or a route must stay as it is."""


def filled(text: str, tokens: int) -> str:
    """A text said again and again until it is as long as it may be."""
    size = len(text.encode("utf-8", "surrogatepass")) + 1
    return " ".join([text] * (1 + tokens * BYTES_PER_TOKEN // size))


def stretched(text: str, max_tokens: int, may_grow: bool) -> str:  # noqa: FBT001 - a fact of the schema
    """An instance of a schema as it costs the most: no verdict passes, and its prose is long."""
    value = json.loads(text)
    if isinstance(value, dict) and value.get("passed") is True:
        value |= {"passed": False, "score": 0}
    room = max_tokens - estimate_tokens(json.dumps(value, ensure_ascii=False))
    if may_grow and room > 0:
        _lengthen(value, room)
    longer = json.dumps(value, ensure_ascii=False)
    return longer if estimate_tokens(longer) <= max_tokens else text


def _lengthen(value: Any, tokens: int) -> bool:
    """Make the first prose in a value longer by so many tokens; says whether there is any."""
    items = cast("Any", value.items() if isinstance(value, dict) else enumerate(value))
    for key, part in list(items):
        if isinstance(part, str) and len(part.split()) >= _A_SENTENCE:
            more = filled(part, tokens).encode()[: (tokens - 1) * BYTES_PER_TOKEN]
            value[key] = f"{part} {more.decode(errors='ignore')}"
            return True
        if isinstance(part, dict | list) and _lengthen(part, tokens):
            return True
    return False
