"""The nodes that make files: pictures, speech, and the text of a recording.

They are no agents: they have no system prompt, and send the text of the task, or of the result before
them, as it is. They are in a module of their own, because most workflows need nothing of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack, cast

from langgraph.runtime import get_runtime

from aideon_agents import settings as environment
from aideon_agents.agents.given import refuse_wrong
from aideon_agents.agents.prompt_files import folder_of_workflow
from aideon_agents.errors import InputError, UserError, refuse_kinds
from aideon_agents.graphs import Typed
from aideon_agents.graphs.enclosing import LimitedNode
from aideon_agents.graphs.material import as_text
from aideon_agents.graphs.walk import NAMED
from aideon_agents.ledger import tags
from aideon_agents.ledger.handler import context_in, recorders_in
from aideon_agents.media.artifacts import Artifacts
from aideon_agents.media.attempts import ask, described
from aideon_agents.media.choosing import chosen
from aideon_agents.media.shapes import (
    ImageRequest,
    Kind,
    MediaRequest,
    Operation,
    SpeechRequest,
    TranscriptRequest,
    VideoRequest,
)
from aideon_agents.models.bridge import blocking
from aideon_agents.models.pictures import content, filled, own_pictures
from aideon_agents.models.providers import choices
from aideon_agents.node_paths import NODE_PATH, node_path
from aideon_agents.state import Artifact, Context, Results, State, StepResult, latest, next_order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig

    from aideon_agents.models.pictures import Images
    from aideon_agents.settings import Settings
    from aideon_agents.state import Model, Picture, Privacy


File: TypeAlias = str | Path | bytes | Artifact | Literal[True]
"""A path, the bytes of a file, what a run has made, or True for what the node before it made."""


class MediaOptions(TypedDict, total=False):
    """The options of every node that makes a file."""

    description: str | None
    """What is sent, where `{task}`, `{result}` (the result before it) and `{key of inputs}` are filled
    in; None: the result before it, else the task."""
    model: Model | Sequence[Model] | None
    """`provider:model`, or several: the chain, without further fallbacks; None: chosen by the tier."""
    timeout: float | None
    """Seconds for the whole chain; None: as long as a provider may usually take, two and a half times."""
    purpose: str | None
    """What its calls are for, a dimension of the cost report."""
    privacy: Privacy | None
    """Whether private texts are kept from providers: `on`, `off`, or `strict`, which keeps all files as
    well; None: as the run says, else on."""


class MediaNode(LimitedNode, Typed[Any]):
    """A node that asks a provider for media."""

    def __init__(
        self,
        kind: Kind,
        role: str,
        name: str | None,
        options: MediaOptions,
        request: Callable[[str, State, Context, Artifacts], MediaRequest],
    ) -> None:
        named = name or role
        refuse_kinds({"name": named}, {"name": (str, "text")}, f"{role}: ")
        refuse_wrong(options, MediaOptions, named)
        if not named.strip() or any(mark in named for mark in "/|:"):
            raise UserError(
                f"{named!r} is not a valid name of a node: it must not be empty or contain /, | or :"
            )
        if (timeout := options.get("timeout")) is not None and timeout <= 0:
            raise UserError(f"{named}: timeout must be more than 0")
        self.kind: Kind = kind
        self.role = role
        self.options = options
        self.models = choices(options.get("model"), named)
        names = NAMED.findall(options.get("description") or "")
        self.needs = tuple(one for one in names if one not in {"task", "result"})
        self.request = request
        super().__init__(self._work_blocking, self._work, name=named)

    def _work_blocking(self, state: State, config: RunnableConfig) -> Results:
        return blocking(self._work(state, config))

    async def _work(self, state: State, config: RunnableConfig) -> Results:
        given: Any = get_runtime(Context).context
        context = given if isinstance(given, Context) else context_in(config) or Context()
        settings: Settings = getattr(context.models, "settings", None) or environment.load()
        recorders, options = recorders_in(config), self.options
        files = Artifacts.of(settings, recorders[0].ledger if recorders else None)
        request = self.request(self._text(state), state, context, files)
        purpose = options.get("purpose") or context.purpose
        models = chosen(
            self.kind,
            request,
            settings,
            context,
            model=context.model.get(cast("Any", self.role)) or self.models,
            purpose=purpose,
        )
        metadata = config.get("metadata") or {}
        path, round_ = node_path(metadata, of_agent=True) or str(self.name), state.get("round", 1)
        place = {NODE_PATH: path, tags.ROLE: self.role, tags.ROUND: round_}
        place |= {tags.PURPOSE: purpose} if purpose else {}
        tagged = cast("RunnableConfig", {**config, "metadata": {**metadata, **place}})
        done = await ask(
            models,
            request,
            tagged,
            settings=settings,
            context=context,
            seconds=options.get("timeout"),
            privacy=options.get("privacy"),
        )
        result = StepResult(
            node_path=path,
            role=self.role,
            content=done.result.text or described(done.result),
            round=round_,
            order=next_order(state.get("results") or {}),
            models=[done.model],
            artifacts=done.result.artifacts,
        )
        return {"results": {path: result}}

    def check_models(self, context: Context) -> None:
        """Raise NoModel if no model can be asked, before anything runs."""
        settings: Settings = getattr(context.models, "settings", None) or environment.load()
        given = context.model.get(cast("Any", self.role)) or self.models
        chosen(self.kind, None, settings, context, model=given)

    def _text(self, state: State) -> str:
        """What is sent: the description with its values, else the text before it, else the task."""
        results = state.get("results") or {}
        before = latest(results)
        task = state.get("task", "")
        description = self.options.get("description")
        if description is None:
            text = latest({path: one for path, one in results.items() if not one.artifacts})
            return text.content if text else task
        known: Mapping[str, Any] = {
            **(state.get("inputs") or {}),
            "task": task,
            "result": before.content if before else task,
        }
        return NAMED.sub(
            lambda found: as_text(known[found[1]]) if found[1] in known else found[0], description
        )


def image(
    name: str | None = None,
    *,
    width: int = 1024,
    height: int = 1024,
    n: int = 1,
    steps: int | None = None,
    seed: int | None = None,
    negative_prompt: str | None = None,
    quality: str | None = None,
    images: Images | None = None,
    **options: Unpack[MediaOptions],
) -> MediaNode:
    """A node that makes pictures from a text.

    Args:
        name: Its name in the graph and in reports; None: `image`.
        width: The width of a picture, in pixels.
        height: Its height, in pixels.
        n: How many pictures it makes.
        steps: How often a picture is refined; None: as the model does by itself.
        seed: What chance begins with, where the model takes one; None: the provider draws it.
        negative_prompt: What is not to be seen; None: nothing in particular.
        quality: The provider's word for the quality; None: its default.
        images: Pictures to change: paths, relative to the calling file, URLs, bytes, data URIs, or
            artifacts; None: a new picture is made.
        **options: See `MediaOptions`.

    Returns:
        A node for any pattern or LangGraph graph. Its result has the pictures as `artifacts`.

    Raises:
        UserError: An argument is not valid.
    """
    named = name or "image"
    sizes = {"width": width, "height": height, "n": n, "steps": 1 if steps is None else steps}
    refuse_kinds(sizes, dict.fromkeys(sizes, (int, "a whole number")), f"{named}: ")
    if any(not 1 <= one <= _MOST_PIXELS for one in sizes.values()):
        raise UserError(f"{named}: width, height, n and steps must be from 1 to {_MOST_PIXELS}")
    folder = folder_of_workflow()
    own = own_pictures(() if images is None else images, folder)

    def request(text: str, state: State, context: Context, files: Artifacts) -> ImageRequest:
        del context
        known = {**(state.get("inputs") or {}), "task": state.get("task", "")}
        kept = tuple(_kept(one, files) for one in filled(own, folder, known))
        return ImageRequest(
            _required(text, named), negative_prompt, width, height, n, steps, seed, quality, kept
        )

    return MediaNode("image", "image", name, options, request)


def speech(
    name: str | None = None,
    *,
    voice: str | None = None,
    language: str | None = None,
    format: Literal["mp3", "wav"] = "mp3",  # noqa: A002 - as providers call it
    **options: Unpack[MediaOptions],
) -> MediaNode:
    """A node that speaks a text.

    Args:
        name: Its name in the graph and in reports; None: `speech`.
        voice: The provider's name of a voice; None: the model's default.
        language: A code such as `en`; None: the model finds out.
        format: What the file is to be; some providers send another kind.
        **options: See `MediaOptions`.

    Returns:
        A node for any pattern or LangGraph graph. Its result has the recording as an artifact.

    Raises:
        UserError: An argument is not valid.
    """
    named = name or "speech"
    if format not in {"mp3", "wav"}:
        raise UserError(f"{named}: format must be mp3 or wav, not {format!r}")

    def request(text: str, state: State, context: Context, files: Artifacts) -> SpeechRequest:
        del state, context, files
        return SpeechRequest(_required(text, named), voice, language, format)

    return MediaNode("tts", "speech", name, options, request)


def transcript(
    name: str | None = None,
    *,
    audio: str | Path | bytes | Artifact | None = None,
    language: str | None = None,
    prompt: str | None = None,
    **options: Unpack[MediaOptions],
) -> MediaNode:
    """A node that writes down what is said in a recording.

    Args:
        name: Its name in the graph and in reports; None: `transcript`.
        audio: The recording: a path, relative to the calling file, its bytes, or an artifact; None: the
            one that the node before it made.
        language: A code such as `en`; None: the model finds out.
        prompt: Words that occur in it, which helps with names; None: nothing is known.
        **options: See `MediaOptions`.

    Returns:
        A node for any pattern or LangGraph graph. Its result is the text.

    Raises:
        UserError: An argument is not valid.
    """
    named, folder = name or "transcript", folder_of_workflow()

    def request(text: str, state: State, context: Context, files: Artifacts) -> TranscriptRequest:
        del text, context
        given = True if audio is None else audio
        kept = _file(given, ("audio/", "video/"), (state, files, folder), f"{named}: audio")
        return TranscriptRequest(kept, language, prompt)

    return MediaNode("stt", "transcript", name, options, request)


def video(
    name: str | None = None,
    *,
    duration: int = 5,
    fps: int | None = None,
    resolution: str = "720p",
    ratio: str = "16:9",
    seed: int | None = None,
    image: File | None = None,
    edit: File | None = None,
    extend: File | None = None,
    **options: Unpack[MediaOptions],
) -> MediaNode:
    """A node that makes a video from a text, or edits or extends one.

    It takes minutes. A run that is interrupted on the way and resumes waits for the same video again,
    which is paid once.

    Args:
        name: Its name in the graph and in reports; None: `video`.
        duration: How long it is, in seconds; of the new part, where a video is extended.
        fps: Frames per second, where the model takes them; None: the model's own.
        resolution: Such as `720p` or `1080p`.
        ratio: Width to height, such as `16:9`, `9:16` or `1:1`.
        seed: What chance begins with, where the model takes one; None: the provider draws it.
        image: The picture that it begins with: a path, relative to the calling file, its bytes, an
            artifact, or True for the one that the node before it made; None: it begins with any.
        edit: A video to change as the text says, given like `image`; None: a new one is made.
        extend: A video to continue, given like `image`; None: a new one is made.
        **options: See `MediaOptions`.

    Returns:
        A node for any pattern or LangGraph graph. Its result has the video as an artifact.

    Raises:
        UserError: An argument is not valid.
    """
    named, folder = name or "video", folder_of_workflow()
    numbers = {"duration": duration, "fps": 1 if fps is None else fps}
    refuse_kinds(numbers, dict.fromkeys(numbers, (int, "a whole number")), f"{named}: ")
    if any(not 1 <= one <= _MOST_SECONDS for one in numbers.values()):
        raise UserError(f"{named}: duration and fps must be from 1 to {_MOST_SECONDS}")
    if not re.fullmatch(r"\d{3,4}p|\dk", resolution) or not re.fullmatch(r"\d+:\d+", ratio):
        raise UserError(f"{named}: resolution must be such as 720p, and ratio such as 16:9")
    if sum(one is not None for one in (image, edit, extend)) > 1:
        raise UserError(f"{named}: give one of image, edit and extend")
    operation: Operation = "edit" if edit else "extend" if extend else "generate"
    source = edit or extend

    def request(text: str, state: State, context: Context, files: Artifacts) -> VideoRequest:
        del context
        place, what = (state, files, folder), f"{named}: {operation}"
        video = _file(source, ("video/",), place, what) if source else None
        first = _file(image, ("image/",), place, f"{named}: image") if image else None
        asked = _required(text, named), operation, duration, fps, resolution, ratio
        return VideoRequest(*asked, video, first, seed)

    return MediaNode("video", "video", name, options, request)


_MOST_PIXELS = 8192
_MOST_SECONDS = 600


def _required(text: str, named: str) -> str:
    if not text.strip():
        raise InputError(f"{named}: there is no text to send: give a task or a description")
    return text


def _kept(picture: Picture, files: Artifacts) -> Artifact:
    if picture.url is not None:
        raise InputError(f"images: a picture to change must be a file, not {picture.name}")
    return files.keep(content(picture))


def _file(
    given: File, kinds: tuple[str, ...], place: tuple[State, Artifacts, Path | None], what: str
) -> Artifact:
    """The file that is given; True: the last one of its kinds in the results."""
    state, files, folder = place
    if isinstance(given, str | Path):
        given = (folder or Path()) / Path(given).expanduser()
    if given is not True:
        return files.given(given, kinds, what)
    results = sorted((state.get("results") or {}).values(), key=lambda one: -one.order)
    made = [one for result in results for one in result.artifacts if one.mime.startswith(kinds)]
    if not made:
        option = what.rpartition(" ")[2]
        raise InputError(f"{what}: no node before it made such a file: give {option}=PATH")
    return made[0]
