"""Copies of a ledger in a file, with all that the product keeps beside it, and the way back.

A copy is taken while services and workers write. Short transactions begin on every database while
the ledger is locked, and everything is read as of that moment: a kept state never knows of a call
that the ledger does not. Plain files are copied after it, because their lines leave the ledger only
when they are in the file.

The addresses of alerts hold secrets, and are not copied. Keys of providers are copied as they are
kept: sealed. The ring that opens them is not beside the ledger.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

from aideon_agents.errors import Conflict, InputError
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.sqlite.database import SqliteDatabase
from aideon_agents.ledger.sqlite.faults import explained, is_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

LEDGER = "ledger.db"
_DATABASES = (LEDGER, "checkpoints.db", "store.db")
_ELSEWHERE = "artifacts-elsewhere"
"""The name in a backup of the folder that AIDEON_ARTIFACTS names."""
_MANIFEST = "manifest.json"
_FORMAT = 1
_ARCHIVES = {".tar": "w:", ".tar.gz": "w:gz", ".tgz": "w:gz"}
_PIECE = 2**20
_BUSY_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Backup:
    """What a backup holds."""

    made_at: str
    files: dict[str, tuple[int, str]]
    """The bytes and the SHA-256 of each file, by its name in the backup."""

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self.files.values())


def owned(ledger: Path, artifacts: Path | None) -> dict[str, Path]:
    """Where everything is that the product keeps for a ledger, by its name in a backup.

    `artifacts` is the folder that settings name; None: none. A place need not exist.
    """
    folder = ledger.absolute().parent
    names = ("checkpoints.db", "store.db", "service", "artifacts")
    places = {name: folder / name for name in names}
    if artifacts is not None and artifacts.absolute() != places["artifacts"]:
        places[_ELSEWHERE] = artifacts.absolute()
    return {**places, LEDGER: ledger.absolute()}


def back_up(ledger: Path, artifacts: Path | None, path: Path) -> Backup:
    """Make a backup: a new folder, or one file if the path ends as an archive does."""
    if not ledger.is_file():
        raise InputError(f"there is no ledger {ledger}: name it with AIDEON_LEDGER")
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path} exists: give each backup a new name")
    with _complains(path, "written"):
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        made = tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.absolute().parent)
        stage = Path(made)
    try:
        with _complains(path, "written"):
            return _made(ledger, owned(ledger, artifacts), stage, path)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _made(ledger: Path, places: dict[str, Path], stage: Path, path: Path) -> Backup:
    made_at = utc_text(now())
    _copy_databases(ledger, {name: places[name] for name in _DATABASES}, stage)
    for name in places.keys() - set(_DATABASES):
        _copy_tree(places[name], stage / name)
    names = sorted(str(one.relative_to(stage).as_posix()) for one in _files(stage))
    files = {name: _figures(stage / name) for name in names}
    done = Backup(made_at, files)
    listed = [{"name": n, "bytes": size, "sha256": sha} for n, (size, sha) in files.items()]
    manifest = {"format": _FORMAT, "made_at": done.made_at, "files": listed}
    (stage / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    for one in _files(stage):
        one.chmod(0o600)
        _sync(one)
    _sync(stage)
    if (mode := _archive(path)) is None:
        stage.rename(path)
    else:
        packed = stage / ".packed"
        with tarfile.open(packed, cast("Any", mode)) as archive:
            for name in (_MANIFEST, *files):
                archive.add(stage / name, name, recursive=False)
        packed.chmod(0o600)
        _sync(packed)
        packed.rename(path)
    _sync(path.absolute().parent)
    return done


def _copy_databases(ledger: Path, places: dict[str, Path], stage: Path) -> None:
    """Copy the databases as they are at one moment. The ledger is locked only for that moment."""
    with contextlib.ExitStack() as until_copied:
        pinned: dict[str, sqlite3.Connection] = {}
        try:
            lock = until_copied.enter_context(_connected(ledger))
            lock.execute("BEGIN IMMEDIATE")
            if not lock.execute(_IS_LEDGER).fetchone():
                raise InputError(f"{ledger} is not a ledger: name one with AIDEON_LEDGER")
            for name, place in places.items():
                if place.is_file():
                    pinned[name] = until_copied.enter_context(_connected(place))
                    pinned[name].execute("BEGIN")
                    pinned[name].execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            lock.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise explained(ledger, error) from error
        for name, connection in pinned.items():
            with _connected(stage / name) as copy:
                connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file holds everything
                (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                damage = sqlite3.DatabaseError(found)
                damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise explained(places[name], damage)


_IS_LEDGER = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlite_migrations'"


@contextlib.contextmanager
def _connected(path: Path) -> Generator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    with contextlib.closing(connection):
        yield connection


def _copy_tree(source: Path, target: Path) -> None:
    """Copy files; links, unfinished files, and what is deleted meanwhile are left out."""
    for one in _files(source):
        if not one.name.startswith("."):
            place = target / one.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(one, place)


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        for name in names:
            one = Path(root, name)
            if one.is_file() and not one.is_symlink():
                yield one


def restore(
    path: Path, ledger: Path, artifacts: Path | None, *, force: bool
) -> tuple[Backup, list[Path]]:
    """Put a backup in the place of a ledger; returns what it holds, and what was moved aside for it."""
    places = owned(ledger, artifacts)
    with _opened(path) as read:
        backup = _manifest(path, read, places)
        in_the_way = [place for place in places.values() if place.exists()]
        if in_the_way and not force:
            raise InputError(
                f"{in_the_way[-1]} exists: --force moves it aside, or name another ledger with"
                " AIDEON_LEDGER"
            )
        with contextlib.ExitStack() as until_done:
            folder = places[LEDGER].parent
            with _complains(ledger, "restored"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                stage = Path(tempfile.mkdtemp(prefix=".restoring-", dir=folder))
                until_done.callback(shutil.rmtree, stage, ignore_errors=True)
                for name in _DATABASES:
                    until_done.enter_context(_alone_with(places[name]))
                for name, figures in backup.files.items():
                    _stage(stage / name, _pieces(path, read, name))
                    if _figures(stage / name) != figures:
                        raise _damaged(path, name)
                _adapt(stage / LEDGER, folder)
            try:
                return backup, _put(stage, places)
            except OSError as error:
                raise InputError(
                    f"{error.filename} cannot be replaced: {error.strerror}; a part of the backup is in"
                    " place: correct this, and give the same command with --force"
                ) from error


def _stage(place: Path, pieces: Iterator[bytes]) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with place.open("wb") as target:
        place.chmod(0o600)
        target.writelines(pieces)
        target.flush()
        os.fsync(target.fileno())


def _put(stage: Path, places: dict[str, Path]) -> list[Path]:
    """Move what was staged to its places, the ledger last, and what was there aside."""
    stamp = now().strftime("%Y%m%dT%H%M%S%f")
    aside: list[Path] = []
    for name, place in places.items():
        for suffix in ("-wal", "-shm", ""):
            old = place.with_name(f"{place.name}{suffix}")
            if old.exists():
                new = place.with_name(f"{place.name}.replaced-{stamp}{suffix}")
                old.rename(new)
                aside += [] if suffix else [new]
        if (stage / name).exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(stage / name, place)
        if place.parent.is_dir():
            _sync(place.parent)
    return aside


def _adapt(ledger: Path, folder: Path) -> None:
    """Bring a staged ledger up to date, and let it name the folder in which it will be."""
    database = SqliteDatabase(ledger, _BUSY_SECONDS)
    service = f"{folder / 'service'}{os.sep}"
    database.write(_FOLDERS, {"service": service})
    database.write(_OUTS, {"service": f"{folder.resolve() / 'service'}{os.sep}"})
    database.close()
    with _connected(ledger) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")


# A batch of the service has a folder of its own there, named by an id of 26 characters.
_FOLDERS = "UPDATE served_batches SET folder = :service || substr(folder, -26)"
_OUTS = (
    "UPDATE batches SET out_path = :service || substr(out_path, -36)"
    " WHERE batch_id IN (SELECT batch_id FROM served_batches) AND out_path LIKE '%out.jsonl'"
)


@contextlib.contextmanager
def _alone_with(path: Path) -> Generator[None]:
    """Keep other processes out of a database that is to be replaced; Conflict: one uses it."""
    if not path.exists():
        yield
        return
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute(
                "PRAGMA journal_mode = DELETE"
            )  # fails while another one has it open
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if is_busy(error):
                raise Conflict(
                    f"{path} is in use: stop the service, the workers and the runs that use it first"
                ) from None
            # It is damaged, which is why it is replaced.
        yield


_Read: TypeAlias = "Callable[[str], IO[bytes] | None]"
"""Opens a file of a backup by its name; None: it is no file."""
_UNREADABLE = (tarfile.TarError, zlib.error, EOFError, OSError, KeyError)


@contextlib.contextmanager
def _opened(path: Path) -> Generator[_Read]:
    with contextlib.ExitStack() as until_read:
        if path.is_dir():
            yield lambda name: (path / name).open("rb")
            return
        try:
            archive = until_read.enter_context(tarfile.open(path))
        except _UNREADABLE as error:
            why = getattr(error, "strerror", None) or "it is neither a folder nor an archive"
            raise InputError(
                f"{path} is not a backup ({why}): name what `aideon backup` made"
            ) from None
        yield archive.extractfile


def _pieces(path: Path, read: _Read, name: str) -> Generator[bytes]:
    try:
        with read(name) or io.BytesIO() as source:
            while piece := source.read(_PIECE):
                yield piece
    except (FileNotFoundError, NotADirectoryError, KeyError):
        raise InputError(
            f"{path} is not a whole backup, {name} is missing: use another one"
        ) from None
    except _UNREADABLE:
        raise _damaged(path, name) from None


def _damaged(path: Path, name: str) -> InputError:
    return InputError(
        f"the backup {path} is damaged, {name} is not what was saved: use another one"
    )


def _manifest(path: Path, read: _Read, places: dict[str, Path]) -> Backup:
    try:
        manifest = json.loads(b"".join(_pieces(path, read, _MANIFEST)))
        if manifest["format"] != _FORMAT:
            raise InputError(f"a newer version made {path}: upgrade aideon-agents")
        listed = manifest["files"]
        files = {str(one["name"]): (int(one["bytes"]), str(one["sha256"])) for one in listed}
        made_at = str(manifest["made_at"])
    except (ValueError, LookupError, TypeError):
        raise _damaged(path, _MANIFEST) from None
    for name in files:
        first, *others = PurePosixPath(name).parts
        if first == _ELSEWHERE and first not in places:
            raise InputError(f"{path} has artifacts of another folder: set AIDEON_ARTIFACTS")
        if first not in places or ".." in others:
            raise InputError(f"{path} is not a backup of a ledger: it lists {name}")
    if LEDGER not in files:
        raise InputError(f"{path} is not a backup of a ledger: it has no {LEDGER}")
    return Backup(made_at, files)


def _archive(path: Path) -> str | None:
    """How an archive of this name is written; None: it names a folder."""
    return next((mode for end, mode in _ARCHIVES.items() if path.name.endswith(end)), None)


def _figures(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stat().st_size, digest


def _sync(path: Path) -> None:
    """Let a file, or the names in a folder, survive a power cut."""
    if os.name != "posix" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _complains(path: Path, done: str) -> Generator[None]:
    """Raise what the disk refuses as one line."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path} cannot be {done}: {reason}; nothing was changed: free some space, or name another"
            " place"
        ) from error
