"""Reads the events of a stream, for several test files."""

from __future__ import annotations

import json


def events_in(text):
    """Number, kind and document of each event in a stream."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found
