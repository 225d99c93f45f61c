"""The plan of an experiment, and the choice of `fit` as its settings."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from flows.cli.main import main
from flows.config.experiment import Experiment
from flows.config.loading import parse_experiment
from flows.studies.card_plan import apply_choice, fit_experiment, workload_of
from lycoris.errors import InputError
from tests.bases.small_base import save_small_base


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_small_base(tmp_path_factory.mktemp("card") / "base"))


def experiment(base: str, **options: object) -> Experiment:
    return parse_experiment({"base": base, "algorithms": ["lora"], "encoders": ["clip"], **options})


def test_the_command_tells_memory_flops_and_hours(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "--set", f"base={small}", "--set", "algorithms=lora", "--set", "encoders=clip"]
    assert main([*arguments, "--gpu", "rtx-3060", "--json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    (plan,) = json.loads(printed[-1])["adapters"]
    assert plan["peak"] == max(phase["peak"] for phase in plan["phases"].values())
    assert plan["hours"] > 0
    assert plan["base"]["dtype"] == "bfloat16"
    text = "\n".join(printed)
    assert "an assumption" in text
    assert "Nothing has to be changed." in text
    assert f"{plan['training']['parameters']:,} parameters" in text


def test_an_unknown_card_is_one_sentence(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--set", f"base={small}", "--gpu", "rtx-4091"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_invalid_size_in_an_experiment_is_an_error() -> None:
    with pytest.raises(InputError, match="card `lots`"):
        experiment("pocket", fit="lots")


def test_what_fits_is_not_changed(small: str) -> None:
    wanted = experiment(small, fit="12GB")
    fitted, lines = fit_experiment(wanted)
    assert fitted == wanted
    assert "Nothing has to be changed." in lines[0]


def test_a_choice_becomes_settings_and_nothing_else(tmp_path: Path) -> None:
    wanted = experiment("pocket", fit="12GB", algorithms=[{"algorithm": "lora"}, {"algorithm": "lokr", "rank": 4}])
    first = wanted.algorithms[0]
    workload = workload_of(wanted, first, on_gpu=True)
    training = dataclasses.replace(
        workload.training, batch_size=2, gradient_accumulation_steps=3, gradient_checkpointing=True
    )
    chosen = dataclasses.replace(workload, training=training, offload=True, precisions={"denoiser": "nf4"})
    fitted = apply_choice(wanted, 0, chosen)
    for adapter in fitted.algorithms:
        settings = fitted.adapter_settings(adapter).training
        assert (settings["batch_size"], settings["gradient_accumulation_steps"]) == (2, 3)
        assert settings["gradient_checkpointing"]
    assert [adapter.label for adapter in fitted.algorithms] == [adapter.label for adapter in wanted.algorithms]
    assert fitted.base_options().precision == {"denoiser": "nf4"}
    assert fitted.offload
    # The same settings, written by hand, give the same training.
    by_hand = experiment(
        "pocket",
        precision={"denoiser": "nf4"},
        training={"batch_size": 2, "gradient_accumulation_steps": 3, "gradient_checkpointing": True},
    )
    assert by_hand.adapter_settings(by_hand.algorithms[0]) == fitted.adapter_settings(fitted.algorithms[0])


def test_an_adapter_with_a_batch_of_its_own_keeps_the_images_of_its_step() -> None:
    own = {"algorithm": "lora", "training": {"batch_size": 4}}
    wanted = experiment("pocket", algorithms=[own, {"algorithm": "loha"}])
    workload = workload_of(wanted, wanted.algorithms[0], on_gpu=False)
    training = dataclasses.replace(workload.training, batch_size=2, gradient_accumulation_steps=2)
    fitted = apply_choice(wanted, 0, dataclasses.replace(workload, training=training))
    batches = [fitted.adapter_settings(adapter).training["batch_size"] for adapter in fitted.algorithms]
    assert batches == [2, wanted.adapter_settings(wanted.algorithms[1]).training["batch_size"]]
