"""The order of what is chosen to fit a card, and what it says."""

from __future__ import annotations

import pytest

from lycoris.bases.sampling import GenerationSettings
from lycoris.errors import InputError
from lycoris.planning.cards import CARDS, GIB, parse_memory
from lycoris.planning.fitting import fit_card, usable
from lycoris.planning.records import BasePlan, Phase, TrainingPlan, Workload, WorkPlan
from lycoris.training import TrainingSettings

WORKLOAD = Workload(
    network={"algorithm": "lora"},
    training=TrainingSettings(steps=1, batch_size=6),
    generation=GenerationSettings(batch_size=2),
)


def plan_by_rule(workload: Workload) -> WorkPlan:
    """A plan of 10 GB of denoiser, 10 of text encoders and 2 of activations an image, checkpointed one."""
    share = {"nf4": 0.25, "int8": 0.5}
    denoiser = 10 * GIB * share.get(workload.precisions.get("denoiser", ""), 1)
    text = 10 * GIB * share.get(workload.precisions.get("text_encoders", ""), 1)
    image = GIB if workload.training.gradient_checkpointing else 2 * GIB
    resident = round(denoiser if workload.offload else denoiser + text)
    phases = {
        "captions": Phase(round(text if workload.offload else denoiser + text), 0),
        "training": Phase(resident, image * workload.training.batch_size),
        "denoising": Phase(resident, GIB * workload.generation.batch_size),
    }
    return WorkPlan(BasePlan("test", {}, {}, 64, 1, "bfloat16"), TrainingPlan(1, {}, 1, False), phases)


def chosen(memory: float) -> tuple[Workload, tuple[str, ...]]:
    choice = fit_card(WORKLOAD, round(memory * GIB), plan_by_rule)
    assert choice.plan.peak <= usable(choice.memory)
    return choice.workload, choice.changes


def test_nothing_is_changed_where_it_fits() -> None:
    workload, changes = chosen(40)
    assert workload == WORKLOAD
    assert changes == ()


def test_what_changes_no_result_comes_first() -> None:
    assert chosen(26)[0].offload
    assert not chosen(26)[0].training.gradient_checkpointing
    checkpointed = chosen(18)[0]
    assert checkpointed.training.gradient_checkpointing
    assert checkpointed.training.batch_size == 6
    assert checkpointed.precisions == {}


def test_a_smaller_batch_is_accumulated_to_the_same_images_a_step() -> None:
    training = chosen(15)[0].training
    assert (training.batch_size, training.gradient_accumulation_steps) == (3, 2)
    assert training.effective_batch_size == WORKLOAD.training.effective_batch_size


def test_fewer_bits_are_chosen_last_and_for_the_part_that_needs_them() -> None:
    workload, changes = chosen(7)
    assert workload.precisions == {"text_encoders": "int8", "denoiser": "int8"}
    assert workload.training.batch_size == 1
    assert "int8" in changes[-1]
    assert "training needed" in " ".join(changes)


def test_what_is_not_installed_is_not_chosen_and_the_nearest_figure_is_told() -> None:
    with pytest.raises(InputError, match=r"least planned peak is 11.0 GB, in training"):
        fit_card(WORKLOAD, 7 * GIB, plan_by_rule, precisions=())


def test_an_algorithm_that_needs_whole_weights_keeps_them() -> None:
    def plan(workload: Workload) -> WorkPlan:
        if workload.precisions.get("denoiser"):
            raise InputError("Algorithm `full` needs the weight itself.")
        return plan_by_rule(workload)

    with pytest.raises(InputError, match="least planned peak"):
        fit_card(WORKLOAD, 7 * GIB, plan)


@pytest.mark.parametrize(("text", "size"), [("12GB", 12), ("12", 12), ("7.5 GiB", 7.5), ("rtx-4090", 24)])
def test_memory_is_read_as_cards_are_sold(text: str, size: float) -> None:
    assert parse_memory(text) == size * GIB


@pytest.mark.parametrize("text", ["0GB", "-1", "12MB", "much", "rtx-9999"])
def test_another_size_is_an_error_of_one_sentence(text: str) -> None:
    with pytest.raises(InputError, match=r"number of gigabytes|card"):
        parse_memory(text)


def test_every_card_has_memory_and_a_rate() -> None:
    assert all(card.memory >= 8 * GIB and card.tflops > 10 for card in CARDS.values())
