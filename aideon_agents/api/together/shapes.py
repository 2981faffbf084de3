"""What the nine endpoints take and give: exactly the keys of the founding documents."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from aideon_agents.serving.sources import Indicator

Modality: TypeAlias = Literal["text", "code", "vision", "image", "audio_tts", "audio_stt"]


def _number(value: object) -> object:
    if isinstance(value, str | bool):
        raise ValueError("Input should be a number")  # noqa: TRY004 - pydantic reads this class
    return value


Number = BeforeValidator(_number)
"""Refuses texts and booleans, and takes 256.0 for a whole number, as JSON Schema does."""
Text = Annotated[str, Field(min_length=1, max_length=1_000_000)]
MaxTokens = Annotated[int, Field(strict=False, ge=1, le=1_000_000), Number] | None
Temperature = Annotated[float, Field(ge=0, le=2), Number] | None
Purpose = Annotated[str, Field(pattern=r"^[A-Za-z0-9_. -]{1,64}$")] | None
Pixels = Annotated[int, Field(strict=False, ge=1, le=8192), Number] | None
Word = Annotated[str, Field(min_length=1, max_length=100)] | None
Address = Annotated[str, Field(min_length=1, max_length=28_000_000)]
"""An https URL, or a file as a `data:` URI in base64."""


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    purpose: Purpose = None
    """What it is for, such as `creative`: a dimension of reports. `coding`, `critical`, `complex`,
    `quick` and `high_quality` choose the model as well. None: nothing in particular."""


class _AskedToWrite(_Asked):
    max_tokens: MaxTokens = None
    """The most tokens of the answer, up to the limit of one's tier; None: as many as usual."""
    temperature: Temperature = None
    stream: StrictBool = False
    """Whether the answer comes as server-sent events."""


class TextAsked(_AskedToWrite):
    prompt: Text


class CodeAsked(_AskedToWrite):
    prompt: Text
    language: Word = None


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"]
    content: Text


class ChatAsked(_AskedToWrite):
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]


class AnalysisAsked(_Asked):
    """A question about a picture."""

    max_tokens: MaxTokens = None
    image_url: Address
    prompt: Text


class ImageAsked(_Asked):
    prompt: Text
    negative_prompt: Annotated[str, Field(max_length=10_000)] | None = None
    width: Pixels = None
    height: Pixels = None
    num_inference_steps: Annotated[int, Field(strict=False, ge=1, le=500), Number] | None = None


class TranscriptionAsked(_Asked):
    audio_url: Address
    language: Word = None


class SpeechAsked(_Asked):
    text: Text
    voice: Word = None


class Usage(BaseModel):
    """Tokens; null: the provider did not say."""

    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None


class _Answer(BaseModel):
    model_id: str
    provider: str
    model_source_indicator: Indicator | None
    """Null: the feature flag `together_ai_ui_indicators` is off."""


class Analysis(_Answer):
    text: str


class MadePicture(_Answer):
    url: str
    """Where the picture can be fetched without a key, for an hour."""


class MadeSound(_Answer):
    audio_url: str
    """Where the recording can be fetched without a key, for an hour."""


class Written(Analysis):
    usage: Usage


class Reply(BaseModel):
    role: Literal["assistant"]
    content: str


class Chatted(_Answer):
    message: Reply
    usage: Usage


class ListedModel(BaseModel):
    id: str
    name: str
    modality: Modality
    indicator: Indicator | None


class Models(BaseModel):
    models: list[ListedModel]
    user_tier: Literal["free", "premium", "enterprise"]
    free_tier_enabled: bool


class FeatureQuota(BaseModel):
    """What was used of a feature today; a unit without a limit is left out."""

    requests_used: int | None = None
    requests_limit: int | None = None
    tokens_used: int | None = None
    tokens_limit: int | None = None
    minutes_used: float | None = None
    minutes_limit: float | None = None
