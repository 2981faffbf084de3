"""Videos as Together makes them: `/v2/videos`."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aideon_agents.testing.simulated.dialects.dialect import Refused
from aideon_agents.testing.simulated.media.exchange import Route, Sent, as_json
from aideon_agents.testing.simulated.media.files import video
from aideon_agents.testing.simulated.media.jobs import Jobs
from aideon_agents.testing.simulated.media.openai_style import TOGETHER

if TYPE_CHECKING:
    from aideon_agents.testing.simulated.media.exchange import MediaRequest
    from aideon_agents.testing.simulated.media.jobs import Job
    from aideon_agents.testing.simulated.media.kept import Kept

_SECOND = 50_000_000
"""Nano-dollars, where a model has no rate."""
_LONGEST_URI = 60_000
_NANO = 10**9
_STATES = {
    "queued": "queued",
    "throttled": "queued",
    "running": "in_progress",
    "unknown": "post_processing",
    "done": "completed",
    "failed": "failed",
    "aborted": "failed",
    "cancelled": "cancelled",
}


class TogetherVideo:
    """The videos of one provider."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._jobs = Jobs(kept)

    def routes(self) -> list[Route]:
        """Its routes."""
        return [
            Route("POST", "/v2/videos", TOGETHER, self._begin, pays=True),
            Route("GET", "/v2/videos/([^/]+)", TOGETHER, self._look),
        ]

    def _begin(self, request: MediaRequest) -> Sent:
        request.text("model")
        request.text("prompt", 32_000)
        fields, media = request.fields, request.fields.get("media") or {}
        seconds = fields.get("seconds", "5")
        if not isinstance(seconds, str) or not seconds.isdigit():
            raise Refused(400, "invalid_value", "'seconds' must be a string of digits.")
        for uri in _uris([media, fields.get("frame_images")]):
            if uri.startswith("data:") and len(uri) > _LONGEST_URI:
                raise Refused(400, "invalid_value", "The data URI is too long: give a URL.")
        source = media.get("source_video")
        source = source.get("video") if isinstance(source, dict) else source
        length = self._kept.length(source, int(seconds))
        job = self._jobs.begin(request, length=length)
        if request.kind not in {"job_failed", "moderated", "job_aborted"}:
            quantity = round(length * 1000)
            cost = request.bill.price(request.model, "second", quantity)
            cost = round(length * _SECOND) if cost is None else cost
            reported = None if request.kind == "no_cost" else cost
            job.charge(unit="second", quantity=quantity, reported_nanousd=reported)
        return as_json(self._document(job))

    def _look(self, request: MediaRequest) -> Sent:
        return as_json(self._document(self._jobs.find(request.parts[0])))

    def _document(self, job: Job) -> dict[str, Any]:
        fields = job.request.fields
        shown: dict[str, Any] = {
            "id": job.id,
            "object": "video",
            "model": job.request.model,
            "status": _STATES[job.phase],
            "created_at": job.created,
            "completed_at": job.ended,
            "seconds": f"{job.length:g}",
            "size": f"{fields.get('width', 1280)}x{fields.get('height', 720)}",
        }
        if job.phase in {"failed", "aborted"}:
            moderated = job.request.kind == "moderated"
            code = "content_moderation" if moderated else "generation_failed"
            shown["error"] = {"message": "The video could not be made.", "code": code}
        if job.phase == "done":
            if not job.links:
                made = video(job.request.text("prompt"), job.length)
                job.links = [self._kept.link(job.request, *made, since=job.ended)]
            shown["outputs"] = {"video_url": job.links[0]}
            cost = job.request.billed.reported_nanousd
            if cost is not None:
                shown["outputs"]["cost"] = json.loads(str(Decimal(cost) / _NANO))
        return shown


def _uris(value: Any) -> list[str]:
    """The texts in a value, at any depth."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [uri for one in inner for uri in _uris(one)]
