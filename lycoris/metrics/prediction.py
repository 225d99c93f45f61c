"""What a network with a metric of its own gets, and what it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from lycoris.data.prompt_spec import PromptSpec


@dataclass(frozen=True, eq=False)
class PredictionInputs:
    """A set of images with everything that is known of them.

    Attributes:
        images: read by index, at any size.
        features: encoder -> its features of the images, one row each.
        prompts: the prompt of each image; empty for a dataset.
        requested: the tags that the prompt of each image names beside the concept, in alphabetical order; empty
            without a tagger.
        references: images of the concept from the dataset; empty for the dataset itself.
    """

    images: Sequence[Image.Image]
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    prompts: Sequence[PromptSpec] = ()
    requested: Sequence[Sequence[str]] = ()
    references: Sequence[Image.Image] = ()


@runtime_checkable
class QualityPredictorLike(Protocol):
    """A network that serves one metric: one row of numbers per image; see `lycoris.metrics.quality_predictors`."""

    @property
    def metric(self) -> str: ...
    @property
    def name(self) -> str: ...
    def predict(self, inputs: PredictionInputs) -> np.ndarray: ...
