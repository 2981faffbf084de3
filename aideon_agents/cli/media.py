"""`aideon image`, `speak`, `transcribe`: one file or text from one model, as a run like any other."""

from __future__ import annotations

import contextlib
import functools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.execution import EXIT, interruptible, to_end
from aideon_agents.cli.options import rehearsed_if_needed, rehearsing
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aideon_agents.runner import RunResult
    from aideon_agents.settings import Settings
    from aideon_agents.state import Artifact

_Model = Annotated[
    str | None,
    typer.Option(metavar="P:M[,P:M]", help="Ask this model, or these in this order."),
]
_Budget = Annotated[
    str | None, typer.Option(metavar="USD", help="Ask no model that may cost more.")
]
_Rehearse = Annotated[
    bool, typer.Option("--rehearse", help="Ask no provider, pay nothing, and show the cost.")
]
_Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="Copy the file here; a folder where there are several."),
]
_Pixels = Annotated[int, typer.Option(min=1, max=8192, metavar="N", help="In pixels.")]


def image(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What to show; - reads it from stdin.")],
    width: _Pixels = 1024,
    height: _Pixels = 1024,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How often it is refined.")
    ] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What is not to be seen.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="What chance begins with.")] = None,
    number: Annotated[int, typer.Option("-n", min=1, max=10, help="How many pictures.")] = 1,
    images: Annotated[
        list[str] | None, typer.Option("--image", metavar="PATH", help="A picture to change.")
    ] = None,
    tier: options.Tier = None,
    user: options.User = None,
    model: _Model = None,
    budget: _Budget = None,
    rehearse: _Rehearse = False,
    privacy: options.Privacy = None,
    out: _Out = None,
    as_json: options.AsJson = False,
) -> int:
    """Make a picture from a text. The path of the file goes to stdout."""
    flags = locals()
    from aideon_agents.agents.media import image as make

    node = make(
        width=width,
        height=height,
        n=number,
        steps=steps,
        seed=seed,
        negative_prompt=negative_prompt,
        images=_here(images),
        model=_names(model),
    )
    return _run(node, _text(prompt), flags)


def speak(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="What to say; - reads it from stdin.")],
    voice: Annotated[str | None, typer.Option(help="The provider's name of a voice.")] = None,
    language: Annotated[str | None, typer.Option(help="A code such as en.")] = None,
    tier: options.Tier = None,
    user: options.User = None,
    model: _Model = None,
    budget: _Budget = None,
    rehearse: _Rehearse = False,
    privacy: options.Privacy = None,
    out: _Out = None,
    as_json: options.AsJson = False,
) -> int:
    """Speak a text. The path of the file goes to stdout."""
    flags = locals()
    from aideon_agents.agents.media import speech

    kind: Any = "wav" if out and out.suffix.lower() == ".wav" else "mp3"
    node = speech(voice=voice, language=language, format=kind, model=_names(model))
    return _run(node, _text(text), flags)


def transcribe(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A recording: MP3, WAV, FLAC, OGG, M4A or WebM.")],
    language: Annotated[str | None, typer.Option(help="A code such as en.")] = None,
    tier: options.Tier = None,
    user: options.User = None,
    model: _Model = None,
    budget: _Budget = None,
    rehearse: _Rehearse = False,
    privacy: options.Privacy = None,
    out: _Out = None,
    as_json: options.AsJson = False,
) -> int:
    """Write down what is said in a recording. The text goes to stdout."""
    flags = locals()
    from aideon_agents.agents.media import transcript
    from aideon_agents.media.sniffing import sniffed

    try:
        with file.expanduser().open("rb") as opened:
            mime = sniffed(opened.read(4096)).mime
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from None
    if not mime.startswith(("audio/", "video/")):
        raise InputError(f"{file} is no recording ({mime}): give MP3, WAV, FLAC, OGG, M4A or WebM")
    path = file.expanduser().absolute()
    return _run(transcript(audio=path, language=language, model=_names(model)), str(file), flags)


def video(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What to show or change; - reads it from stdin.")],
    duration: Annotated[
        int,
        typer.Option("--duration", "--seconds", min=1, max=600, metavar="S", help="Its length."),
    ] = 5,
    fps: Annotated[
        int | None, typer.Option(min=1, max=600, metavar="N", help="Frames per second.")
    ] = None,
    resolution: Annotated[str, typer.Option(help="Such as 720p or 1080p.")] = "720p",
    ratio: Annotated[str, typer.Option(help="Width to height, such as 9:16.")] = "16:9",
    seed: Annotated[int | None, typer.Option(metavar="N", help="What chance begins with.")] = None,
    edit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Change this video as the text says.")
    ] = None,
    extend: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Continue this video.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option("--image", metavar="FILE", help="Begin with this picture.")
    ] = None,
    tier: options.Tier = None,
    user: options.User = None,
    model: _Model = None,
    budget: _Budget = None,
    rehearse: _Rehearse = False,
    privacy: options.Privacy = None,
    out: _Out = None,
    as_json: options.AsJson = False,
) -> int:
    """Make, edit or extend a video. The path of the file goes to stdout.

    It takes minutes. After a kill or a lost connection, the same command waits for the same video.
    """
    flags = locals()
    from aideon_agents.agents.media import video as make

    files = {"edit": edit, "extend": extend, "image": image}
    given: Any = {name: one.expanduser().absolute() for name, one in files.items() if one}
    node = make(
        duration=duration,
        fps=fps,
        resolution=resolution,
        ratio=ratio,
        seed=seed,
        model=_names(model),
        **given,
    )
    return _run(node, _text(prompt), flags)


def _names(model: str | None) -> list[str] | None:
    return model.split(",") if model else None


def _here(paths: Sequence[str] | None) -> list[Any] | None:
    """The paths of a user, which are relative to the working directory."""
    if not paths:
        return None
    return [one if "://" in one else str(Path(one).expanduser().absolute()) for one in paths]


def _text(given: str) -> str:
    text = options.text_in(None) if given == "-" else given
    if not text.strip():
        raise InputError("there is no text: give it as an argument, or - and the text on stdin")
    return text


def _run(node: Any, task: str, flags: dict[str, Any]) -> int:
    """Run a node once, and print where its files are, or its text."""
    import asyncio

    from aideon_agents import runner
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.media.artifacts import Artifacts
    from aideon_agents.patterns import sequential

    settings, out = options.settings(), flags["out"]
    _check(out, several=flags.get("number", 1) > 1)
    graph = sequential(node, name=str(node.role))
    before = _begun(node, task, settings, flags) if node.kind == "video" else None
    prepare = functools.partial(
        runner.prepare,
        graph,
        task,
        settings=settings,
        checkpoint=node.kind == "video",
        **{name: flags[name] for name in ("tier", "user", "budget", "privacy")},
    )
    if before is None:
        running, why = rehearsed_if_needed(prepare, settings, asked=flags["rehearse"])
    else:
        output.note(f"run {before} has begun this video, and waits for it again")
        again: Any = {"settings": settings, "budget": flags["budget"]}
        running, why = runner.prepare_resume(graph, before, **again), None
    with interruptible() as interruption, asyncio.Runner() as on_loop:
        result = to_end(running, interruption, on_loop, stream=False, page=None)
    if why:
        output.note(rehearsing(why))
    with Ledger.from_url(settings.ledger) as ledger:
        files = Artifacts.of(settings, ledger)
    paths = [files.path(one) for made in result.results.values() for one in made.artifacts]
    if result.status == "completed" and out is not None:
        paths = _copied(paths, out) if paths else _written(result.output or "", out)
    _show(result, paths, as_json=flags["as_json"])
    if flags["context"].obj and result.exception:
        output.trace(result.exception)
    return EXIT[result.status]


def _begun(node: Any, task: str, settings: Settings, flags: dict[str, Any]) -> str | None:
    """The run that has begun the same video, and ended before it; None: there is none."""
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.media.artifacts import Artifacts
    from aideon_agents.media.jobs import run_of_open_job
    from aideon_agents.state import Context

    if flags["rehearse"] or settings.rehearses:
        return None
    with Ledger.from_url(settings.ledger) as ledger:
        files = Artifacts.of(settings, ledger)
        request = node.request(task, {"task": task}, Context(), files)
        return run_of_open_job(ledger, flags["user"] or settings.user, request)


def _check(out: Path | None, *, several: bool) -> None:
    """Refuse a place for files before anything is paid."""
    if out is None:
        return
    folder = out if several or out.is_dir() else out.parent
    if several and out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file, and there are several pictures: give a folder")
    if not folder.is_dir() and not several:
        raise InputError(f"--out {out}: there is no folder {folder}: make it, or give another path")


def _copied(paths: Sequence[Path], out: Path) -> list[Path]:
    """Copies of files at a path, or in a folder."""
    if len(paths) > 1:
        out.mkdir(parents=True, exist_ok=True)
    copies: list[Path] = []
    for nth, path in enumerate(paths, 1):
        name = f"{nth}{path.suffix}" if len(paths) > 1 else f"{path.stem[:12]}{path.suffix}"
        to = out / name if out.is_dir() else out
        with _explained(to):
            shutil.copyfile(path, to)
        copies.append(to)
    return copies


def _written(text: str, out: Path) -> list[Path]:
    with _explained(out):
        out.write_bytes(output.encoded(text))
    return []


@contextlib.contextmanager
def _explained(path: Path) -> Any:
    try:
        yield
    except OSError as error:
        why = f"cannot be written: {error.strerror or error}"
        raise InputError(f"{path} {why}; the file is kept: see `aideon artifacts list`") from None


def _show(result: RunResult, paths: Sequence[Path], *, as_json: bool) -> None:
    from aideon_agents.ledger.money import usd_text

    made = [one for step in result.results.values() for one in step.artifacts]
    (step,) = [*result.results.values()] or [None]
    model = step.models[-1] if step and step.models else None
    text = result.output if step and not made else None
    if as_json:
        output.document(
            {
                "run_id": result.run_id,
                "artifacts": [
                    artifact_document(one, path) for one, path in zip(made, paths, strict=True)
                ],
                "text": text,
                "model": model,
                "provider": model and model.partition(":")[0],
                "usd": usd_text(result.cost.usd),
                "complete": result.cost.complete,
                "status": result.status,
                "rehearsed": result.rehearsed,
                "error": result.error,
            }
        )
    elif text:
        output.result(text.rstrip("\n"))
    else:
        for path in paths:
            output.line(str(path))
    if model and not as_json:
        cost = output.money(result.cost.usd, complete=result.cost.complete)
        sizes = "".join(f", {described(one)}" for one in made)
        mark = f"rehearsed, and would cost {cost}" if result.rehearsed else cost
        output.note(f"{model}, {mark}{sizes}; run {result.run_id}")
    if result.status == "cancelled":
        output.complain(
            f"interrupted: run {result.run_id} is cancelled; if its provider continues a job, "
            "the same command waits for it"
        )
    elif result.error or result.status == "stopped":
        output.complain(result.error or str(result.exception))


def described(one: Artifact) -> str:
    """The kind and the size of a file, for people."""
    size = f" {one.width} x {one.height}" if one.width else ""
    length = f" {one.duration_ms / 1000:.1f} s" if one.duration_ms else ""
    return f"{one.mime}{size}{length} {one.bytes:,} bytes"


def artifact_document(one: Artifact, path: Path) -> dict[str, Any]:
    """A file as in the JSON documents of commands."""
    return {
        "sha256": one.sha256,
        "mime": one.mime,
        "path": str(path),
        "bytes": one.bytes,
        "width": one.width,
        "height": one.height,
        "duration_ms": one.duration_ms,
    }
