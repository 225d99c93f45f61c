"""What is planned, and the plan: records of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lycoris.bases.quantization import QUANTIZED
from lycoris.bases.sampling import GenerationSettings
from lycoris.training.config import TrainingSettings

CAPTION_WORDS = 75
"""Words, or about as many tokens, of the caption that is planned with where none is given."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is to be planned.

    Attributes:
        network: arguments of `lycoris.attach`: algorithm, preset, rank, ...
        training: the settings of the training.
        dtype: in which the base computes: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        precisions: ``denoiser`` and ``text_encoders`` -> a precision of `lycoris.bases.quantization`, where it is set.
        offload: whether parts of the base are on the card only while they work.
        on_gpu: whether the work is done on a GPU: more images are encoded at once, and autocast keeps norms in float32.
        resolution: side of the square images in pixels; None for the base's own.
        caption: a caption; None for one of `CAPTION_WORDS` words.
        generation: how images are generated.
        prompts: prompts that are encoded at once to generate images.
        encoders: of the scores: sources of `lycoris.encoders.open_encoder`.
        base_options: further arguments of `lycoris.bases.Base`: ``max_token_length``.
    """

    network: Mapping[str, Any]
    training: TrainingSettings
    dtype: str = "bfloat16"
    precisions: Mapping[str, str] = field(default_factory=dict)
    offload: bool = False
    on_gpu: bool = True
    resolution: int | None = None
    caption: str | None = None
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    prompts: int = 1
    encoders: Sequence[str] = ()
    base_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_quantized(self) -> bool:
        """Whether some weights have fewer bits than a dtype, so that adapters are not merged into them."""
        return any(value in QUANTIZED for value in self.precisions.values())


@dataclass(frozen=True)
class Phase:
    """One phase of the work: what it holds at most, in bytes, and what it computes.

    Attributes:
        resident: bytes of the weights on the card.
        working: the most beyond them at one time: adapters, gradients, optimizer, activations.
        flops: of one optimizer step, one image or one caption.
    """

    resident: int
    working: int
    flops: int = 0

    @property
    def peak(self) -> int:
        """Bytes held at most."""
        return self.resident + self.working


@dataclass(frozen=True)
class BasePlan:
    """The base.

    Attributes:
        family: its key in `lycoris.bases.BASES`.
        parameters: part -> number of parameters.
        bytes: part -> bytes of its weights.
        resolution: side of the images in pixels.
        tokens: tokens of a caption that the denoiser attends to.
        dtype: in which it computes.
    """

    family: str
    parameters: Mapping[str, int]
    bytes: Mapping[str, int]
    resolution: int
    tokens: int
    dtype: str


@dataclass(frozen=True)
class TrainingPlan:
    """The adapter.

    Attributes:
        parameters: number of trained parameters.
        layers: part -> number of adapted layers.
        step_flops: FLOPs of one optimizer step.
        trains_text_encoder: whether a text encoder is adapted, so that captions are encoded in every step.
    """

    parameters: int
    layers: Mapping[str, int]
    step_flops: int
    trains_text_encoder: bool


@dataclass(frozen=True)
class WorkPlan:
    """The plan of a workload.

    Attributes:
        base: its base.
        training: its adapter.
        phases: ``captions`` and ``latents`` (encoding them), ``training``, ``prompts``, ``denoising`` and ``decoding``
            (generating images), ``scoring`` -> what it takes.
    """

    base: BasePlan
    training: TrainingPlan
    phases: Mapping[str, Phase]

    @property
    def peak(self) -> int:
        """Bytes of the phase that holds most."""
        return max(phase.peak for phase in self.phases.values())

    @property
    def peak_phase(self) -> str:
        """The phase that holds most."""
        return max(self.phases, key=lambda name: self.phases[name].peak)
