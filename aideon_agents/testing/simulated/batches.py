"""`/v1/files` and `/v1/batches`, as OpenAI and Together have them.

OpenAI takes a form with the file. Together takes one with its checksum, answers 302 with an address,
takes the bytes there, and is asked to read them then. So the form of the upload says which of the two
is meant, and what is made of that file looks as it does there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from aideon_agents.testing.simulated.bill import BilledCall
from aideon_agents.testing.simulated.dialects.dialect import Refused
from aideon_agents.testing.simulated.media.exchange import Sent, as_json, read_form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aideon_agents.testing.simulated.clock import Clock
    from aideon_agents.testing.simulated.protocol import Reply
    from aideon_agents.testing.simulated.wire import Wire

BatchFault: TypeAlias = Literal[
    "expired", "cancelled", "failed", "shuffled", "duplicate", "missing"
]

_TAIL = 4
_DAY = 86400.0
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How the provider treats batches."""

    seconds: float = 0.0
    """How long a batch takes, by the provider's clock."""
    discount: float | None = None
    """What is taken off the price of each line, as a share; None: half by OpenAI, nothing by Together."""
    faults: tuple[BatchFault | None, ...] = ()
    """What goes wrong with each batch, in order: it expires or is cancelled with half of its lines
    finished, is refused, or its results are shuffled, lack a line, or hold one twice."""
    refuses: frozenset[int] = frozenset()
    """The numbers of lines, from 0, that are answered with status 400 in every batch."""


@dataclasses.dataclass
class _File:
    id: str
    name: str
    purpose: str
    content: bytes | None
    checksum: str
    """Empty: it is OpenAI's."""
    created: float
    is_read: bool = False

    @property
    def is_together(self) -> bool:
        return bool(self.checksum)


@dataclasses.dataclass
class _Batch:
    id: str
    file: _File
    asked: Mapping[str, Any]
    fault: BatchFault | None
    created: float
    key: str
    status: str = "validating"
    ended: float | None = None
    output: str | None = None
    errors: str | None = None
    error: str | None = None
    done: int = 0
    total: int = 0


class BatchRoutes:
    """The files and batches of one simulated provider."""

    def __init__(
        self,
        plan: BatchPlan,
        clock: Clock,
        reply: Callable[[object, str, str], Awaitable[Reply]],
        charge: Callable[[BilledCall], None],
    ) -> None:
        self.plan = plan
        self._clock = clock
        self._reply = reply
        self._charge = charge
        self._files: dict[str, _File] = {}
        self._batches: dict[str, _Batch] = {}
        self._faults = iter(plan.faults)
        self._numbers = itertools.count(1)
        self._working = asyncio.Lock()
        self._is_together = False
        """Whether the last upload was in Together's form."""

    @property
    def submitted(self) -> int:
        """How many batches were begun."""
        return len(self._batches)

    async def route(self, wire: Wire, key: str) -> Sent | None:
        """Answer a request; None: it is none of these."""
        match wire.path.strip("/").split("/"):
            case ["v1", "files", *rest]:
                return self._of_files(wire, rest)
            case ["uploads", file_id] if wire.method == "PUT":
                if "authorization" in wire.headers:
                    raise Refused(400, "invalid_request", "This address takes no key.")
                self._file(file_id).content = wire.body
                return Sent(200, {}, b"")
            case ["v1", "batches", *rest]:
                return await self._of_batches(wire, rest, key)
            case _:
                return None

    def _of_files(self, wire: Wire, rest: list[str]) -> Sent | None:
        match wire.method, *rest:
            case ("POST",):
                return self._upload(wire)
            case "POST", file_id, "preprocess":
                file = self._file(file_id)
                if file.content is None:
                    raise Refused(400, "invalid_request_error", "The file was not uploaded.")
                file.is_read = True
            case "GET", file_id, "content":
                content = self._file(file_id).content or b""
                return Sent(200, {"content-type": "application/jsonl"}, content)
            case "GET", file_id:
                file = self._file(file_id)
            case "DELETE", file_id:
                del self._files[self._file(file_id).id]
                return as_json({"id": file_id, "object": "file", "deleted": True})
            case _:
                return None
        return as_json(self._file_document(file))

    async def _of_batches(self, wire: Wire, rest: list[str], key: str) -> Sent | None:
        match wire.method, *rest:
            case ("POST",):
                return self._begin(wire, key)
            case "POST", batch_id, "cancel":
                await self._work(batch := self._batch(batch_id))
                if batch.status in _ENDED:
                    raise Refused(409, "invalid_request_error", f"Batch {batch_id} has ended.")
                batch.fault, batch.created = "cancelled", -_DAY
            case "GET", batch_id:
                batch = self._batch(batch_id)
            case ("GET",):
                listed = [self._document(one) for one in reversed(self._batches.values())]
                if self._is_together:
                    return as_json(listed)
                return as_json({"object": "list", "data": listed, "has_more": False})
            case _:
                return None
        await self._work(batch)
        return as_json(self._document(batch))

    def _upload(self, wire: Wire) -> Sent:
        texts, files = read_form(wire.headers.get("content-type", ""), wire.body)
        sent = next((one for one in files if one.field == "file"), None)
        number, now = next(self._numbers), self._clock.now()
        file = _File(
            id=f"file-{number:04d}",
            name=texts.get("file_name") or (sent.name if sent else ""),
            purpose=texts.get("purpose", ""),
            content=None,
            checksum=texts.get("checksum", ""),
            created=now,
        )
        self._is_together = file.is_together
        if not file.is_together:
            if sent is None:
                raise Refused(400, "invalid_request_error", "'file' is a required property")
            file.content = sent.data
            self._files[file.id] = file
            return as_json(self._file_document(file))
        for known in self._files.values():
            if known.checksum == file.checksum:
                return as_json({"error": "file exists", "file_id": known.id}, 409)
        self._files[file.id] = file
        place = f"http://{wire.headers.get('host')}/uploads/{file.id}"
        return Sent(302, {"location": place, "x-together-file-id": file.id}, b"")

    def _begin(self, wire: Wire, key: str) -> Sent:
        asked = cast("dict[str, Any]", json.loads(wire.body))
        file = self._file(str(asked.get("input_file_id")))
        if file.is_together and not file.is_read:
            raise Refused(400, "invalid_request_error", "The file was not processed.")
        if asked.get("endpoint") != "/v1/chat/completions":
            raise Refused(400, "invalid_request_error", "Unknown endpoint.")
        batch = _Batch(
            id=f"batch_{next(self._numbers):04d}",
            file=file,
            asked=asked,
            fault=next(self._faults, None),
            created=self._clock.now(),
            key=key,
        )
        self._batches[batch.id] = batch
        shown = self._document(batch)
        return as_json({"job": shown, "warning": None} if file.is_together else shown)

    async def _work(self, batch: _Batch) -> None:
        """Bring a batch to where it is by now."""
        async with self._working:
            if batch.status in _ENDED:
                return
            if self._clock.now() < batch.created + self.plan.seconds:
                batch.status = "in_progress"
                return
            batch.ended = self._clock.now()
            lines = [json.loads(one) for one in (batch.file.content or b"").splitlines() if one]
            batch.total = len(lines)
            ids = [one.get("custom_id") for one in lines]
            if batch.fault == "failed" or len(set(ids)) < len(ids):
                batch.status, batch.error = "failed", "The input file is not valid."
                return
            is_half = batch.fault in ("expired", "cancelled")
            done = lines[: len(lines) // 2] if is_half else lines
            outputs, failures = await self._answered(batch, done)
            for line in lines[len(done) :]:
                code = f"batch_{batch.fault}"
                failures.append(
                    {"custom_id": line["custom_id"], "error": {"code": code, "message": code}}
                )
            self._spoil(batch, outputs)
            batch.output, batch.errors = self._kept(outputs), self._kept(failures)
            batch.status = batch.fault if batch.fault in ("expired", "cancelled") else "completed"

    async def _answered(
        self, batch: _Batch, lines: list[Any]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        outputs, failures = list[dict[str, Any]](), list[dict[str, Any]]()
        usual = 0.0 if batch.file.is_together else 0.5
        for number, line in enumerate(lines):
            known = {"id": f"batch_req_{batch.id}_{number}", "custom_id": line["custom_id"]}
            if number in self.plan.refuses:
                body = {"error": {"message": "This is refused.", "type": "invalid_request_error"}}
                failures.append(
                    {**known, "response": {"status_code": 400, "body": body}, "error": None}
                )
                continue
            request_id = f"{batch.id}-{line['custom_id']}"
            made = await self._reply(line["body"], request_id, batch.key)
            self._charge(
                BilledCall(
                    request_id=request_id,
                    key_tail=batch.key[-_TAIL:],
                    model=made.model,
                    input_tokens=made.input_tokens,
                    output_tokens=made.output_tokens,
                    cache_read_tokens=made.cache_read_tokens,
                    reasoning_tokens=made.reasoning_tokens,
                    status=200,
                    delivered=True,
                    discount=usual if (own := self.plan.discount) is None else own,
                )
            )
            body = json.loads(made.whole(with_usage=True, with_finish=True))
            response = {"status_code": 200, "request_id": request_id, "body": body}
            outputs.append({**known, "response": response, "error": None})
            batch.done += 1
        return outputs, failures

    def _spoil(self, batch: _Batch, outputs: list[dict[str, Any]]) -> None:
        """Let the results be as the fault has them; what was answered is charged all the same."""
        if batch.fault == "shuffled":
            random.Random(7).shuffle(outputs)
        elif batch.fault == "duplicate":
            outputs.extend(outputs[:1])
        elif batch.fault == "missing":
            del outputs[:1]

    def _kept(self, lines: list[dict[str, Any]]) -> str | None:
        if not lines:
            return None
        content = b"".join(json.dumps(one).encode() + b"\n" for one in lines)
        file_id = f"file-{next(self._numbers):04d}"
        self._files[file_id] = _File(
            file_id, "output.jsonl", "batch_output", content, "", self._clock.now(), is_read=True
        )
        return file_id

    def _file(self, file_id: str) -> _File:
        if file_id not in self._files:
            raise Refused(404, "invalid_request_error", f"No such File object: {file_id}")
        return self._files[file_id]

    def _batch(self, batch_id: str) -> _Batch:
        if batch_id not in self._batches:
            raise Refused(404, "invalid_request_error", f"No batch found with id '{batch_id}'.")
        return self._batches[batch_id]

    @staticmethod
    def _file_document(file: _File) -> dict[str, Any]:
        shown = {"id": file.id, "object": "file", "bytes": len(file.content or b"")}
        shown |= {"created_at": int(file.created), "filename": file.name, "purpose": file.purpose}
        if file.is_together:
            state = "COMPLETED" if file.is_read else "PENDING"
            return {
                **shown,
                "FileType": "jsonl",
                "processing_status": state,
                "Processed": file.is_read,
            }
        return {**shown, "status": "processed"}

    @staticmethod
    def _document(batch: _Batch) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": batch.id,
            "endpoint": batch.asked["endpoint"],
            "input_file_id": batch.file.id,
            "output_file_id": batch.output,
            "error_file_id": batch.errors,
        }
        if batch.file.is_together:
            progress = 100.0 * batch.done / batch.total if batch.total else 0.0
            shown |= {"status": batch.status.upper(), "progress": progress, "error": batch.error}
            shown |= {"model_id": batch.asked.get("model_id"), "user_id": "user"}
            return shown | {"created_at": datetime.fromtimestamp(batch.created, UTC).isoformat()}
        counts = {"total": batch.total, "completed": batch.done, "failed": batch.total - batch.done}
        problems = [{"code": "invalid", "message": batch.error, "line": None, "param": None}]
        return shown | {
            "object": "batch",
            "status": batch.status,
            "completion_window": batch.asked.get("completion_window", "24h"),
            "created_at": int(batch.created),
            "expires_at": int(batch.created + _DAY),
            "errors": {"object": "list", "data": problems} if batch.error else None,
            "metadata": batch.asked.get("metadata"),
            "request_counts": counts,
        }
