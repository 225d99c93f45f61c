"""Training an attached network on captioned pictures."""

from lycoris.training.buckets import buckets, nearest_bucket
from lycoris.training.divergence import TrainingDiverged
from lycoris.training.loop import train, train_together
from lycoris.training.pictures import Example
from lycoris.training.run import Job, TrainingResult
from lycoris.training.settings import TrainingSettings

__all__ = [
    "Example",
    "Job",
    "TrainingDiverged",
    "TrainingResult",
    "TrainingSettings",
    "buckets",
    "nearest_bucket",
    "train",
    "train_together",
]
