"""Pictures, speech and videos as Runway makes them: a task that says in credits what it costs."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from aideon_agents.testing.simulated.dialects.dialect import Refused
from aideon_agents.testing.simulated.media.exchange import Route, Sent, Service, as_json
from aideon_agents.testing.simulated.media.files import picture, seconds_of, sound, video
from aideon_agents.testing.simulated.media.jobs import Jobs, iso

if TYPE_CHECKING:
    from aideon_agents.testing.simulated.media.exchange import MediaRequest
    from aideon_agents.testing.simulated.media.jobs import Job
    from aideon_agents.testing.simulated.media.kept import Kept

VERSION = "2024-11-06"
_CREDIT = 10_000_000
"""Nano-dollars."""
_BALANCE = 100_000
_CREDITS = {
    "gen4.5": (12, 0),
    "gen4_turbo": (5, 0),
    "aleph2": (28, 56),
    "veo3.1": (40, 0),
    "veo3.1_fast": (15, 0),
    "seedance2": (36, 0),
    "seedance2_5": (30, 80),
    "seedance2_mini": (16, 64),
}
"""Of each second of a video, and of any video at least."""
_PER_SECOND = (10, 0)
_IMAGES = {"gen4_image": 5, "gen4_image_turbo": 2}
_CHARACTERS_A_CREDIT = 50
_LONGEST_URI = 5 * 2**20
_LONGEST_PROMPT = 1000
_RATIO = re.compile(r"(\d{2,4}):(\d{2,4})")
_STATES = {
    "queued": "PENDING",
    "throttled": "THROTTLED",
    "running": "RUNNING",
    "unknown": "POST_PROCESSING",
    "done": "SUCCEEDED",
    "failed": "FAILED",
    "cancelled": "CANCELLED",
    "aborted": "FAILED",
}
_FAILURES = {
    "moderated": ("SAFETY.INPUT.TEXT", "The prompt did not pass content moderation."),
    "job_failed": ("INTERNAL.BAD_OUTPUT.CODE01", "The generation failed."),
    "job_aborted": ("INTERNAL", "The generation could not begin."),
}


def _error(refused: Refused) -> dict[str, Any]:
    if refused.status != 400 or refused.param is None:  # noqa: PLR2004 - an HTTP status
        return {"error": refused.message}
    issue = {"code": refused.code, "path": [refused.param], "message": refused.message}
    return {"error": "Validation of body failed", "issues": [issue]}


_RUNWAY = Service("runway", _error)
_STORAGE = Service("storage", lambda refused: f"<Error><Code>{refused.code}</Code></Error>", ())


class Runway:
    """The tasks of one provider."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._jobs = Jobs(kept)

    def routes(self) -> list[Route]:
        """Its routes."""
        kinds = "(text|image|video)_to_(image|speech|video)"
        return [
            Route("POST", f"/v1/{kinds}", _RUNWAY, self._begin, pays=True),
            Route("GET", "/v1/tasks/([^/]+)", _RUNWAY, self._look),
            Route("DELETE", "/v1/tasks/([^/]+)", _RUNWAY, self._cancel),
            Route("POST", "/v1/uploads", _RUNWAY, self._place),
            Route("POST", "/runway-uploads/([^/]+)", _STORAGE, self._upload),
            Route("GET", "/v1/organization", _RUNWAY, self._organization),
        ]

    @staticmethod
    def _check(request: MediaRequest) -> None:
        if request.headers.get("x-runway-version") != VERSION:
            raise Refused(400, "invalid_version", f"X-Runway-Version must be {VERSION}.")

    def _begin(self, request: MediaRequest) -> Sent:
        self._check(request)
        fields, (given, made) = request.fields, request.parts
        model = request.text("model")
        prompt = request.text("promptText") if given == "text" else fields.get("promptText", "")
        if len(prompt.encode("utf-16-le")) // 2 > _LONGEST_PROMPT:
            raise _wrong("promptText", f"It must have at most {_LONGEST_PROMPT} characters.")
        if made == "speech":
            amount = math.ceil(len(prompt) / _CHARACTERS_A_CREDIT)
            job = self._jobs.begin(request, kind="sound", length=seconds_of(prompt))
        else:
            if (made == "image" or given != "video") and not _RATIO.fullmatch(
                str(fields.get("ratio"))
            ):
                raise _wrong("ratio", "It must be a size such as 1280:720.")
            self._check_files(request, given)
            if made == "image":
                amount = _IMAGES.get(model, 5)
                job = self._jobs.begin(request, kind="image")
            else:
                length = self._length(request, model, given)
                each, least = _CREDITS.get(model, _PER_SECOND)
                amount = max(math.ceil(each * length), least)
                job = self._jobs.begin(request, length=length)
        # Moderated ones cost what successful ones do; others that fail are refunded.
        paid = 0 if request.kind in {"job_failed", "job_aborted"} else amount
        self._charge(job, paid)
        return as_json({"id": job.id, "estimatedCost": {"credits": amount}})

    @staticmethod
    def _check_files(request: MediaRequest, given: str) -> None:
        fields = request.fields
        needed = {"image": ["promptImage"], "video": ["videoUri"], "text": []}[given]
        if given == "video" and fields.get("mode") == "extend":
            needed = ["promptVideo"]
        for name in needed:
            value = fields.get(name)
            uris = [one.get("uri") for one in value] if isinstance(value, list) else [value]
            for uri in uris:
                if not isinstance(uri, str) or not uri.startswith(("https://", "data:", "runway:")):
                    raise _wrong(name, "Only HTTPS URLs are allowed.")
                if uri.startswith("data:") and len(uri) > _LONGEST_URI:
                    raise _wrong(name, "The data URI is too long.")

    def _length(self, request: MediaRequest, model: str, given: str) -> float:
        if given == "text" and model == "gen4_turbo":
            raise _wrong("model", "It begins with a picture.")
        if given == "video" and "duration" not in request.fields:
            return self._kept.length(request.fields.get("videoUri"), 5)
        duration = request.fields.get("duration")
        if type(duration) is not int or not 1 <= duration <= 60:  # noqa: PLR2004 - seconds
            raise _wrong("duration", "It must be whole seconds.")
        return duration

    @staticmethod
    def _charge(job: Job, amount: int) -> None:
        job.charge(unit="credit", quantity=amount * 10**6, reported_nanousd=amount * _CREDIT)

    def _look(self, request: MediaRequest) -> Sent:
        self._check(request)
        job = self._jobs.find(request.parts[0])
        amount = (job.request.billed.quantity or 0) // 10**6
        shown: dict[str, Any] = {"id": job.id, "createdAt": iso(job.created)}
        failed = job.phase in {"failed", "aborted"}
        shown["status"] = _STATES[job.phase]
        if job.has_ended:
            shown |= {} if job.request.kind == "no_cost" else {"cost": {"credits": amount}}
        else:
            shown["estimatedCost"] = {"credits": amount}
        if failed:
            code, words = _FAILURES[str(job.request.kind)]
            shown |= {"failure": words, "failureCode": code}
        if job.phase == "running":
            shown["progress"] = round(job.share, 2)
        if job.phase == "done":  # with a fresh address each time
            shown["output"] = [self._kept.link(job.request, *self._made(job))]
        return as_json(shown)

    @staticmethod
    def _made(job: Job) -> tuple[str, bytes]:
        prompt = job.request.fields.get("promptText", "")
        if job.kind == "sound":
            return sound(prompt, "mp3")
        if job.kind == "image":
            width, height = job.request.fields["ratio"].split(":")
            return picture(prompt, 0, int(width), int(height), "png")
        return video(prompt, job.length)

    def _cancel(self, request: MediaRequest) -> Sent:
        self._check(request)
        job = self._jobs.find(request.parts[0])
        if job.has_ended:  # then it is deleted
            self._jobs.drop(job)
        else:
            if job.phase in {"queued", "throttled"}:
                self._charge(job, 0)
            job.cancel()
        return Sent(204, {}, b"")

    def _place(self, request: MediaRequest) -> Sent:
        self._check(request)
        request.text("filename")
        if request.fields.get("type") != "ephemeral":
            raise _wrong("type", "It must be ephemeral.")
        name = f"upload-{next(self._kept.numbers)}"
        place = {"uploadUrl": f"{request.origin}/runway-uploads/{name}", "fields": {"key": name}}
        return as_json({**place, "runwayUri": f"runway://{name}"})

    def _upload(self, request: MediaRequest) -> Sent:
        if request.key:
            raise Refused(400, "InvalidArgument", "Only one auth mechanism allowed")
        (name,) = request.parts
        file = next((one for one in request.files if one.field == "file"), None)
        if file is None or request.fields.get("key") != name:
            raise Refused(403, "AccessDenied", "The fields are not those that were given.")
        self._kept.keep(name, file.mime, file.data)
        return Sent(204, {}, b"")

    def _organization(self, request: MediaRequest) -> Sent:
        self._check(request)
        calls = [call for call in request.bill.calls if call.unit == "credit"]
        spent = sum((call.quantity or 0) // 10**6 for call in calls)
        used = Counter(call.model for call in calls)
        limits = {"maxConcurrentGenerations": 5, "maxDailyGenerations": 500}
        tier = {"maxMonthlyCreditSpend": _BALANCE, "models": dict.fromkeys(_CREDITS, limits)}
        usage = {model: {"dailyGenerations": count} for model, count in used.items()}
        return as_json(
            {"creditBalance": _BALANCE - spent, "tier": tier, "usage": {"models": usage}}
        )


def _wrong(name: str, why: str) -> Refused:
    return Refused(400, "invalid_value", why, param=name)
