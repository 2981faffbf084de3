"""Requests to a provider of media: one way to send them, and to read what comes back.

They go through the HTTP session of the chat models, so proxies, certificates and limits are the same.
Nothing is sent twice here: only the guard tries again. A key goes to the address of its provider
alone. Files that an answer names by URL are fetched without it, from public addresses or from the
provider's own.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import aiohttp
import orjson
from yarl import URL

from aideon_agents import errors
from aideon_agents.access import hosts
from aideon_agents.access.hosts import MOVED
from aideon_agents.media.shapes import Artifact
from aideon_agents.models import faults
from aideon_agents.models.candidates import SIMULATED_FOR, Candidate, simulators
from aideon_agents.models.protocol.reading import from_json
from aideon_agents.models.protocol.ways import authorization, below, proxy_for, tls_context
from aideon_agents.models.transport import LONGEST_ERROR, broken_off, post

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import SecretStr

    from aideon_agents.media.artifacts import Artifacts
    from aideon_agents.models.transport import Answer

CALL_HEADER = "X-Aideon-Call"
"""Names the row of the call, so that a provider's support can find it."""

MOST: Mapping[str, int] = {"image": 50 * 10**6, "tts": 100 * 10**6, "video": 500 * 10**6}
"""Bytes of a file, by what it is."""
LONGEST_DOCUMENT = 192 * 2**20
"""Bytes of an answer in JSON: several pictures in base64."""
DOWNLOAD_SECONDS = 300.0
_REDIRECTS = 1
_MARK = "aideon"

Part: TypeAlias = "tuple[str, str | tuple[str, str, bytes]]"
"""A field of a form: its name, and a text, or a file with its name, its kind and its bytes."""


class Reply(NamedTuple):
    """A provider's answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked: str

    def document(self) -> Any:
        """Its JSON; Transient: it is none."""
        try:
            return from_json(self.body)
        except (ValueError, RecursionError) as error:
            raise faults.unreadable(self.asked, error, self.body) from None

    def object(self) -> dict[str, Any]:
        """Its JSON object; raises also the error that it reports with a status of success."""
        found = self.document()
        if not isinstance(found, dict):
            raise faults.unreadable(self.asked, f"it is no JSON object: {self.body[:80]!r}")
        return cast("dict[str, Any]", found)


class Asking:
    """One attempt at a model: where it is asked, with which key, and where its files go."""

    def __init__(
        self,
        candidate: Candidate,
        *,
        key: SecretStr | None,
        call_id: str,
        seconds: float,
        artifacts: Artifacts,
        sending: dict[str, Any],
        note_job: Callable[[str], None],
        job: str | None = None,
        gives_up: Callable[[], bool] = bool,
    ) -> None:
        self.candidate = candidate
        self.model = candidate.model
        self.call_id = call_id
        """Names its row."""
        self.seconds = seconds
        """How long it may take, in all."""
        self.artifacts = artifacts
        self.job = job
        """The provider's id of the job that its row has; None: none was begun yet."""
        self.gives_up = gives_up
        """Whether a person has interrupted the run, so no job is waited for any more."""
        self._key = key
        self._sending = sending
        self._note_job = note_job

    def url(self, path: str, *, version: str | None = None, rootless: bool = False) -> URL:
        """An address below the provider's.

        `version` replaces the last part of its base URL (`v2` for `v1`). `rootless` leaves that part out
        if it is a version, for providers whose variable may have one or not.
        """
        base = self.candidate.address
        if version or rootless:
            head, _, last = base.rstrip("/").rpartition("/")
            has_version = last[:1] == "v" and last[1:].isdigit()
            root = head if has_version else base.rstrip("/")
            base = f"{root}/{version}" if version else root
        return below(base, path)

    async def send(
        self,
        url: URL | str,
        *,
        method: str | None = None,
        json: Mapping[str, Any] | None = None,
        form: list[Part] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] = ("Authorization", "Bearer"),
        pays: bool = True,
        seconds: float | None = None,
        most: int = LONGEST_DOCUMENT,
        moves: bool = False,
    ) -> Reply:
        """Send a request, and read its answer; raises the error of a refusal.

        It is a GET unless it has a body or a `method`. `url` is a path below the provider's address, or
        an address of `self.url`. `auth` is the header of the key, and the word before the key. `pays`:
        whether the provider may charge for it; it does not for an upload, or a look at a job. `moves`: a
        redirect is returned, and no error.
        """
        url = self.url(url) if isinstance(url, str) else url
        known = {"Accept": "application/json", "User-Agent": "aideon-agents"}
        known["Accept-Encoding"] = "identity"
        known |= self._authorized(auth)
        if json is not None:
            content, known["Content-Type"] = orjson.dumps(json), "application/json"
        if form is not None:
            content, known["Content-Type"] = multipart(form)
        if pays:
            known[CALL_HEADER] = self.call_id
        sending = self._sending if pays else {}
        try:
            async with asyncio.timeout(self.seconds if seconds is None else seconds):
                body = content if content is not None or method in {None, "GET"} else b""
                sent = known | dict(headers or {})
                answer = await post(url, body, sent, self.candidate.name, sending, method=method)
                self._noted(answer)
                if moves and answer.status in MOVED:
                    answer.close()
                    return Reply(answer.status, answer.headers, b"", self.candidate.name)
                return await self._read(answer, url, most)
        except TimeoutError as late:
            raise self._unpaid(faults.translate(late, asked=self.candidate.name), pays) from late
        except errors.ProviderError as error:
            raise self._unpaid(error, pays) from error.__cause__

    async def fetch(
        self, url: str, kind: str, *, with_key: bool = False, redirects: int = _REDIRECTS
    ) -> Artifact:
        """Keep the file that an answer names by its URL.

        `with_key`: the provider itself keeps it; then its address must be the provider's. A redirect is
        followed without the key.
        """
        where = URL(url)
        is_here = where.is_absolute() and where.origin() == URL(self.candidate.address).origin()
        with self.artifacts.writing() as file:
            if is_here:
                auth = ("Authorization", "Bearer") if with_key else ("", "")
                sent: Any = {"auth": auth, "pays": False, "seconds": DOWNLOAD_SECONDS}
                reply = await self.send(where, most=MOST[kind], moves=bool(redirects), **sent)
                if reply.status in MOVED:
                    to = where.join(URL(reply.headers.get("Location", "")))
                    return await self.fetch(str(to), kind, redirects=redirects - 1)
                file.write(reply.body)
            else:
                try:
                    await hosts.download_to(
                        file.write,
                        url,
                        MOST[kind],
                        seconds=DOWNLOAD_SECONDS,
                        tls=tls_context(),
                        proxy=proxy_for(where.origin()) if where.is_absolute() else None,
                        redirects=redirects,
                    )
                except errors.InputError as error:
                    why = f"{self.candidate} has made it, but {error}"
                    status = getattr(error, "status", None)
                    raise errors.Transient(why, status=status) from error
            return self.artifacts.kept(file)

    def note_job(self, job: str) -> None:
        """Write the provider's id of the job into the row of the call, before it is first looked at.

        From then on the row and its money stay open until the end of the job is known, also if this
        process ends before that.
        """
        self._note_job(job)
        self._sending["job"] = job

    @property
    def is_simulated(self) -> bool:
        """Whether a simulated provider has answered it."""
        return bool(self._sending.get("simulated"))

    def job_ended(self) -> None:
        """Let an error that is raised from now on be the end of the call."""
        self._sending.pop("job", None)

    def refused(self, error: object) -> errors.ProviderError:
        """The error for what a provider reports with a status of success."""
        return faults.refusal_in_answer(error, **self._place)

    @property
    def _place(self) -> dict[str, Any]:
        return {
            "asked": str(self.candidate),
            "key_variable": self.candidate.key_variable,
            "address": self.candidate.address,
            "address_variable": self.candidate.address_variable,
        }

    def _authorized(self, auth: tuple[str, str]) -> dict[str, str]:
        header, word = auth
        if not header or self._key is None:
            return {}
        key = self._key.get_secret_value()
        if word == "Bearer":
            return {header: authorization(self.candidate.address, key)}
        return {header: f"{word} {key}".strip()}

    def _noted(self, answer: Answer) -> None:
        """Note whether a simulated provider answers."""
        self._sending["simulated"] = answer.is_simulated
        if answer.is_simulated:
            simulators[self.candidate.address] = time.monotonic() + SIMULATED_FOR
        else:
            simulators.pop(self.candidate.address, None)

    async def _read(self, answer: Answer, url: URL, most: int) -> Reply:
        try:
            if answer.status // 100 == 2:  # noqa: PLR2004 - any status of success
                self.candidate.pace.received(answer.headers)
                body = await answer.read(most)
                return Reply(answer.status, answer.headers, body, self.candidate.name)
            start = await answer.read_start(LONGEST_ERROR)
        except aiohttp.ClientError as error:
            raise broken_off(error, self.candidate.name) from error
        finally:
            answer.close()
        where = {**self._place, "address": str(url.with_query(None))}
        raise faults.refusal(answer.status, answer.headers, start, **where)

    @staticmethod
    def _unpaid(error: Any, pays: bool) -> Any:  # noqa: FBT001 - as `send` was asked
        if not pays:
            error.billed = False
        return error


def checked(artifact: Artifact, kind: str, asking: Asking) -> Artifact:
    """A file, if it is one of its kind: a page of a proxy is none."""
    if not artifact.mime.startswith(f"{kind}/"):
        raise faults.unreadable(asking.candidate.name, f"it is {artifact.mime}, and no {kind}")
    return artifact


def reported(document: Mapping[str, Any]) -> object | None:
    """The error that a document with a status of success reports; None: it reports none."""
    error = document.get("error")
    if not error:
        return document if document.get("object") == "error" else None
    return document if isinstance(error, str) or error is True else error


def multipart(form: list[Part]) -> tuple[bytes, str]:
    """A form with its fields in their order, and its Content-Type."""
    boundary = f"{_MARK}-{secrets.token_hex(16)}"
    pieces = list[bytes]()
    for name, value in form:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
        if isinstance(value, str):
            pieces.append(f"{head}\r\n\r\n{value}\r\n".encode())
        else:
            file, mime, data = value
            pieces.append(f'{head}; filename="{file}"\r\nContent-Type: {mime}\r\n\r\n'.encode())
            pieces += [data, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"
