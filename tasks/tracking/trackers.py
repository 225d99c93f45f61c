"""Log the curves of trainings to TensorBoard or Weights & Biases while they run, through accelerate's trackers."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.errors import InputError
from lycoris.terms import TRACKERS

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

logger = logging.getLogger("lycoris.tasks.tracking")


def check_trackers(names: Sequence[str]) -> None:
    """Check that the packages of trackers are installed.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if importlib.util.find_spec(TRACKERS[name]) is None:
            raise InputError(
                f"Option `trackers` has `{name}`, whose package `{TRACKERS[name]}` is not installed: "
                f"pip install 'lycoris-pipeline[{name}]'."
            )


class TrackerCurves:
    """Logs records of `tasks.runtime.curves`, a tracker's run for each training.

    A tracker that fails is left out with one warning: a training never waits for it.

    Args:
        names: of `lycoris.terms.TRACKERS`.
        study: name of the study: the project of Weights & Biases, a folder of TensorBoard.
        folder: where TensorBoard's files and those of Weights & Biases are written.
    """

    def __init__(self, names: Sequence[str], study: str, folder: Path) -> None:
        self._study, self._folder = study, folder
        self._names = list(names)
        self._open: dict[tuple[str, str], GeneralTracker] = {}

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Log one record."""
        for name in list(self._names):
            try:
                self._log(name, record)
            except Exception as error:  # the errors of trackers have no common base class
                self._names.remove(name)
                logger.warning("Curves are not logged to %s any more during this run's trainings: %s", name, error)

    def after(self, other: Callable[[Mapping[str, Any]], object]) -> Callable[[Mapping[str, Any]], None]:
        """A function that hands each record to another one, and then logs it."""

        def log(record: Mapping[str, Any]) -> None:
            other(record)
            self(record)

        return log

    def close(self) -> None:
        """End the runs of all trackers."""
        for name, key in list(self._open):
            try:
                self._open.pop((name, key)).finish()
            except Exception as error:  # as above
                logger.warning("A run of %s could not be ended: %s", name, error)

    def _log(self, name: str, record: Mapping[str, Any]) -> None:
        tracker = self._tracker(name, record)
        for step, loss, rate, _ in record["points"]:
            tracker.log({"loss": loss, "learning_rate": rate}, step=step)
        for step, files in record["samples"]:
            images = [_read_image(Path(file)) for file in files if Path(file).is_file()]
            if images:  # another machine's folder may not be seen here
                self._log_images(name, tracker, images, step)
        if record["finished"]:
            self._open.pop((name, record["key"])).finish()

    def _log_images(self, name: str, tracker: Any, images: Sequence[Any], step: int) -> None:
        options = {"dataformats": "NHWC"} if name == "tensorboard" else {}
        values = {f"sample {number}": image[None] for number, image in enumerate(images)}
        tracker.log_images(values, step=step, **options)

    def _tracker(self, name: str, record: Mapping[str, Any]) -> GeneralTracker:
        from accelerate import PartialState

        key = (name, record["key"])
        if key not in self._open:
            PartialState(cpu=True)  # the process that shows a run takes no GPU
            tracker = OPENERS[name](self._study, record["name"], self._folder)
            tracker.start()
            self._open[key] = tracker
        return self._open[key]


def _open_tensorboard(study: str, name: str, folder: Path) -> GeneralTracker:
    from accelerate.tracking import TensorBoardTracker

    return TensorBoardTracker(name, folder / "tensorboard" / study)


def _open_wandb(study: str, name: str, folder: Path) -> GeneralTracker:
    from accelerate.tracking import WandBTracker

    folder.mkdir(parents=True, exist_ok=True)
    settings = {"console": "off", "silent": True}  # the output of this process is not its to read
    return WandBTracker(study, name=name, dir=str(folder), reinit="create_new", settings=settings)


OPENERS: Mapping[str, Callable[[str, str, Path], Any]] = {"tensorboard": _open_tensorboard, "wandb": _open_wandb}


def _read_image(file: Path) -> Any:
    import numpy as np

    from lycoris.data.image_opening import open_image

    with open_image(file) as image:
        return np.array(image.convert("RGB"))
