"""What a catalog file says of a model. None: unknown, never guessed."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from aideon_agents.state import Complexity, Role, Tier, Use

Rung: TypeAlias = Literal["small", "medium", "large"]
Modality: TypeAlias = Literal["text", "code", "vision", "image", "tts", "stt", "video"]

_Amount = Annotated[Decimal, BeforeValidator(str), Field(ge=0)]
_Names = Annotated[tuple[str, ...], Field(min_length=1)]
_Tokens = Annotated[int, Field(gt=0, strict=True)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lifecycle(_Part):
    """Whether a model can be asked, and until when."""

    status: Literal["active", "ending", "retired"] | None = None
    """None: unknown."""
    date: dt.date | None = None
    """When it ends or ended; None: unknown."""
    evidence: str | None = None
    """Where that was read, and when."""
    replaced_by: Annotated[str, Field(pattern=r"^[^:\s]+:\S+$")] | None = None
    """`provider:model` to use instead."""

    def in_words(self, word: Literal["retired", "ends", "was to end"]) -> str:
        """`retired since DAY: use MODEL` or the like, as far as they are known."""
        day = f"{' since' if word == 'retired' else ''} {self.date}" if self.date else ""
        return f"{word}{day}" + (f": use {self.replaced_by}" if self.replaced_by else "")

    def is_over(self, today: dt.date) -> bool:
        """Whether the day has come on which it was announced to end."""
        return self.status == "ending" and self.date is not None and self.date <= today


class Capabilities(_Part):
    """What a model can do; None: unknown."""

    tools: bool | None = None
    json_schema: bool | None = None
    vision: bool | None = None
    streaming: bool | None = None
    reasoning: bool | None = None
    temperature: bool | None = None
    """False: it refuses the parameter."""


class Prices(_Part):
    """US dollars for what a model takes and gives; None: it is not sold by this unit."""

    input: _Amount | None = Field(default=None, alias="in")
    """Per million tokens of the prompt."""
    output: _Amount | None = Field(default=None, alias="out")
    """Per million tokens of the answer."""
    cache_read: _Amount | None = None
    """Per million tokens of the prompt that come from the provider's cache; None: as `input`."""
    image: _Amount | None = None
    megapixel: _Amount | None = None
    """Per million pixels of a picture that is made in the usual number of steps."""
    steps: Annotated[int, Field(gt=0, strict=True)] | None = None
    """That number; more steps cost more, and fewer do not cost less. None: 4."""
    characters: _Amount | None = None
    """Per million characters."""
    audio_minute: _Amount | None = None
    video_second: _Amount | None = None
    credit: _Amount | None = None
    """For one of the provider's own credits."""
    least: _Amount | None = None
    """What a call costs at least; None: there is no such limit."""
    date: dt.date | None = None
    """When the price was read."""
    source: str | None = None
    billed: bool = True
    """False: kept for the record, and no call is priced with it."""
    overrides: str | None = None
    """Why it counts before the price list's; None: it counts where the list has no price."""

    @property
    def named(self) -> str:
        """What the rows of its calls name as the source of their cost."""
        day = self.date.isoformat() if self.date else None
        return ", ".join(filter(None, ("catalog", self.overrides, self.source, day)))


class Listing(_Part):
    """One place where the founding documents name a model."""

    document: str
    """Its number."""
    tier: Tier | None = None
    """None: the document names no tier."""
    use: Use | None = None
    roles: tuple[Role, ...] = ()
    """The agents that it is for."""
    complexity: tuple[Complexity, ...] = ()


class Entry(_Part):
    """One model at one provider."""

    name: str
    """`provider:model`; of a family, `provider:family`."""
    origin: Literal["seed", "current", "user"] = "current"
    """Who listed it: the founding documents, we, or the user's own catalog."""
    modality: Modality = "text"
    tier: Tier = "free"
    """The lowest tier it is meant for."""
    uses: tuple[Use, ...] = ()
    rung: Rung | None = None
    """Its size; None: it has none, as a model of pictures."""
    lifecycle: Lifecycle = Lifecycle()
    context: _Tokens | None = None
    """Tokens that it takes, prompt and answer together."""
    max_output: _Tokens | None = None
    """Tokens of the longest answer."""
    capabilities: Capabilities = Capabilities()
    prices: Prices | None = None
    batch_discount: Annotated[Decimal, BeforeValidator(str), Field(ge=0, lt=1)] | None = None
    """What a batch of its provider saves, as a share of the list price: 0.5 is half; None: nothing, as
    far as is known. The price list's own prices of batches count before it."""
    image_tokens: _Tokens | None = None
    """The most tokens that one picture in a prompt is billed as."""
    family: str | None = None
    """The name of a family that the documents name without an id. It cannot be asked."""
    listed: tuple[Listing, ...] = ()
    """Where the founding documents name it."""
    note: str | None = None

    @property
    def id(self) -> str | None:
        """The model's name at its provider; None: it is a family."""
        return None if self.family else self.name.partition(":")[2]

    @property
    def provider(self) -> str:
        """Who sells it."""
        return self.name.partition(":")[0]


class CatalogFile(_Part):
    """A catalog file, ours or the user's own."""

    routing: dict[str, Any] = {}
    """Words and patterns for routing by content, which `models.routing.rules` reads and checks."""
    profiles: dict[Literal["current", "seed"], dict[Rung, _Names]] = {}
    """The models of each size, in the order in which they are asked."""
    models: dict[str, Entry] = {}
    """By name."""
