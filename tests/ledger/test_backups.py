"""A backup of a ledger that is being written, and the way back, also after a kill or on a full disk."""

from __future__ import annotations

import io
import json
import resource
import signal
import sqlite3
import subprocess
import tarfile

import pytest
import warm

from aideon_agents.errors import InputError, UserError
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.sqlite import backups
from aideon_agents.ledger.store import Ledger

WRITES = """
import asyncio, sys
from langgraph.checkpoint.base import empty_checkpoint
from aideon_agents.ledger.checkpoints import open_checkpointer
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger

async def write():
    with Ledger(sys.argv[1]) as ledger:
        async with open_checkpointer(ledger, []) as saver:
            for number in range(1_000_000):
                run_id = ledger.start_run(Run(workflow=sys.argv[2]))
                place = {"configurable": {"thread_id": run_id, "checkpoint_ns": ""}}
                await saver.aput(place, empty_checkpoint(), {}, {})
                ledger.finish_run(run_id, "completed", output="x" * 2000)
                if number == 20:
                    print("writing", flush=True)

asyncio.run(write())
"""
DIES = """
import os, signal, sys
left = int(sys.argv[1])
def hook(event, given):
    global left
    if event == "os.rename":
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
sys.addaudithook(hook)
from pathlib import Path
from aideon_agents.ledger.sqlite import backups
path, ledger = Path(sys.argv[3]), Path(sys.argv[4])
if sys.argv[2] == "backup":
    backups.back_up(ledger, None, path)
else:
    backups.restore(path, ledger, None, force=True)
"""


@pytest.fixture
def used(tmp_path):
    """A ledger with a run, and with files of every kind beside it."""
    place = tmp_path / "used" / "ledger.db"
    with Ledger(place) as ledger:
        ledger.start_run(Run(workflow="w", run_id="FIRST"))
        ledger.finish_run("FIRST", "completed", output="x" * 300_000)
    for name in ("service/01/out.jsonl", "artifacts/ab/cd.png", "artifacts/.partial-1"):
        file = place.parent / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    (place.parent / "apprise.conf").write_text("https://example.com/secret-hook", encoding="utf-8")
    return place


def runs(place):
    with Ledger(place) as ledger:
        return {run.run_id for run in ledger.runs()}


def tree(folder):
    return {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}


def backed_up(used, path):
    return backups.back_up(used, None, path)


def restored(path, place, **given):
    return backups.restore(path, place, None, **{"force": False, **given})


@pytest.mark.parametrize("name", ["copy", "copy.tar", "copy.tar.gz", "deep/er/copy.tgz"])
def test_a_backup_has_what_is_ours_and_no_address_of_alerts(used, tmp_path, name):
    path, there = tmp_path / name, tmp_path / "there" / "ledger.db"
    made = backed_up(used, path)
    ours = {"ledger.db", "artifacts/ab/cd.png", "service/01/out.jsonl"}
    assert set(made.files) == ours
    assert path.stat().st_mode & 0o077 == 0
    assert {one.name for one in path.parent.iterdir()} - {"used"} == {path.name}
    back, aside = restored(path, there)
    assert back == made
    assert aside == []
    assert tree(there.parent) == ours
    assert runs(there) == {"FIRST"}


def test_a_backup_while_processes_write_is_of_one_moment(tmp_path):
    place, path, there = (tmp_path / one for one in ("here/l.db", "copy", "there/l.db"))
    writers = [
        warm.Process(["-c", WRITES, str(place), name], stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    try:
        for one in writers:
            assert one.stdout.readline() == "writing\n"
        backed_up(place, path)
        assert [one.poll() for one in writers] == [None, None]
    finally:
        for one in writers:
            one.kill()
            one.communicate()
    restored(path, there)
    with Ledger(place) as ledger, Ledger(there) as other:
        then = {one.run_id: one for one in other.runs()}
        now = {one.run_id: one for one in ledger.runs()}
    assert len(then) >= 40
    done = {key for key, one in then.items() if one.status == "completed"}
    assert {key: then[key] for key in done} == {key: now[key] for key in done}
    assert len(then) - len(done) <= len(writers)
    with sqlite3.connect(there.with_name("checkpoints.db")) as states:
        kept = {row[0] for row in states.execute("SELECT DISTINCT thread_id FROM checkpoints")}
    assert done <= kept <= set(then) | (set(now) - set(then))
    # What was written after that moment is in neither: at most the one that each was busy with.
    assert len(kept - set(then)) <= len(writers)


@pytest.mark.parametrize("name", ["copy", "copy.tar.gz"])
def test_a_backup_that_is_killed_is_not_taken_for_one(used, tmp_path, name):
    path = tmp_path / name
    words = ["-c", DIES, "0", "backup", str(path), str(used)]
    assert warm.run(words).returncode == -signal.SIGKILL
    assert not path.exists()
    backed_up(used, path)
    assert restored(path, tmp_path / "there" / "ledger.db")[0].bytes > 0


@pytest.mark.parametrize("renames", range(6))
def test_a_restore_that_is_killed_is_done_by_the_same_command(used, tmp_path, renames):
    path = tmp_path / "copy"
    backed_up(used, path)
    with Ledger(used) as ledger:
        ledger.start_run(Run(workflow="w", run_id="LATER"))
    words = ["-c", DIES, str(renames), "restore", str(path), str(used)]
    assert warm.run(words).returncode == -signal.SIGKILL
    restored(path, used, force=True)
    assert runs(used) == {"FIRST"}
    kept = [one for one in used.parent.glob("ledger.db.replaced-*") if "-wal" not in one.name]
    assert any(runs(one) == {"FIRST", "LATER"} for one in kept)


@pytest.fixture
def small_files():
    """Files may not be larger than 100 kB while it is on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_backup_that_finds_no_room_leaves_nothing(used, tmp_path, small_files):
    small_files()
    with pytest.raises(InputError, match=r"cannot be written: .*free some space"):
        backed_up(used, tmp_path / "copy")
    assert [one.name for one in tmp_path.iterdir()] == ["used"]


def test_a_restore_that_finds_no_room_leaves_the_ledger_as_it_is(used, tmp_path, small_files):
    backed_up(used, tmp_path / "copy")
    with Ledger(used) as ledger:
        ledger.start_run(Run(workflow="w", run_id="LATER"))
    before = tree(used.parent)
    small_files()
    with pytest.raises(InputError, match=r"cannot be restored: .*free some space"):
        restored(tmp_path / "copy", used, force=True)
    assert tree(used.parent) == before
    assert runs(used) == {"FIRST", "LATER"}


def change(path):
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def rename_in_manifest(name):
    def change_manifest(path):
        said = json.loads((path / "manifest.json").read_text("utf-8"))
        said["files"][0]["name"] = name
        (path / "manifest.json").write_text(json.dumps(said), "utf-8")

    return change_manifest


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda at: change(at / "ledger.db"), r"is damaged, ledger\.db is not what was saved"),
        (lambda at: change(at / "artifacts/ab/cd.png"), r"is damaged, artifacts/ab/cd\.png"),
        (lambda at: (at / "ledger.db").unlink(), r"not a whole backup, ledger\.db is missing"),
        (lambda at: (at / "manifest.json").unlink(), r"not a whole backup, manifest\.json"),
        (lambda at: (at / "manifest.json").write_text("[]"), r"damaged, manifest\.json"),
        (lambda at: (at / "manifest.json").write_text('{"format": 9}'), "upgrade aideon-agents"),
        (rename_in_manifest("service/../../x"), "is not a backup of a ledger: it lists"),
        (rename_in_manifest("/etc/passwd"), "is not a backup of a ledger: it lists"),
        (rename_in_manifest("apprise.conf"), "of a ledger: it lists apprise"),
        (rename_in_manifest("artifacts-elsewhere/x"), "set AIDEON_ARTIFACTS"),
    ],
)
def test_a_wrong_backup_is_refused_and_changes_nothing(used, tmp_path, damage, says):
    path = tmp_path / "copy"
    backed_up(used, path)
    damage(path)
    before = tree(used.parent)
    with pytest.raises(InputError, match=says):
        restored(path, used, force=True)
    assert tree(used.parent) == before
    assert runs(used) == {"FIRST"}


@pytest.mark.parametrize("kept", [0, 100, 5000, 100_000])
def test_an_archive_that_was_cut_off_is_refused(used, tmp_path, kept):
    path = tmp_path / "copy.tar"
    backed_up(used, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"not a backup|damaged|missing"):
        restored(path, tmp_path / "there" / "ledger.db")
    assert not (tmp_path / "there" / "ledger.db").exists()


def test_a_link_in_an_archive_is_not_followed(used, tmp_path):
    path = tmp_path / "copy.tar"
    with tarfile.open(path, "w") as archive:
        entry = {"name": "ledger.db", "bytes": 1, "sha256": "0"}
        said = json.dumps({"format": 1, "made_at": "", "files": [entry]}).encode()
        about = tarfile.TarInfo("manifest.json")
        about.size = len(said)
        archive.addfile(about, io.BytesIO(said))
        link = tarfile.TarInfo("ledger.db")
        link.type, link.linkname = tarfile.SYMTYPE, str(used)
        archive.addfile(link)
    with pytest.raises(InputError, match=r"missing|not what was saved"):
        restored(path, tmp_path / "there" / "ledger.db")


def test_a_damaged_ledger_is_not_saved_and_a_backup_takes_its_place(used, tmp_path):
    backed_up(used, tmp_path / "copy")
    content = bytearray(used.read_bytes())
    content[8192:40_000] = bytes(40_000 - 8192)
    used.write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged|is not a ledger"):
        backed_up(used, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    used.write_bytes(b"nothing of a ledger" * 1000)
    restored(tmp_path / "copy", used, force=True)
    assert runs(used) == {"FIRST"}


def test_artifacts_that_lie_elsewhere_are_saved_and_put_back_there(used, tmp_path):
    elsewhere, other = tmp_path / "pictures", tmp_path / "others"
    elsewhere.mkdir()
    (elsewhere / "x.png").write_bytes(b"x")
    made = backups.back_up(used, elsewhere, tmp_path / "copy.tar")
    assert "artifacts-elsewhere/x.png" in made.files
    backups.restore(tmp_path / "copy.tar", tmp_path / "there" / "l.db", other, force=False)
    assert tree(other) == {"x.png"}


@pytest.mark.parametrize("source", ["missing.db", "text.db", "other.db"])
def test_what_is_no_ledger_is_not_saved(tmp_path, source):
    (tmp_path / "text.db").write_text("hello " * 500, encoding="utf-8")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(UserError, match=r"no ledger|not a ledger"):
        backed_up(tmp_path / source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
