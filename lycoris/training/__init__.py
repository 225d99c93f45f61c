"""Training an attached network on captioned pictures."""

from lycoris.training.buckets import buckets, nearest_bucket
from lycoris.training.divergence import TrainingDiverged
from lycoris.training.loop import train, train_together
from lycoris.training.pictures import Example
from lycoris.training.run import Job, TrainingResult
from lycoris.training.settings import TrainingSettings
from lycoris.training.validation import Validation, held_out
from lycoris.training.watching import Checkpoints, Look, Moment, Samples, When

__all__ = [
    "Checkpoints",
    "Example",
    "Job",
    "Look",
    "Moment",
    "Samples",
    "TrainingDiverged",
    "TrainingResult",
    "TrainingSettings",
    "Validation",
    "When",
    "buckets",
    "held_out",
    "nearest_bucket",
    "train",
    "train_together",
]
