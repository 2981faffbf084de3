"""Every shape that travels on an edge, and what a run is given.

`State` is what nodes read, `Results` what every pattern gives back: two parallel subgraphs that
both returned a plain key such as `task` would be an InvalidUpdateError, so only keys that merge
leave a pattern. `Context` reaches nodes through LangGraph's `Runtime[Context]`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from itertools import accumulate
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    Protocol,
    Required,
    TypeAlias,
    TypedDict,
    cast,
)

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeVar

from aideon_agents.state.files import Artifact, Picture

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, LanguageModelInput
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import Runnable

DataT = TypeVar("DataT", default=Any)
"""The class of typed data; Any where nothing says which."""

Role = Literal["planner", "executor", "validator", "creative"]
Complexity = Literal["low", "medium", "high"]
Use = Literal[
    "primary",
    "fallback",
    "secondary",
    "critical",
    "complex",
    "specialised",
    "quick",
    "high_quality",
]
"""What a model is wanted for, apart from the role of the agent that asks it."""
Ability = Literal["tools", "json_schema", "vision", "streaming"]
"""What some models cannot do."""
Tier = Literal["free", "premium", "enterprise"]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high"]
"""How much a reasoning model thinks, as OpenAI's protocol names it."""

OnRateLimit = Literal["wait", "fallback"]
"""When the primary limits its rate: wait for it as long as the chain may take, or for 20 seconds."""

Strategy = Literal["same_provider", "other_provider", "cached"]
"""Who answers when the primary fails: other models of its provider, models of other providers, or
the newest answer that is kept for the same prompt."""
Privacy = Literal["off", "on", "strict"]
"""Whether private prompts are kept from models that are not one's own. `strict`: also those with words
such as `confidential` alone, which otherwise count where a server of one's own is set."""

ContentClass = Literal["code", "complex"]
"""What a task is about, by its words. All other tasks are general."""

OnDecline = Literal["again", "stop"]
"""After a rejection with feedback: do the work again, or end the run."""


# A model reads the docstrings and descriptions of the four classes that follow.


class PlanStep(BaseModel):
    """One step of a plan."""

    id: str = Field(description="A short name for this step, unique in the plan, such as s1")
    description: str = Field(description="What this step has to do, in one or two sentences")
    agent: str = Field(
        description="Who does it", json_schema_extra={"enum": ["executor", "creative"]}
    )
    complexity: Complexity = Field(description="How hard it is")
    depends_on: list[str] = Field(description="Ids of the steps whose results it needs")


class Plan(BaseModel):
    """The steps of the work."""

    steps: list[PlanStep] = Field(description="The steps, in an order that respects depends_on")


class Verdict(BaseModel):
    """A judgement of a text."""

    passed: bool = Field(description="Whether the text meets every criterion")
    score: float = Field(ge=0, le=1, description="How well it meets them, 0 to 1")
    feedback: str = Field(description="What to change, concretely; empty when nothing")


class Decision(BaseModel):
    """The chosen route."""

    route: str = Field(description="The name of one of the offered routes, exactly as offered")
    reason: str = Field(description="Why, in one sentence")


class Approval(BaseModel):
    """A person's answer to a result that was shown; no model is asked for it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    approved: bool = Field(strict=True)
    """Whether the run continues with the result."""
    feedback: str | None = None
    """With a rejection: what to change, where the work can be done again; None: nothing was said."""
    content: str | None = None
    """With an approval: the result as the person has edited it; None: the result as it was shown."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepResult(Generic[DataT]):
    """What one node gave back.

    A dataclass, because a checkpoint keeps the class of what is in its fields: LangGraph writes a
    model down with all that is in it as plain values.
    """

    node_path: str
    """Where it ran: names from the outside in, joined by `/`."""
    role: str
    """planner, executor, validator, creative, or the kind of node that was no agent."""
    content: str
    """The answer as text."""
    data: DataT = dataclasses.field(default=cast("Any", None))
    """The typed answer where the node has one, else None."""
    round: int = 1
    """The n-th time round in the innermost loop, from 1."""
    order: int = 0
    """A logical clock: greater than that of every result the node could see."""
    models: list[str] = dataclasses.field(default_factory=list[str])
    """`provider:model` of the models that answered, in order; several where tools were called or
    an answer was asked for again. The last one wrote the result. Empty: no model was asked."""
    truncated: bool = False
    """The last answer met `max_tokens` and is cut off."""
    stale_s: int | None = None
    """All models failed, and an answer was used that is so many seconds old; None: it was not so."""
    sources: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    """What the tools of a grounded agent returned, by the labels to cite it by."""
    artifacts: tuple[Artifact, ...] = ()
    """The files that the node made, in order."""


def latest(results: dict[str, StepResult]) -> StepResult | None:
    """The last result by order, of equals the last written; None when there is none yet."""
    return max(reversed(results.values()), key=lambda result: result.order, default=None)


def next_order(results: dict[str, StepResult]) -> int:
    """The order for a result that has seen `results`."""
    last = latest(results)
    return 1 + (last.order if last else 0)


def current_results(results: Mapping[str, StepResult]) -> list[StepResult]:
    """The results that have not been replaced, in order.

    A pattern's own result (a loop's best round) replaces those of the nodes inside it until they
    run again. A verdict is passed on as feedback, not as a result.
    """

    def is_replaced(result: StepResult) -> bool:
        around = accumulate(result.node_path.split("/")[:-1], "{}/{}".format)
        return any(outer in results and results[outer].order > result.order for outer in around)

    kept = [result for result in results.values() if result.role != "validator"]
    return sorted(
        (result for result in kept if not is_replaced(result)), key=lambda result: result.order
    )


def merge(left: dict[str, StepResult], right: dict[str, StepResult]) -> dict[str, StepResult]:
    """Reduce two result maps to one, by node path.

    A subgraph gives back everything it was given as well as what it added, so two branches bring
    stale copies of one another's results. The later by `order` wins, which makes the merge
    idempotent and independent of the order in which branches finish.
    """
    merged = dict(left)
    for path, result in right.items():
        known = merged.get(path)
        if known is None or result.order >= known.order:
            merged[path] = result
    return merged


T = TypeVar("T")


def last(_left: T, right: T) -> T:
    """Keep what was written last."""
    return right


class Results(TypedDict, total=False):
    """What every pattern gives back."""

    results: Annotated[dict[str, StepResult], merge]
    plan: Annotated[Plan | None, last]
    verdict: Annotated[Verdict | None, last]
    route: Annotated[str | None, last]


class Entry(Results, total=False):
    """What a graph takes in."""

    task: str
    """What the user wants, in words."""
    inputs: dict[str, Any]
    """Other values that the caller passed in, by key."""


class State(TypedDict, total=False):
    """What a node reads. The keys that are required here are those that every run has."""

    task: Required[str]
    inputs: Required[dict[str, Any]]
    results: Required[Annotated[dict[str, StepResult], merge]]
    plan: Annotated[Plan | None, last]
    verdict: Annotated[Verdict | None, last]
    route: Annotated[str | None, last]
    round: int
    """Set by the innermost loop and private to it; absent means 1. Never part of `Results`.

    Without a reducer: LangGraph starts a reduced int at 0, and then it is never absent.
    """
    feedback: str
    """What the innermost loop that has come round wants changed; never part of `Results` either.

    A verdict may be that of another loop, which has ended inside the same round.
    """


class GivenModel:
    """A LangChain chat model that the caller gave. It may hold keys, so its text is its name."""

    def __init__(self, provider: str, model: str, inner: BaseChatModel | None) -> None:
        self.provider = provider
        self.model = model
        self.inner = inner
        """None: it is only rehearsed."""

    def __repr__(self) -> str:
        return f"{self.provider}:{self.model}"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, GivenModel)
            and self.inner is other.inner
            and repr(self) == repr(other)
        )

    def __hash__(self) -> int:
        return hash((id(self.inner), repr(self)))

    def __getstate__(self) -> object:
        raise TypeError(f"{self} may hold a key, so it cannot be pickled")


Model: TypeAlias = "str | BaseChatModel"
"""What a caller gives: `provider:model`, or a LangChain chat model."""

ModelChoice: TypeAlias = str | GivenModel
"""`provider:model`, or a chat model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """What a node asks of a model; selection turns it into a chain of candidates."""

    role: Role
    complexity: Complexity | None = None
    """None: the role decides."""
    use: Use | None = None
    """What the model is wanted for; None: nothing in particular."""
    modality: Literal["text", "code", "vision"] | None = None
    """What the model is for; None: text, or code where the purpose says so."""
    needs: tuple[Ability, ...] = ()
    """What the model must be able to do."""
    steps_up: int = 0
    """How many sizes larger it is than what is asked, up to the tier's; of given models, how many are left out."""
    purpose: str | None = None
    """What the call is for, a dimension of the cost report; None: not given."""
    model: tuple[ModelChoice, ...] = ()
    """Models that replace the choice, primary first; empty: choose."""
    first: str | None = None
    """Of the models to ask, the one that a router prefers for the prompt; None: no router decided."""
    max_tokens: int = 1024
    """The most output tokens; always sent."""
    may_think: bool = False
    """Whether reasoning models get more of them, because their thoughts count."""
    reasoning_effort: ReasoningEffort | None = None
    """How much a reasoning model thinks, as providers define it; None: it is not sent."""
    temperature: float | None = None
    """None: the provider's default."""
    timeout: float | None = None
    """Seconds for the whole chain; None: the Settings' default."""
    fallback: bool | tuple[Strategy, ...] = True
    """Whether the chain's other models are asked when the primary fails; or who, in this order."""
    on_rate_limit: OnRateLimit | None = None
    """None: wait in a batch, fall back in a single run."""
    cache: float | None = None
    """Seconds for which an answer may be used again; 0: never; None: as the run says."""
    privacy: Privacy | None = None
    """None: as the run says, else `on`."""
    content: ContentClass | None = None
    """What the task is about; None: it is general, or it was not read."""
    vision: bool | None = None
    """Whether the prompt has pictures; None: where the task has. False: the agent is sent none."""


class ModelSource(Protocol):
    """Where nodes get their models from; the double is `testing.GivenModels`."""

    def chat(
        self, request: ModelRequest, context: Context
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The chain of chat models that answers `request`."""
        ...

    def window(self, request: ModelRequest, context: Context) -> int | None:
        """Tokens that every model of that chain can take; None: unknown."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exchange:
    """An earlier run of the same conversation."""

    task: str
    results: Mapping[str, StepResult]
    """Its results, by node path."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """What a run is given. Everything has a default: a graph may be invoked bare."""

    models: ModelSource | None = None
    """None: the models that Settings allow."""
    tier: Tier = "premium"
    user: str | None = None
    """Who the run is for; None: no user was given."""
    purpose: str | None = None
    """The default purpose of this run's calls."""
    model: Mapping[str, tuple[ModelChoice, ...]] = dataclasses.field(
        default_factory=lambda: cast("dict[str, tuple[ModelChoice, ...]]", {})
    )
    """Chains by role that replace the choice."""
    stream: bool = False
    """Whether model calls stream. A property of the run, never of who watches it."""
    rehearse: bool = False
    """Answer every call by rule, in process, without a network."""
    longest: bool = False
    """In a rehearsal: the longest answers and no verdict that passes, to see the most a run costs."""
    fallback: bool | tuple[Strategy, ...] = True
    """Whether others than the primary may answer; or who, in this order, whatever the agents say."""
    on_rate_limit: OnRateLimit | None = None
    """Replaces what the agents say; None: what they say."""
    cache: float | None = None
    """Seconds for which an answer may be used again, whatever the agents say; None: what they say."""
    privacy: Privacy | None = None
    """The stricter of this and what an agent says counts; None: what it says, else `on`."""
    quality: float | None = None
    """The score that answers must reach where their agents do not say; None: none."""
    replace_retired: bool = False
    """Whether a retired model is replaced by its successor; False: it is an error."""
    is_item: bool = False
    """Whether the run is one of a batch's: its calls wait while the others are answered."""
    earlier: tuple[Exchange, ...] = ()
    """Earlier runs of this conversation, oldest first."""
    images: tuple[Picture, ...] = ()
    """The pictures of the task. They are no part of the state, so no checkpoint holds them."""
    today: dt.date | None = None
    """The date that agents are given; None: the day of the call, in a rehearsal always the same."""
