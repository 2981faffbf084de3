"""Files and batches over HTTP, as OpenAI and Together have them.

What a request makes is written by the caller before the next request is sent. Requests that only look
may be repeated; the one that begins a batch is not. A state whose word is not known counts as running,
because providers add words.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast

import aiohttp
import orjson
from yarl import URL

from aideon_agents import errors
from aideon_agents.media.requests import Part, multipart
from aideon_agents.models import faults
from aideon_agents.models.candidates import SIMULATED_FOR, simulators
from aideon_agents.models.protocol.reading import from_json
from aideon_agents.models.protocol.ways import below, is_loopback
from aideon_agents.models.transport import LONGEST_ERROR, SIMULATED, Answer, broken_off, post

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

State: TypeAlias = Literal["running", "done", "failed", "expired", "cancelled"]

_STATES: Mapping[str, State] = {
    "completed": "done",
    "failed": "failed",
    "expired": "expired",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}
"""By a provider's word; any other: running."""

LINES: Mapping[str, Mapping[str, str]] = {
    "openai": {"method": "POST", "url": "/v1/chat/completions"},
    "together": {},
}
"""What a line holds besides its id and its body, by the dialect of its provider."""

LIVE = "use --engine local, which asks the models live"
_ENDPOINT = "/v1/chat/completions"
_WINDOW = "24h"
_PAGE = 100
_MOST_PAGES = 50
_LONGEST_DOCUMENT = 16 * 2**20
_SECONDS = 60.0
_FILE_SECONDS = 1800.0
_TRIES, _PAUSE = 4, 0.5
_CONFLICT, _NOT_FOUND = 409, 404


class Seen(NamedTuple):
    """A batch, as its provider shows it."""

    id: str
    state: State
    words: str
    """The provider's own word for its state."""
    files: tuple[str, ...]
    """The files with its results and its errors, as far as there are any."""
    error: str | None
    input_file: str | None


class Batches:
    """The files and batches of the provider of a model."""

    def __init__(self, model: Any) -> None:
        self._candidate = model.candidate
        self._base: str = model._base  # noqa: SLF001 - as the wire has them
        self._headers: Mapping[str, str] = model._headers  # noqa: SLF001
        self._place: dict[str, Any] = model._place  # noqa: SLF001
        self._asked = str(model.candidate)
        self.is_together = model.candidate.row.dialect == "together"
        self.is_simulated = False
        """Whether a simulated provider has answered."""

    async def check(self) -> None:
        """Refuse a server that has no batches, before anything is sent."""
        try:
            await self._looked("batches?limit=1")
        except errors.ProviderError as error:
            if error.status == _NOT_FOUND:
                raise errors.InputError(
                    f"{self._asked}: the server at {self._base} has no batches: {LIVE}"
                ) from error
            raise

    async def upload(self, content: bytes, name: str) -> str:
        """Upload the lines of a batch; returns the id of the file."""
        if not self.is_together:
            file: list[Part] = [
                ("purpose", "batch"),
                ("file", (name, "application/jsonl", content)),
            ]
            return _id(await self._json("POST", "files", form=file), self._asked)
        digest = hashlib.sha256(content).hexdigest()
        form: list[Part] = [("purpose", "batch-api"), ("file_name", name)]
        form += [("file_type", "jsonl"), ("checksum", digest)]
        status, headers, body = await self._sent("POST", "files", form=form)
        if status == _CONFLICT and (known := _object(body).get("file_id")):
            # An earlier process was killed on the way, and how far it came is not known.
            await self._sent("DELETE", f"files/{known}")
            status, headers, body = await self._sent("POST", "files", form=form)
        place, file_id = headers.get("Location"), headers.get("X-Together-File-Id")
        if not place or not file_id:
            raise self._refusal(status, headers, body, "files")
        # The address is the provider's word, and gets no key.
        target = URL(place)
        status, headers, body = await self._sent("PUT", target, content=content, with_key=False)
        if status // 100 != 2:  # noqa: PLR2004 - any status of success
            raise self._refusal(status, headers, body, "files")
        return _id(await self._json("POST", f"files/{file_id}/preprocess"), self._asked)

    async def begin(self, file_id: str, model: str, ours: str) -> Seen:
        """Begin a batch with a file that was uploaded. It is sent once."""
        asked: dict[str, Any] = {"input_file_id": file_id, "endpoint": _ENDPOINT}
        asked |= {"completion_window": _WINDOW}
        asked |= {"model_id": model} if self.is_together else {"metadata": {"aideon": ours}}
        sent = await self._json("POST", "batches", json=asked)
        return self._seen(sent.get("job") or sent)

    async def find(self, file_id: str) -> Seen | None:
        """The batch of a file; None: there is none."""
        after = ""
        for _ in range(_MOST_PAGES):
            found = await self._looked(f"batches?limit={_PAGE}{after}")
            is_page = isinstance(found, dict)
            listed: Any = found.get("data") if is_page else found
            shown = [self._seen(one) for one in listed or () if isinstance(one, dict)]
            for one in shown:
                if one.input_file == file_id:
                    return one
            if not (is_page and found.get("has_more") and shown):
                return None
            after = f"&after={shown[-1].id}"
        return None

    async def look(self, job: str) -> Seen:
        """The state of a batch."""
        return self._seen(await self._looked(f"batches/{job}"))

    async def cancel(self, job: str) -> None:
        """Ask the provider to end a batch; what is finished by then is charged."""
        status, headers, body = await self._sent("POST", f"batches/{job}/cancel")
        if status // 100 != 2 and status not in (400, _CONFLICT):  # noqa: PLR2004 - it has ended
            raise self._refusal(status, headers, body, f"batches/{job}/cancel")

    async def lines(self, file_id: str) -> AsyncGenerator[Any]:
        """What each line of a file says; lines that are no JSON are left out."""
        rest = b""
        async with asyncio.timeout(_FILE_SECONDS):
            answer = await self._answer("GET", f"files/{file_id}/content")
            try:
                if answer.status // 100 != 2:  # noqa: PLR2004 - any status of success
                    body = await answer.read_start(LONGEST_ERROR)
                    raise self._refusal(answer.status, answer.headers, body, "files")
                async for part in answer.parts():
                    *whole, rest = (rest + part).split(b"\n")
                    for line in whole:
                        if found := _object(line):
                            yield found
            except aiohttp.ClientError as error:
                raise broken_off(error, self._asked) from error
            finally:
                answer.close()
        if found := _object(rest):
            yield found

    def _seen(self, sent: Any) -> Seen:
        found = cast("dict[str, Any]", sent if isinstance(sent, dict) else {})
        words = str(found.get("status") or "").lower()
        files = [found.get(name) for name in ("output_file_id", "error_file_id")]
        error = found.get("error") or _first((found.get("errors") or {}).get("data"))
        return Seen(
            id=_id(found, self._asked),
            state=_STATES.get(words, "running"),
            words=words,
            files=tuple(str(one) for one in files if one),
            error=str(error) if error else None,
            input_file=found.get("input_file_id"),
        )

    async def _looked(self, path: str) -> Any:
        """A document that may be asked for again."""
        for left in range(_TRIES, -1, -1):
            try:
                return await self._json("GET", path)
            except (errors.Transient, errors.RateLimited):
                if not left:
                    raise
            await asyncio.sleep(_PAUSE * 2 ** (_TRIES - left))
        raise AssertionError(path)

    async def _json(
        self, method: str, path: str, *, json: Any = None, form: list[Part] | None = None
    ) -> dict[str, Any]:
        content = None if json is None else orjson.dumps(json)
        status, headers, body = await self._sent(method, path, content=content, form=form)
        if status // 100 != 2:  # noqa: PLR2004 - any status of success
            raise self._refusal(status, headers, body, path)
        try:
            return cast("dict[str, Any]", from_json(body))
        except (ValueError, RecursionError) as error:
            raise faults.unreadable(self._asked, error, body) from None

    async def _sent(
        self,
        method: str,
        path: str | URL,
        *,
        content: bytes | None = None,
        form: list[Part] | None = None,
        with_key: bool = True,
    ) -> tuple[int, Mapping[str, str], bytes]:
        kind = "application/json"
        if form is not None:
            content, kind = multipart(form)
        elif isinstance(path, URL):
            kind = "application/octet-stream"
        seconds = _SECONDS if content is None or len(content) < 2**20 else _FILE_SECONDS
        try:
            async with asyncio.timeout(seconds):
                answer = await self._answer(method, path, content, kind, with_key=with_key)
                try:
                    return answer.status, answer.headers, await answer.read(_LONGEST_DOCUMENT)
                finally:
                    answer.close()
        except TimeoutError as late:
            raise faults.translate(late, asked=self._asked) from late
        except aiohttp.ClientError as error:
            raise broken_off(error, self._asked) from error

    async def _answer(
        self,
        method: str,
        path: str | URL,
        content: bytes | None = None,
        kind: str = "application/json",
        *,
        with_key: bool = True,
    ) -> Answer:
        url = below(self._base, path) if isinstance(path, str) else path
        if isinstance(path, str) and "?" in path:
            path, _, query = path.partition("?")
            url = below(self._base, path).update_query(query)
        known = dict(self._headers) if with_key else {}
        headers = {**known, "Content-Type": kind, "Accept": "*/*"}
        body = content if content is not None or method == "GET" else b""
        answer = await post(url, body, headers, self._asked, method=method)
        if with_key:
            # A GET has no body, by which the transport sees who is at the other end.
            is_near = SIMULATED in answer.headers and is_loopback(str(url.host))
            self.is_simulated = answer.is_simulated or is_near
            if self.is_simulated:
                simulators[self._candidate.address] = time.monotonic() + SIMULATED_FOR
        return answer

    def _refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, path: str
    ) -> errors.ProviderError:
        place = {**self._place, "address": str(below(self._base, path.partition("?")[0]))}
        return faults.refusal(status, headers, body[:LONGEST_ERROR], **place)


def _id(document: Any, asked: str) -> str:
    found = document.get("id") if isinstance(document, dict) else None
    if not found:
        raise faults.unreadable(asked, "it names no id")
    return str(found)


def _object(text: bytes) -> dict[str, Any]:
    """A JSON object; empty: it is none."""
    try:
        found = from_json(text)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _first(problems: Any) -> str | None:
    """The first of several problems in words."""
    first = problems[0] if isinstance(problems, list) and problems else None
    return str(first.get("message") or first) if isinstance(first, dict) else first
