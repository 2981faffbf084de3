"""Writing what `-o` asks for: whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from aideon_agents.errors import InputError


def write(path: Path, content: bytes) -> None:
    """Write a file at once: whoever reads it finds the old one or the new one, never a part.

    It is written beside its place and put there when it is whole. What is no file, `/dev/stdout`
    say, is written to directly; a link keeps pointing where it points.
    """
    try:
        place = Path(os.path.realpath(path))
        if place.exists() and not place.is_file():
            place.write_bytes(content)
        else:
            _replace(place, content)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def _replace(place: Path, content: bytes) -> None:
    known = place.stat().st_mode if place.exists() else None
    if known is not None:
        with place.open("ab"):  # a file that may not be written is not replaced either
            pass
    beside = place.with_name(f".{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if known is not None:
            beside.chmod(known & 0o7777)
        beside.replace(place)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
