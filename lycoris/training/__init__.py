"""Training an attached network on captioned pictures."""

from lycoris.training.callbacks import Checkpoints, Look, Moment, Samples, When
from lycoris.training.config import TrainingSettings
from lycoris.training.data.buckets import buckets, nearest_bucket
from lycoris.training.data.image_dataset import Example
from lycoris.training.divergence import TrainingDiverged
from lycoris.training.loop import train, train_together
from lycoris.training.training_run import Job, TrainingResult
from lycoris.training.validation import Validation, held_out

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
