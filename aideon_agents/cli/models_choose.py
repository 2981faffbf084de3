"""`aideon models choose`: which models a request would ask, in which order, and why not the others."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.models import Modality, catalog
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from aideon_agents.models.choosing import Choice
    from aideon_agents.settings import Settings
    from aideon_agents.state import ContentClass

_Role = Annotated[
    Literal["planner", "executor", "validator", "creative"],
    typer.Option(help="The agent that asks."),
]
_Complexity = Annotated[
    Literal["low", "medium", "high"] | None,
    typer.Option(help="How hard the work is; without it the role chooses the size of model."),
]
_Use = Annotated[
    Literal[
        "primary",
        "fallback",
        "secondary",
        "critical",
        "complex",
        "specialised",
        "quick",
        "high_quality",
    ]
    | None,
    typer.Option(help="What the model is wanted for."),
]
_Modality = Annotated[
    Modality | None, typer.Option(help="What the model works with: text, if not given.")
]
_Task = Annotated[
    str | None, typer.Option(help="The task: its length, its words and private data in it count.")
]
_Budget = Annotated[
    str | None,
    typer.Option(metavar="USD", help="The most that the call may cost, with the longest answer."),
]
_PAGE = 80


def choose(
    role: _Role = "executor",
    complexity: _Complexity = None,
    tier: options.Tier = None,
    task: _Task = None,
    use: _Use = None,
    modality: _Modality = None,
    budget: _Budget = None,
    as_json: options.AsJson = False,
) -> None:
    """Show which models a request asks, in order, and why each of the others is not asked."""
    from aideon_agents.models.answers.reply import estimate_tokens
    from aideon_agents.models.choosing import Asked
    from aideon_agents.models.choosing import choose as chosen
    from aideon_agents.models.providers import providers
    from aideon_agents.state import ModelRequest

    settings = options.settings()
    named = _tier(tier, settings)
    known = providers(settings, pretend=settings.rehearses)
    content, private = _about(task or "", settings)
    is_pretended = not private and not any(one.available for one in known.values())
    if is_pretended:
        known = providers(settings, pretend=True)
    if complexity or use or modality or role == "validator":
        content = None
    choice = chosen(
        ModelRequest(role=role, complexity=complexity, use=use, content=content),
        cast("Any", named),
        catalog(),
        known,
        modality=modality,
        asked=Asked(tokens=estimate_tokens(task or ""), budget=_usd(budget), private=private),
    )
    if is_pretended:
        output.note("no provider has a key: this is the choice if each of them had one")
    if as_json:
        output.document(_document(choice, named))
        return
    by = f"the {choice.rule}" if choice.rule != "model" else "the given model"
    by += f" ({choice.content})" if choice.rule == "content" else ""
    size = f", size {choice.rung}" if choice.rung else ""
    output.note(f"chosen by {by}{size}, tier {named}")
    for number, name in enumerate(choice.chain, 1):
        output.line(f"{number}. {name}")
    for line in choice.ending:
        output.note(line)
    if choice.rejected:
        output.line("")
        output.line("not asked:")
    for name, why in choice.rejected:
        one_line = f"  {name}: {why}"
        lines = [one_line] if len(one_line) <= _PAGE else [f"  {name}:", f"      {why}"]
        for part in lines:
            output.line(part)


def _about(task: str, settings: Settings) -> tuple[ContentClass | None, str | None]:
    """What a task is about, and what it holds that may not leave, as a run finds them."""
    from aideon_agents.models.providers import private_models, providers
    from aideon_agents.models.routing import rules as routing
    from aideon_agents.models.routing.privacy import kind_in
    from aideon_agents.state import ContentClass

    rules, own = routing.load(settings.catalog), private_models(providers(settings))
    private = kind_in(rules, (("human", task),), words=bool(own))
    if private and not (own or settings.rehearses):
        from aideon_agents.models.routing.policy import refuse  # imports LangChain

        refuse(private)
    lowered = task.lower()
    found = (one for one in get_args(ContentClass) if rules.classes[one].search(lowered))
    return next(found, None), private


def _tier(given: str | None, settings: Settings) -> str:
    from aideon_agents.state import Tier

    tier = given or settings.tier
    if tier not in get_args(Tier):
        raise InputError(f"there is no tier {tier!r}: one of {', '.join(get_args(Tier))}")
    return tier


def _usd(given: str | None) -> Decimal | None:
    if given is None:
        return None
    try:
        amount = Decimal(given.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and amount >= 0):
        raise InputError(f"--budget is {given!r}: give US dollars, such as 0.05")
    return amount


def _document(choice: Choice, tier: str) -> dict[str, Any]:
    return {
        "tier": tier,
        "rule": choice.rule,
        "rung": choice.rung,
        "use": choice.use,
        "content": choice.content,
        "chain": [str(name) for name in choice.chain],
        "rejected": [{"model": name, "why": why} for name, why in choice.rejected],
        "ending": list(choice.ending),
    }
