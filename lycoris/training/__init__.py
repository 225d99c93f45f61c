"""Training an attached network on captioned pictures."""

from lycoris.training.buckets import buckets, nearest_bucket
from lycoris.training.loop import TrainingDiverged, TrainingResult, train
from lycoris.training.pictures import Example
from lycoris.training.settings import TrainingSettings

__all__ = [
    "Example",
    "TrainingDiverged",
    "TrainingResult",
    "TrainingSettings",
    "buckets",
    "nearest_bucket",
    "train",
]
