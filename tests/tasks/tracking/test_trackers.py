"""Trackers beside MLflow: a training reaches TensorBoard and Weights & Biases, and a broken one stops nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lycoris.errors import InputError
from lycoris.terms import TRACKERS
from tasks.tracking.trackers import OPENERS, TrackerCurves, check_trackers


def record(folder: Path, key: str, steps: range, *, finished: bool) -> dict[str, Any]:
    """A record as `tasks.runtime.curves` sends it, with a sample image at its last step."""
    sample = folder / f"{key}-{steps[-1]}.png"
    Image.new("RGB", (16, 12), "red").save(sample)
    return {
        "key": key,
        "name": f"adapter-{key}",
        "points": [(step, 1 / step, 1e-3, 1000 * step) for step in steps],
        "samples": [(steps[-1], [str(sample)])],
        "finished": finished,
    }


def log_two_trainings(tracker: str, folder: Path) -> None:
    """Log two trainings that run at the same time."""
    curves = TrackerCurves([tracker], "study", folder)
    for key in ("a", "b"):
        curves(record(folder, key, range(1, 4), finished=False))
    for key in ("a", "b"):
        curves(record(folder, key, range(4, 6), finished=key == "a"))
    curves.close()


def test_every_tracker_is_listed_with_what_opens_it() -> None:
    assert OPENERS.keys() == TRACKERS.keys()


def test_tensorboard_has_loss_rate_and_images_of_each_training(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log_two_trainings("tensorboard", tmp_path)
    for key in ("a", "b"):
        events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "study" / f"adapter-{key}")).Reload()
        assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5]
        assert events.Scalars("loss")[1].value == pytest.approx(0.5)
        assert events.Scalars("learning_rate")[0].value == pytest.approx(1e-3)
        images = [image for tag in events.Tags()["images"] for image in events.Images(tag)]
        assert [(image.step, image.width, image.height) for image in images] == [(3, 16, 12), (5, 16, 12)]


def test_weights_and_biases_has_a_run_of_each_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_two_trainings("wandb", tmp_path)
    wandb.teardown()  # writes what is left
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    for run in runs:
        (file,) = run.glob("*.wandb")
        content = file.read_bytes()
        assert content.count(b"learning_rate") >= 5
        assert b"sample 0" in content
        assert len(list(run.rglob("*.png"))) == 2


def test_a_tracker_that_fails_is_left_out_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    curves = TrackerCurves(["tensorboard"], "study", tmp_path)
    with caplog.at_level(logging.WARNING):
        curves(record(tmp_path, "a", range(1, 3), finished=False))
        curves(record(tmp_path, "a", range(3, 5), finished=True))
    curves.close()
    assert len(caplog.records) == 1
    assert "not logged to tensorboard any more" in caplog.text


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_an_error_that_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, name, "no_such_package")
    with pytest.raises(InputError, match=rf"`{name}`.*pip install 'lycoris-pipeline\[{name}\]'"):
        check_trackers([name])
