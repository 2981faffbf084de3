"""Predictions as Replicate makes them, of text, pictures, sound and videos."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aideon_agents.testing.simulated.dialects.dialect import Refused
from aideon_agents.testing.simulated.media.exchange import Route, Sent, Service, as_json
from aideon_agents.testing.simulated.media.files import picture, sound, video
from aideon_agents.testing.simulated.media.jobs import Jobs, iso

if TYPE_CHECKING:
    from aideon_agents.testing.simulated.media.exchange import MediaRequest
    from aideon_agents.testing.simulated.media.jobs import Job
    from aideon_agents.testing.simulated.media.kept import Kept

_PREDICT_SECONDS = 2.5
"""How long a model runs, where a job takes no time."""
_RUNNING_FROM = 0.25
_DAY = 86400.0
_KINDS = {
    "text": re.compile(r"llama|granite|qwen3|deepseek|gpt|mistral|claude"),
    "image": re.compile(r"flux|image|sdxl|stable-diffusion|seedream|ideogram|recraft"),
    "sound": re.compile(r"speech|tts|kokoro|bark|voice"),
}
_STATES = {
    "queued": "starting",
    "throttled": "starting",
    "running": "processing",
    "unknown": "post_processing",
    "done": "succeeded",
    "failed": "failed",
    "cancelled": "canceled",
    "aborted": "aborted",
}
_FIELDS = ("prompt", "duration", "fps", "resolution", "aspect_ratio", "seed", "image", "video")
_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_THROTTLED = 429


def _error(refused: Refused) -> dict[str, Any]:
    title = {401: "Unauthenticated", 404: "Not found", 422: "Input validation failed"}
    known = {"detail": refused.message, "status": refused.status}
    named = title.get(refused.status)
    return {"title": named, **known} if named else known


def _limits(status: int) -> dict[str, str]:
    if status == _THROTTLED:
        return {"ratelimit-remaining": "0", "ratelimit-reset": "30"}
    return {"ratelimit-remaining": "599", "ratelimit-reset": "1"}


_REPLICATE = Service("replicate", _error, ("bearer", "token"), _limits)


class Replicate:
    """The predictions of one provider."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._jobs = Jobs(kept)

    def routes(self) -> list[Route]:
        """Its routes."""
        one = "/v1/predictions/([^/]+)"
        ways = (
            ("POST", "/v1/(models|deployments)/([^/]+/[^/]+)/predictions", self._begin, True),
            ("POST", "/v1/predictions", self._begin, True),
            ("GET", "/v1/predictions", self._list, False),
            ("GET", one, self._look, False),
            ("POST", f"{one}/cancel", self._cancel, False),
            ("GET", "/v1/stream/([^/]+)", self._stream, False),
            ("GET", "/v1/models/([^/]+)/([^/]+)", self._model, False),
            ("GET", "/v1/models/([^/]+)/([^/]+)/versions/([^/]+)", self._model, False),
            ("GET", "/v1/files/(replicate-[^/]+)", self._file, False),
            ("GET", "/v1/files/(replicate-[^/]+)/download", self._content, False),
            ("DELETE", "/v1/files/(replicate-[^/]+)", self._delete, False),
        )
        routes = [Route(way, path, _REPLICATE, do, pays=pays) for way, path, do, pays in ways]
        form = b'name="content"'  # those of other providers have a file
        return [*routes, Route("POST", "/v1/files", _REPLICATE, self._upload, having=form)]

    def _begin(self, request: MediaRequest) -> Sent:
        version = request.fields.get("version", "")
        if request.parts:
            request.model = request.parts[1]
        elif not version:
            raise Refused(422, None, "- version is required")
        else:
            request.model = version.partition(":")[0]
        given = request.fields.get("input")
        if not isinstance(given, dict) or not given:
            raise Refused(422, None, "- input: prompt is required")
        words = request.model.lower()
        kind = next((kind for kind, named in _KINDS.items() if named.search(words)), "video")
        length = given.get("duration") or given.get("seconds") or 5
        job = self._jobs.begin(request, kind=kind, length=float(length))
        if request.kind != "job_aborted":
            self._charge(job, self._predict_seconds(job))
        shown = self._document(job)
        if request.headers.get("prefer", "").startswith("wait") and job.phase == "done":
            # It answers as soon as there is an output, which is before the prediction has ended.
            shown |= {"status": "processing", "completed_at": None, "metrics": {}}
        elif not job.has_ended or not request.headers.get("prefer"):
            shown |= {"status": "starting", "output": None, "completed_at": None, "metrics": {}}
        return as_json(shown, 201)

    @staticmethod
    def _predict_seconds(job: Job) -> float:
        """How long its model ran, or will run."""
        whole = job.seconds * (1 - _RUNNING_FROM) or _PREDICT_SECONDS
        if job.cancelled is None:
            return whole
        return max(0.0, job.cancelled - job.created - job.seconds * _RUNNING_FROM)

    @staticmethod
    def _charge(job: Job, seconds: float) -> None:
        job.charge(unit="hardware_second", quantity=round(seconds * 1000))

    def _list(self, request: MediaRequest) -> Sent:
        del request
        results = [self._document(job) for job in reversed(list(self._jobs))]
        return as_json({"previous": None, "next": None, "results": results})

    def _look(self, request: MediaRequest) -> Sent:
        return as_json(self._document(self._jobs.find(request.parts[0])))

    def _cancel(self, request: MediaRequest) -> Sent:
        job = self._jobs.find(request.parts[0])
        if not job.has_ended:
            job.cancel()
            self._charge(job, self._predict_seconds(job))
        return as_json(self._document(job))

    def _document(self, job: Job) -> dict[str, Any]:
        request, phase = job.request, job.phase
        place = f"{request.origin}/v1/predictions/{job.id}"
        is_over = (
            job.ended is not None
            and self._kept.clock.now() >= job.ended + self._kept.plan.link_seconds
        )
        shown: dict[str, Any] = {
            "id": job.id,
            "model": request.model,
            "version": request.fields.get("version", "").rpartition(":")[2] or _VERSION,
            "input": {} if is_over else request.fields["input"],
            "logs": "" if is_over else f"Using seed: {request.fields['input'].get('seed', 42)}\n",
            "output": None if is_over or phase != "done" else self._output(job),
            "data_removed": is_over,
            "error": None,
            "status": _STATES[phase],
            "created_at": iso(job.created),
            "started_at": iso(job.created + job.seconds * _RUNNING_FROM),
            "completed_at": iso(job.ended),
            "urls": {"get": place, "cancel": f"{place}/cancel", "web": place},
            "metrics": {},
        }
        if job.kind == "text":
            shown["urls"]["stream"] = f"{request.origin}/v1/stream/{job.id}"
        if phase in {"queued", "throttled", "aborted"}:
            shown["started_at"] = None
        elif job.has_ended and request.kind != "no_cost":
            shown["metrics"] = {"predict_time": self._predict_seconds(job)}
        if phase == "failed":
            shown["error"] = self._failure(request)
        return shown

    @staticmethod
    def _failure(request: MediaRequest) -> str:
        if request.kind == "moderated":
            return "NSFW content detected. Try running it again, or try a different prompt."
        return "CUDA out of memory."

    def _output(self, job: Job) -> Any:
        prompt = str(job.request.fields["input"].get("prompt", ""))
        if job.kind == "text":
            return [f"{word} " for word in prompt.split()]
        if not job.links:
            made = {
                "image": lambda: picture(prompt, 0, 1024, 1024, "webp"),
                "sound": lambda: sound(prompt, "wav"),
                "video": lambda: video(prompt, job.length),
            }[job.kind]()
            link = self._kept.link(job.request, *made, since=job.ended, signed=False)
            job.links = [link]
        return job.links if job.kind == "image" else job.links[0]

    def _stream(self, request: MediaRequest) -> Sent:
        job = self._jobs.find(request.parts[0])
        events = [("output", word) for word in self._output(job)]
        if job.request.kind in {"job_failed", "moderated"}:
            events = [*events[:1], ("error", '{"detail": "The prediction failed."}')]
        done = "error" if job.request.kind else ""
        events.append(("done", f'{{"reason": "{done}"}}' if done else "{}"))
        lines = [
            f"event: {name}\nid: {number}\ndata: {data}\n\n"
            for number, (name, data) in enumerate(events, 1)
        ]
        return Sent(200, {"content-type": "text/event-stream"}, "".join(lines).encode())

    def _model(self, request: MediaRequest) -> Sent:
        owner, name, *version = request.parts
        properties = {field: {"type": "string"} for field in _FIELDS}
        properties |= {field: {"type": "integer"} for field in ("duration", "fps", "seed")}
        schema = {"type": "object", "required": ["prompt"], "properties": properties}
        known = {
            "id": (version or [_VERSION])[0],
            "created_at": iso(self._kept.clock.now()),
            "cog_version": "0.16.0",
            "openapi_schema": {"components": {"schemas": {"Input": schema}}},
        }
        if version:
            return as_json(known)
        place = f"https://replicate.com/{owner}/{name}"
        shown = {"url": place, "owner": owner, "name": name, "visibility": "public"}
        return as_json({**shown, "run_count": 1000, "latest_version": known})

    def _upload(self, request: MediaRequest) -> Sent:
        file = next((one for one in request.files if one.field == "content"), None)
        if file is None:
            raise Refused(422, None, "- content is required")
        name = f"replicate-{next(self._kept.numbers)}"
        self._kept.keep(name, file.mime, file.data, seconds=_DAY)
        return as_json(self._described(request, name, file.name), 201)

    def _described(self, request: MediaRequest, name: str, called: str) -> dict[str, Any]:
        file = self._kept.find(name)
        now = self._kept.clock.now()
        place = f"{request.origin}/v1/files/{name}"
        known = {"id": name, "name": called, "content_type": file.mime, "size": len(file.data)}
        known |= {"etag": name, "checksums": {}, "metadata": {}, "urls": {"get": place}}
        return {**known, "created_at": iso(now), "expires_at": iso(now + _DAY)}

    def _file(self, request: MediaRequest) -> Sent:
        return as_json(self._described(request, request.parts[0], "file"))

    def _content(self, request: MediaRequest) -> Sent:
        file = self._kept.find(request.parts[0])
        return Sent(200, {"content-type": file.mime}, file.data)

    def _delete(self, request: MediaRequest) -> Sent:
        self._kept.find(request.parts[0])
        self._kept.drop(request.parts[0])
        return Sent(204, {}, b"")
