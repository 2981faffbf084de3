"""Ages as people write them: `90s`, `30m`, `12h`, `1d`, `1w`."""

from __future__ import annotations

import re

from aideon_agents.errors import InputError

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"([0-9]{1,9})([smhdw])")


def age_seconds(text: object, named: str) -> float:
    """The seconds of an age; InputError, which says what `named` takes: it is none."""
    found = _AGE.fullmatch(text) if isinstance(text, str) else None
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not seconds:
        raise InputError(f"{named} takes an age such as 90s, 30m, 12h, 1d or 1w, not {text!r}")
    return float(seconds)
