"""What a plan says: counts, what is there already, and an estimate with its source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.config.loading import parse_experiment
from flows.studies.plan import count_work, describe_plan, selected_concepts
from flows.studies.timing import timings_from_cache
from lycoris.cache.store import Store
from lycoris.errors import InputError


def test_counts_follow_captions_checkpoints_and_the_bases_share(tmp_path: Path) -> None:
    experiment = parse_experiment(
        {"algorithms": ["lora", {"algorithm": "full", "captions": ["none", "all"]}], "captions": ["all"],
         "seeds": [0, 1], "checkpoints": [10, 120], "images": {"train": 2, "trigger": 3, "alter": 0, "style": 0}}
    )  # fmt: skip
    work = count_work(experiment, 4)
    assert work.adapters == 4 * 3 * 2
    assert work.evaluations == 2 * work.adapters  # step 120 is the end
    assert work.images == 5 * work.evaluations + 4 * (3 + 2 * 2)
    assert work.cached_adapters == 0


def test_a_base_that_is_not_here_leaves_counts(tmp_path: Path) -> None:
    lines = describe_plan(parse_experiment({"base": str(tmp_path / "nothing"), "output": str(tmp_path / "runs")}))
    assert lines[0].startswith("24 adapters: 2 concepts x 4 algorithms x 3 captions x 1 seeds")
    assert "not known" in lines[-1]
    assert not (tmp_path / "runs").exists()


def test_what_was_measured_is_taken_from_the_store_and_only_of_the_same_base(tmp_path: Path) -> None:
    experiment = parse_experiment({"algorithms": ["lora", "lokr"], "output": str(tmp_path)})
    store = Store(tmp_path / "store")
    for base, seconds in (("here", 6.0), ("here", 12.0), ("here", 24.0), ("elsewhere", 600.0)):
        inputs = {"base": base, "settings": experiment.adapter_settings(experiment.algorithms[0]), "seed": seconds}
        with store.create("adapter", inputs) as folder:
            (folder / "training.json").write_text(json.dumps({"step": 120, "seconds": seconds}))
    found = timings_from_cache(experiment, "here")
    assert found.step_seconds == {"lora": 0.1}
    assert found.image_seconds is None
    assert not found.is_complete(experiment.algorithms)


def test_a_trial_stands_in_where_nothing_was_measured(tmp_path: Path) -> None:
    values = {"algorithms": ["lora"], "captions": ["none"], "concepts": ["grumble"], "sampling": {"steps": 2}}
    experiment = parse_experiment({**values, "output": str(tmp_path / "runs"), "encoders": ["clip"]})
    lines = describe_plan(experiment)
    text = "\n".join(lines)
    for part in ("1 adapters", "86 pictures", "about", "613,376 numbers", "an estimate, from a trial here of lora"):
        assert part in text
    assert not (tmp_path / "runs").exists()
    assert [concept.name for concept in selected_concepts(experiment)] == ["grumble"]


def test_a_data_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data folder"):
        describe_plan(parse_experiment({"data": str(tmp_path / "photos")}))
