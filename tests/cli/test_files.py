"""Writing to `-o`: whole or not at all, and one line when it cannot be."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from pathlib import Path

import pytest

from aideon_agents.cli.output import write
from aideon_agents.errors import InputError


@pytest.fixture
def empty(tmp_path):
    """A folder with nothing in it."""
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_file_is_replaced_and_keeps_its_rights(empty):
    place = empty / "costs.csv"
    place.write_text("a much longer text of before")
    place.chmod(0o640)
    write(place, b"new")
    assert place.read_bytes() == b"new"
    assert place.stat().st_mode & 0o777 == 0o640
    assert names(empty) == ["costs.csv"]


def test_a_new_file_has_the_rights_that_others_get(empty):
    (empty / "other").touch()
    write(empty / "costs.csv", b"new")
    assert (empty / "costs.csv").stat().st_mode == (empty / "other").stat().st_mode


def test_a_link_keeps_pointing_where_it_points(empty):
    (empty / "real.csv").write_bytes(b"old")
    (empty / "link.csv").symlink_to("real.csv")
    write(empty / "link.csv", b"new")
    assert (empty / "link.csv").is_symlink()
    assert (empty / "real.csv").read_bytes() == b"new"


def test_what_is_no_file_is_written_to(empty):
    fifo = empty / "fifo"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE)
    write(fifo, b"new")
    assert reader.communicate(timeout=30)[0] == b"new"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("no/such/folder.csv", "No such file or directory"),
        (".", "Is a directory"),
        ("file/below.csv", "Not a directory"),
        ("/dev/full", "No space left on device"),
        (f"{'x' * 300}.csv", "File name too long"),
    ],
)
def test_a_place_that_takes_no_file_is_one_line(empty, monkeypatch, path, why):
    monkeypatch.chdir(empty)
    (empty / "file").touch()
    with pytest.raises(InputError) as raised:
        write(Path(path), b"new")
    assert str(raised.value) == f"{path} cannot be written: {why}"
    assert names(empty) == ["file"]


@pytest.fixture
def small_disk():
    """A file may have ten bytes here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_does_not_fit_leaves_the_old_one(empty, small_disk):
    place = empty / "costs.csv"
    place.write_bytes(b"old")
    with pytest.raises(InputError, match=r"costs\.csv cannot be written: File too large$"):
        write(place, b"more than ten bytes")
    assert place.read_bytes() == b"old"
    assert names(empty) == ["costs.csv"]


@pytest.fixture
def locked():
    """A folder and a file in it that nobody may write to, not even whoever runs the tests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "costs.csv").write_bytes(b"old")
        (folder / "costs.csv").chmod(0o444)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # what root is forbidden, root does all the same
        yield folder
        os.seteuid(user)
        folder.chmod(0o755)


@pytest.mark.parametrize("name", ["costs.csv", "new.csv"])
def test_what_may_not_be_written_is_left_alone(locked, name):
    with pytest.raises(InputError, match=rf"{name} cannot be written: Permission denied$"):
        write(locked / name, b"new")
    assert names(locked) == ["costs.csv"]
    assert (locked / "costs.csv").read_bytes() == b"old"


def test_a_file_that_may_not_be_written_is_not_replaced_where_its_folder_may(locked):
    user, root = os.geteuid(), os.getuid()
    os.seteuid(root)
    locked.chmod(0o777)
    os.seteuid(user)
    with pytest.raises(InputError, match="Permission denied"):
        write(locked / "costs.csv", b"new")
    assert (locked / "costs.csv").read_bytes() == b"old"
