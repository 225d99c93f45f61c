"""Losses, learning rates and sample images of a training that runs, sent to the process that shows the run.

A point is (step, loss, learning rate, milliseconds since 1970).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lycoris.cache.keys import stage_key
from tasks.runtime import progress
from tasks.runtime.adapter_training import SAMPLES_DIR, AdapterTraining

if TYPE_CHECKING:
    from lycoris.training import TrainingSettings

INTERVAL = 10
"""Steps between two records of one training."""


@dataclass
class CurveReporter:
    """Reports one training; call it with (steps done, steps in total, loss) after a step."""

    training: AdapterTraining
    settings: TrainingSettings
    _points: list[tuple[int, float, float, int]] = field(default_factory=list)
    _samples: set[Path] = field(default_factory=set)

    @classmethod
    def of_training(cls, training: AdapterTraining) -> CurveReporter:
        """A reporter that has reported nothing yet."""
        from lycoris.training import TrainingSettings

        return cls(training, TrainingSettings(**training.request.settings.training))

    def __call__(self, done: int, steps: int, loss: float) -> None:
        """Note a step, and send what was noted every `INTERVAL` steps, at the end and with new sample images."""
        from lycoris.training.optim.schedules import lr_scale

        options = self.settings
        scale = lr_scale(options.schedule, done - 1, steps, options.warmup_steps, options.cycles)
        self._points.append((done, round(loss, 6), options.learning_rate * scale, int(1000 * time.time())))
        samples = self._new_samples(done)
        if samples or done == steps or done // INTERVAL > (self._points[0][0] - 1) // INTERVAL:
            request = self.training.request
            record = {
                "key": stage_key("adapter", self.training.stage_inputs[None]),
                "name": request.spec.name,
                "points": self._points,
                "samples": samples,
                "finished": done == steps,
            }
            progress.publish(self.training.context.progress, "curve", record)
            self._points = []

    def _new_samples(self, done: int) -> list[tuple[int, list[str]]]:
        """Step -> files of the sample images that were generated since the last step."""
        if self.training.request.samples is None:
            return []
        folders = set((self.training.work_dir / SAMPLES_DIR).glob("*")) - self._samples
        self._samples |= folders
        return [
            (0 if folder.name == "0" else done, [str(file) for file in sorted(folder.glob("*.png"))])
            for folder in sorted(folders)
        ]
