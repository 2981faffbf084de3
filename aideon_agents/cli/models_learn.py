"""`aideon models learn`: fit a router to labelled prompts."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import InputError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aideon_agents.models.learning.router import Label, Router

_Model = Annotated[
    str | None,
    typer.Option(metavar="PROVIDER:MODEL", help="The model that this field of LABELS is about."),
]


def learn(
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS",
            help='JSON lines: {"prompt", "weak": 0 to 1, "strong": 0 to 1, "category"?, "judge"?}.',
        ),
    ],
    weak: _Model = None,
    strong: _Model = None,
    share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="The share of prompts for the strong model. Without it: as few as keep its quality.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Write the router to this file.")] = Path(
        "router.json"
    ),
    as_json: options.AsJson = False,
) -> None:
    """Learn from labelled prompts when a stronger model is worth its price."""
    from aideon_agents.models.providers import ModelName

    names = [str(ModelName.parse(name)) if name else None for name in (weak, strong)]
    if names[0] and names[0] == names[1]:
        raise UserError(f"--weak and --strong are both {names[0]}: name two models")
    found = list(read_labels(labels, names))
    if find_spec("numpy") is None:
        raise UserError("learning needs an extra: pip install 'aideon-agents[learn]'")
    from aideon_agents.models.learning.fitting import learn as fitted

    router = fitted(found, weak=names[0], strong=names[1], share=share)
    try:
        out.write_text(router.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}") from None
    if as_json:
        output.document({**_document(router), "file": str(out)})
        return
    _show(router, out)


def _document(router: Router) -> dict[str, Any]:
    fields = ("weak", "strong", "labels", "abstains", "apgr", "share", "threshold")
    return {name: getattr(router, name) for name in fields}


def _show(router: Router, out: Path) -> None:
    if router.abstains:
        output.line(f"abstains: {router.abstains}")
        output.note(f"{out} says so, and a run that uses it keeps its default models")
        return
    whole, low, high = router.apgr
    output.line(f"{router.labels:,} labels: APGR {whole:.3f} [{low:.3f}, {high:.3f}], chance 0.5")
    output.line(f"the strong model is asked for {router.share:.0%} of prompts like these")
    output.line(f"written to {out}")
    if router.weak and router.strong:
        output.note(f'use it in a run: router = "{out}" under [tool.aideon] in pyproject.toml')
    else:
        output.note("name the models with --weak and --strong to use it in a run")


_FORM = 'write {"prompt": "...", "weak": 0, "strong": 1} on each line'


def read_labels(path: Path, names: list[str | None]) -> Iterator[Label]:
    """Read labels, and refuse those that one of the models gave itself."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8") from None
    listed = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not listed:
        raise InputError(f"{path} has no labels: {_FORM}")
    for number, line in listed:
        yield _label(line, names, f"{path}:{number}")


def _label(line: str, names: list[str | None], where: str) -> Label:
    import json

    from aideon_agents.models.learning.router import Label

    try:
        raw: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(f"{where} is no JSON: {_FORM}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{where} is no label: {_FORM}")
    known = cast("dict[str, Any]", raw)
    prompt, category = known.get("prompt"), known.get("category")
    if not isinstance(prompt, str) or not isinstance(category, str | None):
        raise InputError(f"{where}: prompt and category are texts: {_FORM}")
    scores = [known.get(name) for name in ("weak", "strong")]
    if not all(isinstance(one, int | float) and 0 <= one <= 1 for one in scores):
        raise InputError(f"{where}: weak and strong are numbers from 0 to 1: {_FORM}")
    if (judge := known.get("judge")) is not None:
        _check_judge(judge, names, where)
    weak, strong = map(float, cast("list[float]", scores))
    return Label(prompt, weak, strong, category)


def _check_judge(judge: object, names: list[str | None], where: str) -> None:
    """Refuse a judgement of one of the models on itself."""
    from aideon_agents.models.learning import is_same_model

    if not isinstance(judge, str):
        raise InputError(f"{where}: judge is the name of a model, provider:model")
    if None in names:
        raise InputError(
            f"{where}: {judge} judged this: name both models with --weak and --strong, so that it"
            " is known to be another one"
        )
    if any(name and is_same_model(judge, name) for name in names):
        raise InputError(
            f"{where}: {judge} judged itself: leave such lines out, or let another model judge"
        )
