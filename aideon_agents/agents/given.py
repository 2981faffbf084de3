"""The options that the four factories share, and what they ask of models. Wrong ones are refused."""

from __future__ import annotations

import difflib
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from aideon_agents.errors import UserError, refuse_kinds
from aideon_agents.models.providers import choices
from aideon_agents.models.strategies import max_age, strategies
from aideon_agents.state import (
    Complexity,
    Model,
    ModelRequest,
    OnDecline,
    OnRateLimit,
    Privacy,
    ReasoningEffort,
    Role,
    Strategy,
    Use,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aideon_agents.agents.tools import Tool
    from aideon_agents.models.pictures import Images


def chosen(options: Mapping[str, Any], key: str, kind: Any, name: str) -> Any:
    """The value of an option that has a few; None: it is not given."""
    value = options.get(key)
    if value not in (None, *(known := get_args(kind))):
        raise UserError(
            f"{name}: {key} must be {', '.join(known[:-1])} or {known[-1]}, not {value!r}"
        )
    return value


_TEXT = ((str, NoneType), "text")
_FLAG = (bool, "True or False")
_KINDS: Mapping[str, tuple[Any, str]] = {
    "description": _TEXT,
    "instructions": _TEXT,
    "purpose": _TEXT,
    "prompt": ((str, Path, NoneType), "text or the path of a file"),
    "max_tokens": (int, "a whole number"),
    "max_tool_rounds": (int, "a whole number"),
    "timeout": ((int, float, NoneType), "a number"),
    "tool_timeout": ((int, float), "a number"),
    "temperature": ((int, float, NoneType), "a number"),
    "approve": _FLAG,
    "grounded": _FLAG,
}
"""What would fail where it is compared or sent, had it another type."""


def refuse_wrong(options: Mapping[str, Any], kind: Any, name: str) -> None:
    """Refuse an option that `kind`, a TypedDict, does not have, and a value of another kind."""
    known = sorted(kind.__annotations__)
    for option in sorted(options.keys() - set(known)):
        near = difflib.get_close_matches(option, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(known)}"
        raise UserError(f"{name}: unknown option {option!r}; {hint}")
    refuse_kinds(options, _KINDS, f"{name}: ")


_MAX_TOKENS: Mapping[Role, int] = {
    "planner": 2048,
    "executor": 1024,
    "validator": 512,
    "creative": 2048,
}


class Options(TypedDict, total=False):
    """The options of every agent. The four factories take these by keyword."""

    description: str | None
    """What to do, where `{task}` and `{key of inputs}` are filled in; None: the task itself."""
    instructions: str | None
    """What the system prompt says after the text of the role; None: nothing."""
    prompt: str | Path | None
    """The text of the role in the system prompt, or a file ending in .md, relative to the calling
    file; None: `prompts/ROLE.md` beside the calling file, else the role's own."""
    grounded: bool
    """Whether only the given material counts, and statements cite it; else the agent may also use
    what the model knows. False unless given."""
    complexity: Complexity | None
    """How hard the work is, which chooses the size of model; None: the role does."""
    use: Use | None
    """What the model is wanted for, apart from the role: `critical` and `complex` ask a large one, `quick`
    a small one, `high_quality` the largest of the tier, `fallback` and `secondary` not the primary one,
    `specialised` one that the catalog has for it; None: the complexity or the role chooses."""
    purpose: str | None
    """What its calls are for, a dimension of the cost report."""
    model: Model | Sequence[Model] | None
    """`provider:model`, a LangChain chat model, or several of these: the chain, without further
    fallbacks; None: chosen."""
    max_tokens: int
    """The most tokens an answer may have; always sent. Reasoning models get more unless it is given."""
    temperature: float | None
    """As providers define it; None: the provider's default."""
    reasoning_effort: ReasoningEffort | None
    """How much a reasoning model thinks; None: it is not sent."""
    timeout: float | None
    """Seconds for the whole chain of models; None: 300."""
    fallback: bool | Sequence[Strategy]
    """Whether the chain's other models are asked when the primary fails; True unless given. A list says
    who, in this order: `same_provider`, `other_provider`, and `cached`, the newest kept answer."""
    cache: str | Literal[False] | None
    """How old a kept answer to the same question may be, such as `1d`; False: no answer is kept;
    None: as the run says."""
    on_rate_limit: OnRateLimit | None
    """When the primary limits its rate: `wait` for it as long as the chain may take, or `fallback`
    after 20 seconds; None: wait in a batch, fall back in a single run."""
    privacy: Privacy | None
    """Whether private prompts are kept from models that are not one's own: `on`, `off`, or `strict`,
    which counts words such as `confidential` as well; None: as the run says, else on. The stricter of
    the run's and the agent's counts."""
    images: Images | Literal[False] | None
    """Pictures that it is sent after those of the task: paths, relative to the calling file, URLs,
    bytes, data URIs or image blocks; a path may name inputs in braces. None: those of the task alone.
    False: none, not even those of the task."""
    tools: Sequence[Tool]
    """LangChain tools, functions, and `mcp_server(...)`s that the model may call."""
    max_tool_rounds: int
    """How many answers may call tools, 8 unless given; then the model must answer without."""
    tool_timeout: float
    """Seconds that one tool call may take, 300 unless given; then the model is sent an error."""
    approve: bool
    """Whether a person must agree to its result before the next node runs; False unless given."""
    on_decline: OnDecline
    """After a rejection with feedback: do the work `again`, at most 3 times, or `stop` the run; `again`
    unless given. In a loop the rounds of the loop count instead."""
    quality: bool | float | None
    """The score, up to 1, that a validator must give its answer, True: 0.8; else the next larger model
    is asked as well, and the better answer is kept. False: none; None: as the run says."""


def request_for(role: Role, options: Options, named: str) -> ModelRequest:
    """What the options of an agent ask of its models."""
    refuse_wrong(options, Options, named)
    images, max_tokens = options.get("images"), options.get("max_tokens", _MAX_TOKENS[role])
    timeout = options.get("timeout")
    if max_tokens < 1 or (timeout is not None and timeout <= 0):
        raise UserError(f"{named}: max_tokens and timeout must be more than 0")
    return ModelRequest(
        role=role,
        complexity=chosen(options, "complexity", Complexity, named),
        use=chosen(options, "use", Use, named),
        purpose=options.get("purpose"),
        model=choices(options.get("model"), named),
        max_tokens=max_tokens,
        may_think="max_tokens" not in options,
        reasoning_effort=chosen(options, "reasoning_effort", ReasoningEffort, named),
        temperature=options.get("temperature"),
        timeout=timeout,
        fallback=strategies(options.get("fallback", True), named),
        on_rate_limit=chosen(options, "on_rate_limit", OnRateLimit, named),
        cache=max_age(options.get("cache"), named),
        privacy=chosen(options, "privacy", Privacy, named),
        vision=None if images is None else images is not False,
    )
