"""Videos as Runway and Replicate make them.

Runway begins a task, which says in credits what it costs. Replicate begins a prediction, whose input is
what the schema of its model names.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from yarl import URL

from aideon_agents import errors
from aideon_agents.ledger.money import NANO
from aideon_agents.media.dialects.openai_style import uri
from aideon_agents.media.jobs import LOOK_SECONDS, SUBMIT_SECONDS, Look, amount
from aideon_agents.media.shapes import Artifact, Measured
from aideon_agents.media.sniffing import ENDINGS
from aideon_agents.models import faults

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aideon_agents.media.jobs import State
    from aideon_agents.media.requests import Asking, Part
    from aideon_agents.media.shapes import VideoRequest

_VERSION = {"X-Runway-Version": "2024-11-06"}
_CREDIT = Decimal("0.01")
"""US dollars."""
_LONGEST_PROMPT = 1000
"""Units of UTF-16."""
_MOST_INLINE = 3 * 2**20
"""Bytes of a file that go with a request: its data URI has a limit of 5 MB."""
_SIZES = {
    ("16:9", "720p"): "1280:720",
    ("9:16", "720p"): "720:1280",
    ("1:1", "720p"): "960:960",
    ("4:3", "720p"): "1104:832",
    ("3:4", "720p"): "832:1104",
    ("21:9", "720p"): "1584:672",
    ("16:9", "1080p"): "1920:1080",
    ("9:16", "1080p"): "1080:1920",
}
"""The size of a video, by its ratio and its resolution."""
_LARGE = re.compile(r"^veo")
"""Models that make more than 720p."""
_EDITS, _EXTENDS = re.compile(r"^aleph"), re.compile(r"^(seedance2_5|kling_4)")
_FROM_PICTURES = frozenset({"gen4_turbo"})
"""Models that make nothing of a text alone."""
_STATES: Mapping[str, State] = {
    "SUCCEEDED": "done",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "CANCELED": "cancelled",
}


_MOST_IN_PREDICTION = 190_000
"""Bytes of a file that go with a request; larger ones are uploaded before."""
_NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt",),
    "duration": ("duration", "seconds", "num_seconds"),
    "fps": ("fps", "frames_per_second"),
    "resolution": ("resolution",),
    "ratio": ("aspect_ratio",),
    "seed": ("seed",),
    "image": ("image", "first_frame_image", "start_image", "input_image"),
    "source": ("video", "input_video", "video_path", "source_video"),
}
"""What models call each part of a request; the first one where a schema cannot be read."""
_STATES_OF_PREDICTIONS: Mapping[str, State] = {
    "succeeded": "done",
    "failed": "failed",
    "canceled": "cancelled",
    "cancelled": "cancelled",
    "aborted": "failed",
}
_REFUSED = re.compile(r"\b(nsfw|safety|moderat\w+|flagged|sensitive)\b", re.IGNORECASE)


class Runway:
    """Asks Runway for videos."""

    pause = 5.0

    def lacks(self, request: VideoRequest, model: str) -> str | None:
        """What a model lacks that a request needs, in words; None: nothing."""
        edits, extends = _EDITS.search(model), _EXTENDS.search(model)
        is_made = request.operation == "generate"
        size = _SIZES.get((request.ratio, request.resolution))
        why = {
            "it only edits videos": is_made and edits,
            "it edits no videos": request.operation == "edit" and not edits,
            "it extends no videos": request.operation == "extend" and not extends,
            "it begins with a picture": is_made and not request.image and model in _FROM_PICTURES,
            "its frames per second cannot be chosen": request.fps is not None,
            f"it makes no {request.ratio} videos in {request.resolution}": is_made
            and (size is None or (request.resolution != "720p" and not _LARGE.search(model))),
            f"its prompt has at most {_LONGEST_PROMPT} characters": (
                len(request.prompt.encode("utf-16-le")) // 2 > _LONGEST_PROMPT
            ),
        }
        return next((words for words, applies in why.items() if applies), None)

    async def submit(self, request: VideoRequest, asking: Asking) -> str:
        """Begin a task."""
        body: dict[str, Any] = {"model": asking.model, "promptText": request.prompt}
        body |= {} if request.seed is None else {"seed": request.seed}
        if request.source:
            video = await self._uri(request.source, asking)
            kind = "video_to_video"
            if request.operation == "edit":
                body["videoUri"] = video
            else:
                body |= {"mode": "extend", "promptVideo": video, "duration": request.duration}
        else:
            kind = "image_to_video" if request.image else "text_to_video"
            body["ratio"] = _SIZES[request.ratio, request.resolution]
            body["duration"] = request.duration
            if request.image:
                body["promptImage"] = await self._uri(request.image, asking)
        reply = await asking.send(
            asking.url(f"v1/{kind}", rootless=True),
            json=body,
            headers=_VERSION,
            seconds=SUBMIT_SECONDS,
        )
        if not isinstance(job := reply.object().get("id"), str) or not job:
            raise faults.unreadable(asking.candidate.name, "it has no id", reply.body[:200])
        return job

    async def _uri(self, file: Artifact, asking: Asking) -> str:
        """A file as a request has it: inside it, or uploaded before."""
        if file.bytes <= _MOST_INLINE:
            return uri(file, asking)
        name = f"file.{ENDINGS.get(file.mime, 'bin')}"
        reply = await asking.send(
            asking.url("v1/uploads", rootless=True),
            json={"filename": name, "type": "ephemeral"},
            headers=_VERSION,
            pays=False,
        )
        place = reply.object()
        fields: Mapping[str, Any] = place.get("fields") or {}
        form: list[Part] = [(key, str(value)) for key, value in fields.items()]
        form.append(("file", (name, file.mime, asking.artifacts.read(file))))
        to = URL(str(place.get("uploadUrl")))
        is_here = to.is_absolute() and to.origin() == URL(asking.candidate.address).origin()
        if to.scheme != "https" and not is_here:
            raise faults.unreadable(asking.candidate.name, f"it takes files at {to}")
        # That is a storage, which has signed the fields: the key is not sent there.
        await asking.send(to, form=form, auth=("", ""), pays=False)
        return str(place.get("runwayUri"))

    async def look(self, job: str, asking: Asking) -> Look:
        """Look at a task."""
        url = asking.url(f"v1/tasks/{job}", rootless=True)
        reply = await asking.send(url, headers=_VERSION, pays=False, seconds=LOOK_SECONDS)
        task = reply.object()
        state = _STATES.get(str(task.get("status")).upper(), "running")
        output: Any = task.get("output")
        first = output[0] if isinstance(output, list) and output else output
        error = _failure(task, asking) if state == "failed" else None
        return Look(state, first if isinstance(first, str) else None, _cost(task), error)

    async def cancel(self, job: str, asking: Asking) -> bool:
        """Cancel a task."""
        url = asking.url(f"v1/tasks/{job}", rootless=True)
        await asking.send(url, method="DELETE", headers=_VERSION, pays=False, seconds=LOOK_SECONDS)
        return True


def _cost(task: Mapping[str, Any]) -> Measured:
    """What a task costs, as it says; nothing: it does not say so."""
    cost: Any = task.get("cost")
    credits_ = amount(cost.get("credits") if isinstance(cost, dict) else None)
    if credits_ is None:
        return Measured()
    return Measured(
        "credit",
        round(credits_ * 10**6),
        reported_nanousd=round((credits_ * _CREDIT).scaleb(NANO)),
    )


def _failure(task: Mapping[str, Any], asking: Asking) -> errors.ProviderError:
    """Why a task failed."""
    code = str(task.get("failureCode") or "")
    words = ": ".join(filter(None, (code, str(task.get("failure") or ""))))
    if code.startswith("SAFETY"):
        return faults.refused(str(asking.candidate), words)
    kind = (
        errors.CallerError
        if code.startswith(("ASSET.INVALID", "INPUT_PREPROCESSING"))
        else errors.Transient
    )
    return kind(f"{asking.candidate} made no video: {words or 'it does not say why'}")


class Replicate:
    """Asks Replicate for videos."""

    pause = 1.0

    def lacks(self, request: VideoRequest, model: str) -> str | None:
        """What a model lacks that a request needs, in words; None: nothing.

        What its schema lacks shows when it is read, before anything is paid.
        """
        extends = request.operation != "extend" or "extend" in model
        return None if extends else "it extends no videos"

    async def submit(self, request: VideoRequest, asking: Asking) -> str:
        """Begin a prediction."""
        name, _, version = asking.model.partition(":")
        known = await self._schema(name, version, asking)
        given = {
            "prompt": request.prompt,
            "duration": request.duration if request.operation != "edit" else None,
            "fps": request.fps,
            "resolution": request.resolution,
            "ratio": request.ratio,
            "seed": request.seed,
            "image": request.image,
            "source": request.source,
        }
        values = dict[str, Any]()
        for part, value in given.items():
            names = _NAMES[part]
            called = next((one for one in names if known is None or one in known), None)
            if value is not None and called is not None:
                is_file = isinstance(value, Artifact)
                values[called] = await self._uri(value, asking) if is_file else value
            elif part in {"prompt", "image", "source"} and value is not None:
                what = {"image": "picture", "source": "video"}.get(part, part)
                raise errors.Unsupported(f"{asking.candidate} takes no {what}", billed=False)
        body = {"input": values, **({"version": version} if version else {})}
        path = "v1/predictions" if version else f"v1/models/{name}/predictions"
        url = asking.url(path, rootless=True)
        reply = await asking.send(url, json=body, seconds=SUBMIT_SECONDS)
        if not isinstance(job := reply.object().get("id"), str) or not job:
            raise faults.unreadable(asking.candidate.name, "it has no id", reply.body[:200])
        return job

    async def _schema(self, name: str, version: str, asking: Asking) -> Collection[str] | None:
        """The names in the input of a model; None: its schema cannot be read."""
        path = f"v1/models/{name}" + (f"/versions/{version}" if version else "")
        try:
            url = asking.url(path, rootless=True)
            found: Any = (await asking.send(url, pays=False, seconds=LOOK_SECONDS)).object()
            latest = found if version else found["latest_version"]
            return latest["openapi_schema"]["components"]["schemas"]["Input"]["properties"]
        except (errors.ModelGone, errors.Transient, KeyError, TypeError):
            return None

    async def _uri(self, file: Artifact, asking: Asking) -> str:
        """A file as a request has it: inside it, or uploaded before."""
        if file.bytes <= _MOST_IN_PREDICTION:
            return uri(file, asking)
        name = f"file.{ENDINGS.get(file.mime, 'bin')}"
        content = (name, file.mime, asking.artifacts.read(file))
        url = asking.url("v1/files", rootless=True)
        reply = await asking.send(url, form=[("content", content)], pays=False)
        urls: Any = reply.object().get("urls") or {}
        return str(urls.get("get"))

    async def look(self, job: str, asking: Asking) -> Look:
        """Look at a prediction."""
        url = asking.url(f"v1/predictions/{job}", rootless=True)
        found = (await asking.send(url, pays=False, seconds=LOOK_SECONDS)).object()
        word = str(found.get("status")).lower()
        state = _STATES_OF_PREDICTIONS.get(word, "running")
        output: Any = found.get("output")
        if isinstance(output, dict):
            output = next((one for one in output.values() if isinstance(one, str)), None)
        file = output[0] if isinstance(output, list) and output else output
        if state == "done" and not file and found.get("data_removed"):
            state = "expired"
        metrics: Any = found.get("metrics") or {}
        seconds = amount(metrics.get("predict_time") if isinstance(metrics, dict) else None)
        if word == "aborted":
            measured = Measured(reported_nanousd=0)  # it ended before it began
        else:
            quantity = None if seconds is None else round(seconds * 1000)
            measured = Measured("hardware_second", quantity)
        error = _failure_of_prediction(found, asking) if state == "failed" else None
        is_kept = isinstance(file, str) and "/v1/files/" in file
        return Look(state, file if isinstance(file, str) else None, measured, error, keyed=is_kept)

    async def cancel(self, job: str, asking: Asking) -> bool:
        """Cancel a prediction."""
        url = asking.url(f"v1/predictions/{job}/cancel", rootless=True)
        await asking.send(url, method="POST", pays=False, seconds=LOOK_SECONDS)
        return True


def _failure_of_prediction(found: Mapping[str, Any], asking: Asking) -> errors.ProviderError:
    """Why a prediction failed."""
    words = str(found.get("error") or f"the prediction was {found.get('status')}")
    if _REFUSED.search(words):
        return faults.refused(str(asking.candidate), words)
    return errors.Transient(f"{asking.candidate} made no video: {words}")
