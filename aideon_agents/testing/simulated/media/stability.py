"""Pictures as Stability makes them, and its videos, which an option brings back."""

from __future__ import annotations

import base64
import hashlib
import math
from typing import TYPE_CHECKING, Any

from aideon_agents.testing.simulated.dialects.dialect import Refused
from aideon_agents.testing.simulated.media.exchange import Route, Sent, Service, as_json
from aideon_agents.testing.simulated.media.files import picture, video
from aideon_agents.testing.simulated.media.jobs import Jobs

if TYPE_CHECKING:
    from aideon_agents.testing.simulated.media.exchange import MediaRequest
    from aideon_agents.testing.simulated.media.kept import Kept

_RATIOS = ("16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21")
_FORMS = ("png", "jpeg", "webp")
_SD3 = ("sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium")
_PIXELS = 1024**2
_SIDE = 64
_BALANCE = 1000.0
_VIDEO_CREDITS = 20
_VIDEO_SECONDS = 4
_LONGEST_PROMPT = 10_000
_NAMES = {
    401: "unauthorized",
    404: "not_found",
    413: "payload_too_large",
    429: "rate_limit_exceeded",
    500: "internal_error",
}


def _error(refused: Refused) -> dict[str, Any]:
    moderated = refused.code == "content_moderation"
    name = "content_moderation" if moderated else _NAMES.get(refused.status, "bad_request")
    return {"id": "ed14db44362126aab3cbd25cca51ffe3", "name": name, "errors": [refused.message]}


_STABILITY = Service("stability", _error)


class Stability:
    """The pictures of one provider."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._jobs = Jobs(kept)

    def routes(self) -> list[Route]:
        """Its routes."""
        images = "/v2beta/stable-image"
        edits = "inpaint|erase|outpaint|search-and-replace|search-and-recolor|remove-background"
        ways = (
            ("POST", f"{images}/generate/(core|ultra|sd3)", self._generate, True),
            ("POST", f"{images}/edit/({edits})", self._edit, True),
            ("POST", f"{images}/upscale/(fast|conservative)", self._edit, True),
            ("GET", "/v1/user/balance", self._balance, False),
        )
        if self._kept.plan.stability_video:
            ways += (
                ("POST", "/v2beta/image-to-video", self._begin, True),
                ("GET", "/v2beta/image-to-video/result/([^/]+)", self._look, False),
            )
        return [Route(way, path, _STABILITY, do, pays=pays) for way, path, do, pays in ways]

    @staticmethod
    def _check_form(request: MediaRequest) -> None:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise Refused(400, None, "content-type: must be multipart/form-data")

    def _generate(self, request: MediaRequest) -> Sent:
        (model,) = request.parts
        if model == "sd3":
            model = request.fields.get("model", _SD3[0])
            if model not in _SD3:
                raise Refused(400, None, f"model: must be one of {', '.join(_SD3)}")
        ratio = request.fields.get("aspect_ratio", "1:1")
        if ratio not in _RATIOS:
            raise Refused(400, None, f"aspect_ratio: must be one of {', '.join(_RATIOS)}")
        across, down = map(int, ratio.split(":"))
        width = round(math.sqrt(_PIXELS * across / down) / _SIDE) * _SIDE
        return self._made(request, model, (width, round(_PIXELS / width / _SIDE) * _SIDE))

    def _edit(self, request: MediaRequest) -> Sent:
        self._check_form(request)
        if not any(file.field == "image" for file in request.files):
            raise Refused(400, None, "image: cannot be blank")
        return self._made(request, request.parts[0], (1024, 1024))

    def _made(self, request: MediaRequest, model: str, size: tuple[int, int]) -> Sent:
        self._check_form(request)
        prompt = request.fields.get("prompt", "")
        if request.path.partition("/stable-image/")[2].startswith("generate") and not prompt:
            raise Refused(400, None, "prompt: cannot be blank")
        if len(prompt) > _LONGEST_PROMPT:
            raise Refused(400, None, f"prompt: must have at most {_LONGEST_PROMPT} characters")
        form = request.fields.get("output_format", "png")
        if form not in _FORMS:
            raise Refused(400, None, f"output_format: must be one of {', '.join(_FORMS)}")
        if request.kind == "moderated":
            why = "Your request was flagged by our content moderation system"
            raise Refused(403, "content_moderation", why)
        mark = hashlib.sha256(b"".join(file.data for file in request.files)).hexdigest()
        if request.kind == "other_format":
            form = "jpeg" if form == "png" else "png"
        mime, data = picture(prompt + mark, 0, *size, form)
        request.charge(model, unit="image", quantity=10**6)
        reason = "CONTENT_FILTERED" if request.kind == "content_filtered" else "SUCCESS"
        seed = int(request.fields.get("seed", 0) or 0)
        return self._sent(request, "image", (mime, data), reason, seed)

    @staticmethod
    def _sent(
        request: MediaRequest, name: str, made: tuple[str, bytes], reason: str, seed: int
    ) -> Sent:
        mime, data = made
        if request.headers.get("accept", "*/*").startswith("application/json"):
            text = base64.b64encode(data).decode()
            return as_json({name: text, "finish_reason": reason, "seed": seed})
        headers = {"content-type": mime, "finish-reason": reason, "seed": str(seed)}
        return Sent(200, headers, data)

    def _balance(self, request: MediaRequest) -> Sent:
        del request
        return as_json({"credits": _BALANCE})

    def _begin(self, request: MediaRequest) -> Sent:
        self._check_form(request)
        if not any(file.field == "image" for file in request.files):
            raise Refused(400, None, "image: cannot be blank")
        request.model = "stable-video"
        job = self._jobs.begin(request, length=_VIDEO_SECONDS)
        job.charge(unit="credit", quantity=_VIDEO_CREDITS * 10**6)
        return as_json({"id": job.id})

    def _look(self, request: MediaRequest) -> Sent:
        job = self._jobs.find(request.parts[0])
        if not job.has_ended:
            return as_json({"id": job.id, "status": "in-progress"}, 202)
        if job.phase != "done":
            raise Refused(400, None, "The generation failed.")
        mark = hashlib.sha256(job.request.files[0].data).hexdigest()
        return self._sent(request, "video", video(mark, job.length), "SUCCESS", 0)
