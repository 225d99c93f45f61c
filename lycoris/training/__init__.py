"""Train an attached network on captioned images."""

from lycoris.training.callbacks import (
    Callback,
    CallbackSchedule,
    CheckpointCallback,
    ImageCallback,
    TrainingPoint,
)
from lycoris.training.config import TrainingSettings
from lycoris.training.data.buckets import bucket_sizes, nearest_bucket
from lycoris.training.data.image_dataset import Example
from lycoris.training.divergence import TrainingDivergedError
from lycoris.training.job import TrainingJob, TrainingResult
from lycoris.training.loop import co_train, train
from lycoris.training.validation import ValidationCallback, split_examples

__all__ = [
    "Callback",
    "CallbackSchedule",
    "CheckpointCallback",
    "Example",
    "ImageCallback",
    "TrainingDivergedError",
    "TrainingJob",
    "TrainingPoint",
    "TrainingResult",
    "TrainingSettings",
    "ValidationCallback",
    "bucket_sizes",
    "co_train",
    "nearest_bucket",
    "split_examples",
    "train",
]
