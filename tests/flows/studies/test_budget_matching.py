"""Budget matching: capacities of equal size, lengths of equal time, and algorithms without a capacity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.config.experiment import Experiment
from flows.studies.budget_matching import BudgetMatch, match_parameters, match_time, parse_budget
from lycoris.bases.parameter_count import count_parameters, meta_parts
from lycoris.errors import InputError
from tasks.trainings import AdapterSettings


def count_two_layers(settings: AdapterSettings) -> int:
    """Return the size on a model of two layers: LoRA 100 rank (at most 50), LoKr 6400 / factor², full 9000."""
    if settings.algorithm == "lokr":
        return round(6400 / settings.factor**2)
    if settings.algorithm == "full":
        return 9000
    if not 1 <= settings.rank <= 50:
        raise InputError("Argument `rank` must be in [1, 50].")
    return {"lora": 100, "loha": 200}[settings.algorithm] * settings.rank


def test_each_adapter_gets_the_size_nearest_to_the_first() -> None:
    experiment = Experiment.model_validate({"algorithms": ["lora", "loha", "lokr", "full"]})
    matched, lines = match_parameters(experiment, None, count_two_layers)
    assert [adapter.label for adapter in matched.algorithms] == ["lora", "loha", "lokr factor=3", "full"]
    assert len(lines) == 5
    assert "800 numbers" in lines[0]
    assert "left unchanged" in lines[-1]
    assert matched.adapter_settings(matched.algorithms[1]).rank == 4


def test_a_named_adapter_sets_the_size_and_alpha_follows_the_rank() -> None:
    experiment = Experiment.model_validate(
        {"algorithms": [{"algorithm": "lora", "rank": 8, "alpha": 2}, "loha", "lokr"]}
    )
    matched, _ = match_parameters(experiment, "loha", lambda settings: count_two_layers(settings) * 2)
    assert [adapter.label for adapter in matched.algorithms][:2] == ["lora rank=8 alpha=2.0", "loha"]
    larger = Experiment.model_validate({"algorithms": [{"algorithm": "lora", "rank": 4, "alpha": 2}, "loha"]})
    matched, _ = match_parameters(larger, "loha", count_two_layers)
    assert (matched.algorithms[0].rank, matched.algorithms[0].alpha) == (8, 4.0)


def test_the_largest_possible_rank_is_used_if_the_size_cannot_be_reached() -> None:
    experiment = Experiment.model_validate({"algorithms": ["full", "lora"]})
    matched, _ = match_parameters(experiment, None, count_two_layers)
    assert matched.algorithms[1].rank == 50


def test_sizes_on_the_pocket_base_differ_by_less_than_ten_percent() -> None:
    parts = meta_parts("pocket")
    experiment = Experiment.model_validate({"algorithms": ["lora", "glora"]})
    matched, _ = match_parameters(experiment, None, lambda settings: count_parameters(parts, settings.as_dict()))
    sizes = [count_parameters(parts, matched.adapter_settings(adapter).as_dict()) for adapter in matched.algorithms]
    assert 0.9 < sizes[1] / sizes[0] < 1.1


def test_measured_times_are_saved_so_that_a_resumed_study_has_the_same_lengths(tmp_path: Path) -> None:
    experiment = Experiment.model_validate({"algorithms": ["lora", "lokr", {"algorithm": "full", "steps": 30}]})
    seconds = {"lora": 0.1, "lokr": 0.2, "full steps=30": 0.05}
    file = tmp_path / "study" / "budget.json"
    matched, lines = match_time(experiment, None, lambda: seconds, file)
    assert [matched.adapter_settings(adapter).training["steps"] for adapter in matched.algorithms] == [120, 60, 240]
    assert json.loads(file.read_text())["step_seconds"] == seconds
    again, _ = match_time(experiment, None, lambda: pytest.fail("measured again"), file)
    assert again == matched
    assert "120 steps of `lora`" in lines[0]


def test_lengths_in_epochs_are_matched_and_units_are_not_mixed(tmp_path: Path) -> None:
    values = {"algorithms": ["lora", "lokr"], "training": {"epochs": 40}}
    matched, _ = match_time(
        Experiment.model_validate(values), "lokr", lambda: {"lora": 0.1, "lokr": 0.4}, tmp_path / "b.json"
    )
    assert [matched.adapter_settings(adapter).training["epochs"] for adapter in matched.algorithms] == [160, 40]
    mixed = Experiment.model_validate({"algorithms": ["lora", {"algorithm": "lokr", "training": {"epochs": 3}}]})
    with pytest.raises(InputError, match="one unit"):
        match_time(mixed, None, lambda: {"lora": 0.1, "lokr training": 1, mixed.algorithms[1].label: 1}, tmp_path / "c")


def test_the_field_of_a_study_file_is_a_kind_with_an_optional_reference() -> None:
    assert parse_budget(None) is None
    assert parse_budget("time") == BudgetMatch(kind="time")
    assert parse_budget({"parameters": "lokr"}) == BudgetMatch(kind="parameters", reference="lokr")
    with pytest.raises(InputError, match="Did you mean `parameters`"):
        parse_budget("parameter")
    with pytest.raises(InputError, match="lokr"):
        match_parameters(Experiment.model_validate({"algorithms": ["lora"]}), "lokr", count_two_layers)


def count_methods_of_peft(settings: AdapterSettings) -> int:
    """Return a size of 100 numbers for each rank, 40 for each vector of a block, and of 500 where no option sets it."""
    if settings.algorithm == "lora":
        return 800
    if settings.algorithm == "peft:oft":
        size = settings.options["oft_block_size"]
        if size > 64:
            raise InputError("The blocks are larger than a layer.")
        return 40 * size
    return 500 if settings.algorithm == "peft:road" else 100 * settings.options["r"]


def test_a_method_of_peft_is_matched_by_the_option_that_sets_its_size() -> None:
    methods = [{"algorithm": "peft:hra", "r": 32}, {"algorithm": "peft:oft", "oft_block_size": 4}, "peft:road"]
    experiment = Experiment.model_validate({"algorithms": ["lora", *methods]})
    matched, lines = match_parameters(experiment, None, count_methods_of_peft)
    labels = [adapter.label for adapter in matched.algorithms]
    assert labels == ["lora", "peft:hra r=8", "peft:oft oft_block_size=16", "peft:road"]
    assert "640 numbers, 0.80 times" in lines[3]
    assert "left unchanged" in lines[-1]


def test_methods_that_decompose_the_weights_are_counted_without_them() -> None:
    pytest.importorskip("peft")
    parts = meta_parts("pocket")
    sizes = {
        name: count_parameters(parts, {"algorithm": f"peft:{name}", "preset": "attn-only", "options": options})
        for name, options in (("shira", {"r": 4}), ("hra", {"r": 4}))
    }
    assert all(sizes.values())
    assert all(parameter.device.type == "meta" for part in parts.values() for parameter in part.parameters())
