"""What several commands share: flags, the parsing of their values, the settings and the ledger."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from aideon_agents.errors import InputError, NoModel

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from aideon_agents.access.audit import By
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.settings import Settings

T = TypeVar("T")

DONE, FAILED, MISTAKE, STOPPED, WAITING, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""The exit codes."""

PERIODS = "2026-11-20, 2026-11-20T08:00, today, yesterday, this-month, last-month, 7d or 24h"
"""The forms of `--since`, `--until` and `--before`; the numbers are examples."""

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET", help="A workflow: its name (brief), file.py:graph, or a task file."
    ),
]
AllowOutside = Annotated[
    bool,
    typer.Option(
        "--allow-outside", help="Let a task file use functions and prompts outside its folder."
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", metavar="KEY=VALUE", help="Set an input; texts name it as {KEY}."),
]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="PATH",
        help="Set the input `source`: a file or folder that the workflow reads. Repeat it for more.",
    ),
]
Images = Annotated[
    list[str] | None,
    typer.Option(
        "--image", metavar="PATH", help="A picture of the task, or its URL. Repeat it for more."
    ),
]
Tier = Annotated[
    str | None, typer.Option(help="How expensive models may be: free, premium or enterprise.")
]
User = Annotated[str | None, typer.Option(help="The user that the costs are counted for.")]
Models = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ROLE=MODEL[,MODEL]",
        help="Use these models, in this order, for a role or node path.",
    ),
]
RecordContent = Annotated[
    bool, typer.Option("--record-content", help="Keep prompts and answers in the ledger.")
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SameAsJson = Annotated[bool, typer.Option("--json", help="The same as -f json.")]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", help="Write to this file instead of stdout.")
]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="Show at most this many.")]
NoFallback = Annotated[bool, typer.Option("--no-fallback", help="Ask only the first model.")]
Fallback = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Who answers when the first model fails, in this order: same_provider, other_provider, "
        "cached (the newest kept answer, however old).",
    ),
]
Cache = Annotated[
    str | None,
    typer.Option(
        metavar="AGE",
        help="Use an answer again if it is at most this old (90s, 30m, 12h, 1d, 1w), and keep new ones.",
    ),
]
OnRateLimit = Annotated[
    Literal["wait", "fallback"] | None,
    typer.Option(
        help="When a model limits its rate: wait for it (a batch does), or ask the next one after "
        "20 seconds (a run does)."
    ),
]
Privacy = Annotated[
    Literal["off", "on", "strict"] | None,
    typer.Option(
        help="Keep private prompts from models that are not your own (on, unless given); strict also "
        "counts words such as confidential."
    ),
]
Quality = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        metavar="SCORE",
        help="Judge each answer, and ask a larger model as well where it scores less.",
    ),
]
ReplaceRetired = Annotated[
    bool,
    typer.Option(
        "--replace-retired",
        help="Ask the successor of a model that its provider no longer offers.",
    ),
]
Stream = Annotated[
    bool, typer.Option("--stream", help="Show tokens and nodes on stderr during the run.")
]
Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Stop a run after this many seconds.")
]


def pairs(words: Sequence[str] | None, flag: str, *, may_be_empty: bool = False) -> dict[str, str]:
    """Parse the values of a flag that takes `KEY=VALUE`."""
    found: dict[str, str] = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        if not (key and equals and (value or may_be_empty)):
            raise InputError(f"{flag} takes KEY=VALUE, not {word!r}")
        found[key] = value
    return found


def inputs(parameters: Sequence[str] | None, sources: Sequence[str] | None) -> dict[str, Any]:
    """The inputs that `-p` and `--source` give."""
    found: dict[str, Any] = {**pairs(parameters, "-p", may_be_empty=True)}
    if sources is None:
        return found
    from aideon_agents.runner.options import is_there

    if missing := [one for one in sources if not is_there(one)]:
        raise InputError(f"--source {missing[0]} does not exist: give a file or a folder")
    return {**found, "source": list(sources)}


def fallbacks(listed: str | None, *, none: bool) -> bool | list[str]:
    """What `--fallback` and `--no-fallback` say; the run checks the words."""
    if listed is None:
        return not none
    if none:
        raise InputError("--fallback and --no-fallback exclude each other: give one of them")
    return [word.strip() for word in listed.split(",")]


_LONGEST = 16 * 1024 * 1024
"""Bytes of a text."""


def text_in(file: Path | None) -> str:
    """The text in a file; None: in stdin."""
    name = str(file) if file else "stdin"
    try:
        with file.open("rb") if file else nullcontext(sys.stdin.buffer) as opened:
            content = opened.read(_LONGEST + 1)  # a device may have no end
        if len(content) > _LONGEST:
            raise InputError(f"{name} is longer than 16 MB, more than a model takes: shorten it")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name} is not text in UTF-8: convert it to UTF-8") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None


def chains(words: Sequence[str] | None) -> dict[str, list[str]]:
    """Parse the values of `--model`, which takes `ROLE=MODEL[,MODEL]`."""
    return {role: names.split(",") for role, names in pairs(words, "--model").items()}


def rehearsed_if_needed(
    make: Callable[..., T], settings: Settings, *, asked: bool
) -> tuple[T, str | None]:
    """What `make` returns, and the reason why it is a rehearsal; None: it is not.

    `make` takes `rehearse`. Without any key, that is needed where a model is to be asked.
    """
    why = "as asked" if asked else "AIDEON_OFFLINE is set" if settings.rehearses else None
    if why is None:
        try:
            return make(rehearse=False), None
        except NoModel as error:
            if settings.can_call:
                raise
            why = f"no provider has a key (set {error.missing or 'TOGETHER_API_KEY'})"
    return make(rehearse=True), why


def rehearsing(why: str) -> str:
    """The line on stderr that announces a rehearsal."""
    return f"rehearsing: {why}; a dry run with made-up answers, nothing is paid"


def settings() -> Settings:
    """Load the settings from the environment and, with lower priority, from `.env`."""
    from aideon_agents.settings import load

    return load(Path(".env"))


def ledger() -> Ledger:
    """Open the ledger that the settings name."""
    from aideon_agents.ledger.store import Ledger

    return Ledger.from_url(settings().ledger)


@contextmanager
def managed() -> Generator[tuple[Ledger, By]]:
    """Open the ledger to manage the service, and say who does it, for the audit log."""
    from aideon_agents.access import ring
    from aideon_agents.access.audit import By
    from aideon_agents.ledger.store import Ledger

    given = settings()
    by = By(given.user, address="cli", ring=ring.read(given.key_ring))
    with Ledger.from_url(given.ledger) as opened:
        yield opened, by
