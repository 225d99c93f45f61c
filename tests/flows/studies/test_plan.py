"""Plans: counts, cached work, and an estimate with its source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli.main import main
from flows.config.loading import parse_experiment
from flows.studies.plan import count_work, describe_plan
from flows.studies.timing import timings_from_cache
from lycoris.cache.store import Store
from lycoris.errors import InputError
from tasks.trainings import SUMMARY_FILE, TrainingSummary

SUMMARY = TrainingSummary(
    step=120, epoch=1.0, losses=[], binned_losses={}, callback_records=[], parameters=0, layers=0, seconds=0.0,
    co_trained=1, peak_memory=None, image_count=0, upscaled_count=0, skipped_images={},
)  # fmt: skip


def test_counts_include_captions_checkpoints_and_images_of_the_base(tmp_path: Path) -> None:
    experiment = parse_experiment(
        {"algorithms": ["lora", {"algorithm": "full", "captions": ["none", "all"]}], "captions": ["all"],
         "seeds": [0, 1], "checkpoints": [10, 120], "images": {"train": 2, "trigger": 3, "alter": 0, "style": 0}}
    )  # fmt: skip
    work = count_work(experiment, 4)
    assert work.adapters == 4 * 3 * 2
    assert work.evaluations == 2 * work.adapters  # step 120 is the end
    assert work.images == 5 * work.evaluations + 4 * (3 + 2 * 2)
    assert work.cached_adapters == 0


def test_without_the_base_a_plan_has_counts_only(tmp_path: Path) -> None:
    lines = describe_plan(parse_experiment({"base": str(tmp_path / "nothing"), "output": str(tmp_path / "runs")}))
    assert lines[0].startswith("24 adapters: 2 concepts x 4 adapter settings x 3 caption strategies x 1 seed")
    assert "not known" in lines[-1]
    assert not (tmp_path / "runs").exists()


def test_times_are_taken_from_the_store_for_the_same_base_only(tmp_path: Path) -> None:
    experiment = parse_experiment({"algorithms": ["lora", "lokr"], "output": str(tmp_path)})
    store, settings = Store(tmp_path / "store"), experiment.adapter_settings(experiment.algorithms[0])
    for base, seconds in (("here", 6.0), ("here", 12.0), ("here", 24.0), ("elsewhere", 600.0)):
        inputs = {"base": base, "settings": settings.as_dict(), "seed": seconds}
        with store.create("adapter", inputs) as folder:
            (folder / SUMMARY_FILE).write_text(replace(SUMMARY, seconds=seconds).to_json())
    timings = timings_from_cache(experiment, "here")
    assert timings.step_seconds == {"lora": 0.1}
    assert timings.image_seconds is None
    assert not timings.is_complete(experiment.algorithms)


def test_run_plans_and_a_benchmark_replaces_missing_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"algorithms": "lora", "captions": "none", "concepts": "grumble", "sampling.steps": 2, "encoders": "clip"}
    options = [f"--set={name}={value}" for name, value in {**values, "output": tmp_path / "runs"}.items()]
    assert main(["run", "--plan", *options]) == 0
    text = capsys.readouterr().out
    for part in (
        "1 adapter: 1 concept",
        "86 images",
        "about",
        "613,376 parameters",
        "an estimate for a machine that does nothing else, from a benchmark on this machine of lora",
    ):
        assert part in text
    assert not (tmp_path / "runs").exists()


def test_a_missing_data_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data folder"):
        describe_plan(parse_experiment({"data": str(tmp_path / "photos")}))
