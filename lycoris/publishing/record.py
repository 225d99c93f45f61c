"""What is published of an adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lycoris.metrics.score import ScoreRecord

CARD = "README.md"
DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
"""The name that `load_lora_weights` of diffusers looks for."""
SCORES_FILE = "scores.json"


@dataclass(frozen=True)
class Strength:
    """The strength that is recommended, with a line on where it comes from."""

    value: float = 1.0
    origin: str = "not measured"


@dataclass(frozen=True)
class SampleImage:
    """An image of the adapter: its path in the folder, and how it was generated."""

    path: str
    prompt: str
    seed: int


@dataclass(frozen=True)
class BaseModel:
    """The base that the adapter belongs to.

    Attributes:
        hub_name: ``USER/NAME`` on the hub; None where it is not there, or not known.
        description: for readers, where it has no hub name.
        digest: hash of its files.
        version: kohya's ``ss_base_model_version``; None where other programs have no name for it.
        license: of the base, as the publisher states it.
    """

    hub_name: str | None
    description: str
    digest: str | None = None
    version: str | None = None
    license: str | None = None


@dataclass(frozen=True)
class Publication:
    """An adapter and what is known of it. Nothing is made up: what is unknown is None.

    Attributes:
        name: start of the names of its files.
        concept: what it learned; `version` is its number in the registry.
        algorithm: label, such as ``"lora rank=16"``; `strategy` and `seed` are the rest of its setting.
        settings: option -> value, of the training.
        trigger: the word that stands for the concept.
        data_version: hash of the training data.
        license: of the adapter, an identifier of the hub.
        images: generated with it; the first is the preview.
        diffusers_note: how far the file for diffusers differs; empty where there is no such file.
        sha256: of the adapter's own file.
    """

    name: str
    concept: str
    version: str
    algorithm: str
    strategy: str
    seed: int | None
    settings: Mapping[str, object]
    base: BaseModel
    trigger: str | None = None
    strength: Strength = Strength()
    data_version: str | None = None
    license: str | None = None
    scores: Sequence[ScoreRecord] = ()
    images: Sequence[SampleImage] = ()
    diffusers_note: str = ""
    sha256: str = ""

    @property
    def file(self) -> str:
        """Name of the file for ComfyUI and A1111."""
        return f"{self.name}.safetensors"

    @property
    def prompt(self) -> str | None:
        """An example of a prompt."""
        return self.images[0].prompt if self.images else self.trigger
