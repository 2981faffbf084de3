"""Our chains of models as a LangChain chat model, for code that is not made of our agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from aideon_agents.agents.chat_model.model import NAME, SIZES, ChatModel
from aideon_agents.agents.given import Options, chosen, request_for
from aideon_agents.errors import UserError
from aideon_agents.models.providers import ModelName, choices
from aideon_agents.state import (
    Model,
    ModelRequest,
    OnRateLimit,
    Privacy,
    ReasoningEffort,
    Role,
    Strategy,
    Tier,
    Use,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from langchain_core.language_models import BaseChatModel

    from aideon_agents.ledger.store import Ledger
    from aideon_agents.settings import Settings

Size: TypeAlias = Literal["small", "medium", "large"]


def chat_model(
    model: Size | Model | Sequence[Model] | None = None,
    *,
    role: Role = "executor",
    tier: Tier | None = None,
    use: Use | None = None,
    purpose: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    reasoning_effort: ReasoningEffort | None = None,
    timeout: float | None = None,
    fallback: bool | Sequence[Strategy] = True,
    on_rate_limit: OnRateLimit | None = None,
    cache: str | Literal[False] | None = None,
    privacy: Privacy | None = None,
    settings: Settings | None = None,
    ledger: Ledger | str | Path | None = None,
) -> BaseChatModel:
    """A chain of models as a LangChain chat model, for `create_agent`, pipes and other code.

    It retries, falls back and waits for rate limits as the models of an agent do, and each attempt has
    a row in the ledger. Inside a run, its calls belong to the node that makes them. Elsewhere they
    belong to the run of a `CostHandler` in the callbacks; without one, each call is a run of its own.

    Args:
        model: `small`, `medium` or `large`, up to what the tier allows; or `provider:model`, a LangChain
            chat model, or a list of these, which are asked in this order. None: the role decides.
        role: The role whose model it is. `run(model={role: ...})` replaces it inside that run.
        tier: The tier whose models it may choose; None: the run's, else the Settings'.
        use: What the model is wanted for: `critical` and `complex` ask a large one, `quick` a small one,
            `high_quality` the largest of the tier; None: the size or the role chooses.
        purpose: What its calls are for, a dimension of the cost report; None: the run's.
        temperature: As providers define it; None: the provider's default.
        max_tokens: The most tokens of an answer; None: as many as an agent of the role may use.
        reasoning_effort: How much a reasoning model thinks; None: it is not sent.
        timeout: Seconds for the whole chain; None: 300.
        fallback: Whether other models are asked when the primary fails, or who, as an agent's option.
        on_rate_limit: When the primary limits its rate: `wait` for it as long as the chain may take, or
            `fallback` after 20 seconds; None: wait in a batch, else fall back.
        cache: How old a kept answer may be, such as `1d`; False: none is kept; None: as the run says.
        privacy: Whether private prompts are kept from models that are not one's own: `on`, `off`, or
            `strict`, which counts words such as `confidential` as well. None: as the run says, else `on`.
        settings: The environment; None: the run's, else it is read at each call.
        ledger: Where calls are written that belong to no run: a ledger, or a path; None: the Settings'.

    Returns:
        The chat model. It can be copied, and pickled unless it was given an object that holds a key.

    Raises:
        UserError: An argument is not valid.
    """
    given = {key: one for key, one in locals().items() if key != "model"}
    request = _request(
        model, role, **{name: given[name] for name in given.keys() & Options.__annotations__}
    )
    tier = chosen({"tier": tier}, "tier", Tier, NAME)
    return ChatModel(request=request, tier=tier, settings=settings, ledger=ledger)


def _request(model: object, role: Role, **options: Any) -> ModelRequest:
    size = model if isinstance(model, str) and ":" not in model else None
    if size is not None and size not in SIZES:
        raise UserError(
            f"{NAME}: {size!r} is no size of model: give {', '.join(SIZES)}, or provider:model"
        )
    for name in choices(None if size else model, NAME):
        if isinstance(name, str):
            ModelName.parse(name)
    options |= {"complexity": SIZES[size]} if size else {"model": model}
    given = cast("Options", {key: one for key, one in options.items() if one is not None})
    return request_for(chosen({"role": role}, "role", Role, NAME) or "executor", given, NAME)
