"""The table of providers: all that differs from one to another is in its row.

To add a provider, add a row. A provider that speaks OpenAI's protocol needs nothing else. Settings take
their variables from the rows, and the rooms above read from them what a provider's models can do and
how they are billed. A row is also made of each deployment in pyproject.toml, and of each provider that
a program adds.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveInt,
    SecretStr,
    StrictBool,
)

from aideon_agents.errors import UserError

NO_KEY = "none-needed"
"""The key of local servers, which LangChain's clients require and the servers ignore."""


def _trimmed(value: object) -> object:
    """Without white space, a file's line break above all; blank is unset."""
    return (value.strip() or None) if isinstance(value, str) else value


def sendable(key: SecretStr | None) -> SecretStr | None:
    """A key, which goes into a header and so may hold no other characters."""
    text = key.get_secret_value() if key else ""
    if not (text.isascii() and text.isprintable()) and text:
        raise ValueError("holds characters that no key has")
    return key


def web_address(address: str | None) -> str | None:
    """An address that can be asked."""
    if address is None:
        return None
    parts = urlsplit(address)
    known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    if not known or any(mark.isspace() for mark in address):
        raise ValueError("is no address such as http://127.0.0.1:8000/v1")
    return address


Key = Annotated[SecretStr | None, BeforeValidator(_trimmed), AfterValidator(sendable)]
Address = Annotated[str | None, BeforeValidator(_trimmed), AfterValidator(web_address)]

_Price = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
_Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class ProviderRow(BaseModel):
    """One provider, or one deployment of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
    """The part before the colon in the names of its models."""
    base_url: Address = Field(default=None, repr=False)
    """Where it is, with the version; `base_url_env` goes before it. None: only that variable says it."""
    base_url_env: str = ""
    """The variable that holds its address; empty: there is none."""
    key_env: Annotated[tuple[_Variable, ...], BeforeValidator(_listed)] = ()
    """The variables that may hold its key, of which the first one that is set counts; empty: it needs
    no key."""
    dialect: Literal["together", "openai", "compatible", "replicate", "runway", "stability"] = (
        "compatible"
    )
    """How it is asked; `compatible` is any server with OpenAI's protocol."""
    media_only: bool = False
    """Whether it makes pictures and videos alone, and no chat model asks it."""
    seller: str | None = None
    """What the price list calls it; None: as here."""
    model: Annotated[str, Field(min_length=1)] | None = None
    """The model of a name that ends with the colon; None: such a name is refused."""
    sample: str | None = None
    """The model that `aideon doctor --live` asks where the catalog has none; None: it asks none."""
    own: bool = False
    """Whether it is a server of one's own, which may be slow and limits its models together."""
    free: bool = False
    """Whether its calls are on no invoice."""
    deployment: bool = False
    """Whether it is a deployment from a file."""
    own_prices: bool = False
    """Whether a call costs what this row says, whatever the price list has under its name."""
    gives_no_reason: bool = False
    """Whether some of its servers end a whole stream without a finish reason."""
    private: StrictBool = False
    """Whether private prompts may be sent to it."""
    vision: StrictBool | None = None
    """Whether its models take pictures; None: that depends on the model. So for the next two."""
    tools: StrictBool | None = None
    """Whether they can call tools."""
    json_schema: StrictBool | None = None
    """Whether they answer by a JSON schema."""
    context: PositiveInt | None = None
    """Tokens of prompt and answer together; None: the price list may know."""
    image_tokens: PositiveInt | None = None
    """The most tokens that one picture is billed as; None: unknown."""
    price_in: _Price | None = None
    """US dollars for a million tokens of input; None: unknown."""
    price_out: _Price | None = None
    """The same for output."""
    price_per_hour: _Price | None = None
    """US dollars for an hour in which it runs. A call has no share of it, so its cost is unknown."""
    cold_start: NonNegativeFloat = 0.0
    """Seconds for which a server is waited for that is starting: it refuses connections, or answers 502
    or 503. 0: these are failures like others."""

    def nanousd(self, input_tokens: int, output_tokens: int) -> int | None:
        """What some tokens cost at the prices of this row, rounded half to even; None: it has none."""
        if self.price_in is None or self.price_out is None:
            return None
        exact = (self.price_in * input_tokens + self.price_out * output_tokens) * 1000
        return int(exact.to_integral_value(ROUND_HALF_EVEN))


PROVIDERS = (
    ProviderRow(
        name="together",
        base_url="https://api.together.xyz/v1",
        base_url_env="TOGETHER_BASE_URL",
        key_env=("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"),
        dialect="together",
    ),
    ProviderRow(
        name="openai",
        base_url="https://api.openai.com/v1",
        base_url_env="OPENAI_BASE_URL",
        key_env=("OPENAI_API_KEY",),
        dialect="openai",
    ),
    ProviderRow(
        name="huggingface",
        base_url="https://router.huggingface.co/v1",
        base_url_env="HF_BASE_URL",
        key_env=("HF_TOKEN",),
        gives_no_reason=True,
    ),
    ProviderRow(
        name="local",
        base_url_env="AIDEON_LOCAL_BASE_URL",
        sample="any",
        own=True,
        free=True,
        gives_no_reason=True,
        private=True,
    ),
    ProviderRow(
        name="replicate",
        base_url="https://api.replicate.com",
        base_url_env="REPLICATE_BASE_URL",
        key_env=("REPLICATE_API_TOKEN", "REPLICATE_API_KEY"),
        dialect="replicate",
        sample="meta/meta-llama-3-8b-instruct",
        tools=False,
        json_schema=False,
        vision=False,
    ),
    ProviderRow(
        name="anyscale",
        base_url_env="ANYSCALE_BASE_URL",
        key_env=("ANYSCALE_API_KEY",),
        sample="any",
    ),
    ProviderRow(
        name="runway",
        base_url="https://api.dev.runwayml.com",
        base_url_env="RUNWAYML_BASE_URL",
        key_env=("RUNWAYML_API_SECRET", "RUNWAY_API_KEY"),
        dialect="runway",
        media_only=True,
    ),
    ProviderRow(
        name="stability",
        base_url="https://api.stability.ai",
        base_url_env="STABILITY_BASE_URL",
        key_env=("STABILITY_API_KEY",),
        dialect="stability",
        media_only=True,
    ),
)
"""The providers that need nothing but their variables, in the order in which they are listed."""

TABLE: dict[str, ProviderRow] = {row.name: row for row in PROVIDERS}
"""Every provider that this process knows by name: those above, those that a program has added, and the
deployments of the folder that settings were read in last."""


def add_provider(row: ProviderRow) -> None:
    """Let a program name models of another provider.

    Its key and its address are read from the environment whenever a chain of models is made.
    """
    if TABLE.get(row.name, row) != row:
        raise UserError(f"there is a provider {row.name} already: give yours another name")
    TABLE[row.name] = row


def field_of(variable: str) -> str:
    """The field of Settings that holds a variable."""
    return variable.lower().removeprefix("aideon_")


def fields(source: Any) -> dict[str, Any]:
    """The fields of Settings for the keys and addresses; `source` makes one that reads a variable."""
    keys = {one: (Key, source(one)) for row in PROVIDERS for one in row.key_env}
    addresses = {
        row.base_url_env: (Address, source(row.base_url_env, shown=False)) for row in PROVIDERS
    }
    return {field_of(variable): field for variable, field in (keys | addresses).items()}
