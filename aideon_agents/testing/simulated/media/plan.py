"""How a simulated provider treats media."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class MediaPlan:
    """How long jobs and links last, and what is listed. Faults are those of the provider.

    Args:
        job_seconds: How long a job takes, by the provider's clock.
        link_seconds: How long the address of a result is valid, by the clock.
        voices: The voices that are listed for each model.
        supported: What `/v2/supported-models` lists, each with its fields.
        mapping: For each model of Hugging Face, the providers that serve it, each with its
            `status`, `providerId` and `task`.
        stability_video: Whether Stability still makes videos.
    """

    job_seconds: float = 0.0
    link_seconds: float = 3600.0
    voices: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=lambda: {
            "hexgrad/Kokoro-82M": ("af_alloy", "af_bella", "af_heart", "am_adam"),
            "canopylabs/orpheus-3b-0.1-ft": ("tara", "leah"),
            "cartesia/sonic-2": ("friendly sidekick", "reading lady"),
        }
    )
    supported: tuple[Mapping[str, Any], ...] = ()
    mapping: Mapping[str, Mapping[str, Mapping[str, str]]] = dataclasses.field(
        default_factory=dict[str, Any]
    )
    stability_video: bool = False
