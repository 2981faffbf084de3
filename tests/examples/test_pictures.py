"""The pictures beside the README's commands are what these commands draw, byte for byte.

`pytest tests/examples/test_pictures.py --snapshot-update` draws them anew.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
import warm

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
SHOWN = re.compile(
    r"^```bash\n(?P<commands>[^`]*)^```\n\n!\[(?P<said>[^\]]+)\]\((?P<place>docs/pictures/[^)]+)\)$",
    re.MULTILINE,
)


class Shown(NamedTuple):
    """A picture and the commands above it."""

    name: str
    commands: list[list[str]]


def shown() -> list[Shown]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [
        Shown(
            Path(one["place"]).name,
            [shlex.split(line, comments=True) for line in one["commands"].splitlines()],
        )
        for one in SHOWN.finditer(text)
    ]


@pytest.mark.parametrize("picture", shown(), ids=lambda one: one.name)
def test_a_picture_is_what_the_commands_above_it_draw(picture, tmp_path, pytestconfig):
    environment = {
        "AIDEON_OFFLINE": "1",
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "USER": "reader",
    }
    for program, *words in picture.commands:
        assert program == "aideon"
        done = warm.run(
            ["-m", "aideon_agents", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
    drawn = (tmp_path / picture.name).read_bytes()
    if pytestconfig.getoption("update_snapshots", default=False):
        (PICTURES / picture.name).write_bytes(drawn)
    assert drawn == (PICTURES / picture.name).read_bytes()


def test_every_picture_is_shown_and_every_picture_that_is_shown_has_its_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    referred = re.findall(r"docs/pictures/([\w.-]+)", readme)
    assert referred == [one.name for one in shown()]
    assert sorted(referred) == sorted(one.name for one in PICTURES.iterdir())
