"""The files that calls make: named by their content, so equal files are kept once.

A file is written under another name and then renamed, so a process that is killed leaves either all of
it or nothing. The ledger has a row for each call that made it. Nothing deletes a file but
`aideon artifacts prune`: a run that resumes must find it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from aideon_agents.errors import InputError
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.media.sniffing import ENDINGS, UNKNOWN, sniffed
from aideon_agents.state import Artifact

if TYPE_CHECKING:
    from collections.abc import Generator

    from aideon_agents.ledger.store import Ledger
    from aideon_agents.settings import Settings

_START = 2**20
"""Bytes of a file that say what it is."""
_PIECE = 2**20
_OF_SOUND = {end for mime, end in ENDINGS.items() if mime.startswith(("audio/", "video/"))}
_MOST_GIVEN = 100 * 2**20
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Artifacts:
    """A folder with artifacts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, settings: Settings | None, ledger: Ledger | None) -> Artifacts:
        """The folder that settings name, else the one beside a ledger."""
        if settings is not None and settings.artifacts is not None:
            return cls(settings.artifacts)
        return cls((ledger.database.folder if ledger else Path(".aideon")) / "artifacts")

    def path(self, artifact: Artifact) -> Path:
        """Where a file is, whether it is there or not."""
        ending = ENDINGS.get(artifact.mime, ENDINGS[UNKNOWN])
        return self.folder / artifact.sha256[:2] / f"{artifact.sha256[2:]}.{ending}"

    def find(self, sha256: str) -> Path | None:
        """The file with a digest; None: it is not there."""
        if not _DIGEST.fullmatch(sha256):
            return None
        return next((self.folder / sha256[:2]).glob(f"{sha256[2:]}.*"), None)

    def read(self, artifact: Artifact) -> bytes:
        """The bytes of a file; InputError: it is gone, or is another one now."""
        where = self.path(artifact)
        try:
            data = where.read_bytes()
        except OSError as error:
            why = error.strerror or error
            raise InputError(
                f"the artifact {where} cannot be read: {why}: put it back, or start anew"
            ) from None
        if hashlib.sha256(data).hexdigest() != artifact.sha256:
            raise InputError(f"the artifact {where} was changed: put it back, or start anew")
        return data

    def delete(self, artifact: Artifact) -> int | None:
        """Delete a file; returns how many bytes it had, None if it was not there."""
        where = self.path(artifact)
        try:
            size = where.stat().st_size
            where.unlink()
        except FileNotFoundError:
            return None
        return size

    def keep(self, data: bytes) -> Artifact:
        """Keep some bytes as a file."""
        with self.writing() as file:
            file.write(data)
            return self.kept(file)

    def given(
        self, given: str | Path | bytes | Artifact, kinds: tuple[str, ...], what: str
    ) -> Artifact:
        """Keep the file that a caller gives for something, if its kind begins with one of `kinds`."""
        if isinstance(given, Artifact):
            return given
        data, named = given, "the file"
        if not isinstance(data, bytes):
            named, path = str(given), Path(cast("str", given))
            try:
                if path.stat().st_size > _MOST_GIVEN:
                    most = _MOST_GIVEN // 2**20
                    raise InputError(f"{what}: {path} has more than {most} MB: cut it into parts")
                data = path.read_bytes()
            except OSError as error:
                why = error.strerror or error
                raise InputError(f"{what}: {path} cannot be read: {why}") from None
        if not (mime := sniffed(data).mime).startswith((*kinds, UNKNOWN)):
            raise InputError(f"{what}: {named} is {mime}, and no {kinds[0].strip('/')}")
        return self.keep(data)

    @contextlib.contextmanager
    def writing(self) -> Generator[BinaryIO]:
        """A file to write to and hand to `kept`; else it is gone when the block ends."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".partial-", dir=self.folder)
            os.close(descriptor)
        except OSError as error:
            raise InputError(f"nothing can be kept in {self.folder}: {error.strerror}") from None
        try:
            with Path(name).open("w+b") as file:
                yield file
        finally:
            Path(name).unlink(missing_ok=True)

    def kept(self, file: BinaryIO) -> Artifact:
        """Keep what was written to a file of `writing`, under its name for good."""
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        start = file.read(_START)
        digest, size, piece = hashlib.sha256(), 0, start
        while piece:
            digest.update(piece)
            size += len(piece)
            piece = file.read(_PIECE)
        found = Artifact(sha256=digest.hexdigest(), bytes=size, **sniffed(start, size)._asdict())
        where = self.path(found)
        where.parent.mkdir(exist_ok=True)
        Path(file.name).replace(where)
        folder = os.open(where.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name is safe from a power cut only then
        finally:
            os.close(folder)
        return found


def note(ledger: Ledger, artifact: Artifact, call_id: str) -> None:
    """Write down which call made a file."""
    row = {**vars(artifact), "call_id": call_id, "created_at": utc_text(now())}
    ledger.database.write(_NOTE, row)


def made_by(ledger: Ledger, run_id: str) -> list[dict[str, Any]]:
    """The files that the calls of a run made, in their order, each with the call that made it."""
    return [dict(row) for row in ledger.select(_OF_RUN, {"run_id": run_id})]


def listed(ledger: Ledger, run_id: str | None, most: int) -> list[dict[str, Any]]:
    """The rows of files, the newest first, of one run or of all."""
    return [dict(row) for row in ledger.select(_NEWEST, {"run_id": run_id, "most": most})]


def beginning_with(ledger: Ledger, ref: str) -> list[dict[str, Any]]:
    """The rows of the files whose digest begins with some digits."""
    start = ref.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{1,64}", start):
        return []
    near = {"first": start, "last": start + "g"}
    return [dict(row) for row in ledger.select(_NEAR, near)]


def prunable(ledger: Ledger, before: str) -> list[Artifact]:
    """The files that no run made but those that ended before a time."""
    return [artifact_in(dict(row)) for row in ledger.select(_PRUNABLE, {"before": before})]


def uploaded(files: Artifacts, ledger: Ledger, before: str) -> list[Path]:
    """Recordings and videos older than a time that no run made: they were given to be read.

    Pictures that were given are left: runs that resume refer to them.
    """
    known = {row["sha256"] for row in ledger.select("SELECT DISTINCT sha256 FROM artifacts")}

    def is_old(path: Path) -> bool:
        return utc_text(datetime.fromtimestamp(path.stat().st_mtime, UTC)) < before

    return [
        path
        for path in files.folder.glob("??/*")
        if path.suffix[1:] in _OF_SOUND
        and path.parent.name + path.stem not in known
        and is_old(path)
    ]


def artifact_in(row: dict[str, Any]) -> Artifact:
    """The reference in a row."""
    return Artifact(**{name: row[name] for name in Artifact.__dataclass_fields__})


_NOTE = (
    "INSERT INTO artifacts (sha256, call_id, run_id, mime, bytes, width, height, duration_ms,"
    " created_at) SELECT :sha256, call_id, run_id, :mime, :bytes, :width, :height, :duration_ms,"
    " :created_at FROM calls WHERE call_id = :call_id ON CONFLICT DO NOTHING"
)
_COLUMNS = "sha256, call_id, run_id, mime, bytes, width, height, duration_ms, created_at"
_NEWEST = (
    f"SELECT {_COLUMNS} FROM artifacts"  # noqa: S608 - our words, as below
    " WHERE run_id = COALESCE(:run_id, run_id) ORDER BY created_at DESC, sha256 LIMIT :most"
)
_NEAR = f"SELECT {_COLUMNS} FROM artifacts WHERE sha256 >= :first AND sha256 < :last"  # noqa: S608
# A run in progress, or one that waits, reads the files that it has made.
_PRUNABLE = (
    f"SELECT {_COLUMNS} FROM artifacts AS one WHERE NOT EXISTS (SELECT 1 FROM artifacts AS same"  # noqa: S608
    " LEFT JOIN runs ON runs.run_id = same.run_id WHERE same.sha256 = one.sha256"
    " AND (runs.ended_at IS NULL OR runs.ended_at >= :before OR runs.status IN ('running', 'waiting')))"
)
_OF_RUN = (
    "SELECT sha256, call_id, run_id, mime, bytes, width, height, duration_ms, created_at"
    " FROM artifacts WHERE run_id = :run_id ORDER BY created_at, call_id, sha256"
)
