"""Planned memory and counts against real trainings: the plan runs on shapes, the measurement is the allocator's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lycoris
from lycoris.bases import Base, open_base
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.errors import InputError
from lycoris.planning.meter import Meter
from lycoris.planning.plan import find_files, plan_work
from lycoris.planning.records import Workload, WorkPlan
from lycoris.training import Example, TrainingJob, TrainingSettings, train
from tests.bases.small_base import save_small_base
from tests.bases.small_flow_families import FLOW_CASES
from tests.planning.measured_memory import allocator_peak

CAPTION = "a photo of a cat"
NETWORK = {"algorithm": "lora", "preset": "unet-attn-mlp", "rank": 4}


def plan(source: str, **changes: object) -> WorkPlan:
    settings = {
        "network": NETWORK,
        "training": TrainingSettings(steps=2, batch_size=2, caption_dropout=0),
        "dtype": "float32",
        "on_gpu": False,
        "caption": CAPTION,
        "generation": GenerationSettings(steps=1, batch_size=2),
    }
    files, family = find_files(source)
    return plan_work(files, family, source, Workload(**{**settings, **changes}))


def training_peak(base: Base, folder: Path, network: dict, settings: TrainingSettings) -> int:
    """Bytes that the allocator holds at most in a training, beyond the base."""
    side = base.resolution
    examples = []
    for number in range(settings.batch_size):
        path = folder / f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR).save(path)
        examples.append(Example(path, CAPTION))

    def work() -> None:
        attached = lycoris.attach(base.parts, **network)
        train(base, TrainingJob(attached, examples, settings, seed=0))
        attached.detach()

    return allocator_peak(work)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Stable Diffusion of a few layers."""
    return str(save_small_base(tmp_path_factory.mktemp("planned") / "base"))


@pytest.fixture(scope="module")
def planned(small: str) -> WorkPlan:
    return plan(small)


@pytest.mark.parametrize(
    ("network", "checkpointing"),
    [(NETWORK, False), ({"algorithm": "lokr", "preset": "full", "factor": 8}, True)],
    ids=["lora", "lokr-checkpointed"],
)
@pytest.mark.parametrize("source", ["small", pytest.param("pocket", marks=pytest.mark.slow)])
def test_the_planned_peak_is_that_of_a_training(
    request: pytest.FixtureRequest, tmp_path: Path, source: str, network: dict, checkpointing: bool
) -> None:
    source = request.getfixturevalue(source) if source == "small" else source
    settings = TrainingSettings(steps=2, batch_size=2, caption_dropout=0, gradient_checkpointing=checkpointing)
    phase = plan(source, network=network, training=settings).phases["training"]
    base = open_base(source, device="cpu", dtype="float32")
    measured = phase.resident + training_peak(base, tmp_path, network, settings)
    assert phase.peak == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize(
    "name", ["qwen-image", *(pytest.param(name, marks=pytest.mark.slow) for name in ("klein", "z-image"))]
)
def test_the_planned_peak_of_a_flow_family_is_that_of_a_training(tmp_path: Path, name: str) -> None:
    source, network = str(FLOW_CASES[name].save(tmp_path / "base")), {**NETWORK, "preset": "attn-mlp"}
    settings = TrainingSettings(steps=2, batch_size=2, caption_dropout=0)
    phase = plan(source, network=network, training=settings, resolution=32).phases["training"]
    base = open_base(source, device="cpu", dtype="float32", resolution=32)
    measured = phase.resident + training_peak(base, tmp_path, network, settings)
    assert phase.peak == pytest.approx(measured, rel=0.05)


def test_the_other_phases_are_those_of_the_base(small: str, planned: WorkPlan) -> None:
    base, phases = open_base(small, device="cpu", dtype="float32"), planned.phases
    assert phases["training"].resident == sum(planned.base.bytes.values())
    text = allocator_peak(lambda: base.encode_text([CAPTION]))
    assert phases["captions"].working == pytest.approx(text, rel=0.05)
    with Meter() as meter, torch.no_grad():  # of tensors: a convolution on a CPU has its own buffers beyond them
        base.encode_images(torch.rand(1, 3, base.resolution, base.resolution))
    assert phases["latents"].working == meter.peak
    network = lycoris.attach(base.parts, **NETWORK)

    def generation() -> None:
        network.merge()
        generate(base, [CAPTION] * 2, [0, 1], GenerationSettings(steps=1, batch_size=2))

    measured = phases["training"].resident + allocator_peak(generation)
    assert max(phases[name].peak for name in ("prompts", "denoising", "decoding")) == pytest.approx(measured, rel=0.05)


def test_configurations_alone_give_the_same_plan(tmp_path: Path) -> None:
    whole, bare = FLOW_CASES["flux-1"].save(tmp_path / "whole"), tmp_path / "bare"
    for file in [*whole.glob("*.json"), *whole.glob("*/config.json"), *whole.glob("scheduler/*.json")]:
        target = bare / file.relative_to(whole)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    ours, other = plan(str(bare)), plan(str(whole))
    assert ours.base.parameters == other.base.parameters
    assert ours.training == other.training  # FLUX.1 pads captions to one length, so tokenizers do not matter
    assert ours.phases["training"] == other.phases["training"]


def test_offloaded_and_quantised_weights_hold_the_bytes_of_their_bits_while_they_work(
    small: str, planned: WorkPlan
) -> None:
    packed = plan(small, precisions={"denoiser": "nf4"}, offload=True)
    assert packed.base.parameters == planned.base.parameters
    assert packed.training.layers == planned.training.layers
    assert packed.base.bytes["text_encoder"] == planned.base.bytes["text_encoder"]
    assert packed.base.bytes["unet"] < planned.base.bytes["unet"]
    assert packed.phases["training"].resident == packed.base.bytes["unet"]
    assert packed.phases["latents"].resident == planned.base.bytes["vae"]


def test_checkpointing_on_a_gpu_recomputes_in_the_precisions_of_the_forward_pass(small: str, planned: WorkPlan) -> None:
    settings = TrainingSettings(steps=2, batch_size=2, caption_dropout=0, gradient_checkpointing=True)
    checkpointed = plan(small, dtype="bfloat16", on_gpu=True, training=settings)
    assert checkpointed.training.step_flops > planned.training.step_flops


def test_accumulation_repeats_the_step_and_not_its_memory(small: str, planned: WorkPlan) -> None:
    settings = TrainingSettings(steps=2, batch_size=2, caption_dropout=0, gradient_accumulation_steps=4)
    accumulated = plan(small, training=settings)
    assert accumulated.training.step_flops == 4 * planned.training.step_flops
    peak = planned.phases["training"].peak
    # The gradients of the passes before are there in each that follows.
    assert peak <= accumulated.phases["training"].peak <= 1.05 * peak


def test_a_base_without_configurations_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(InputError, match=r"config\.json. could not be read"):
        plan(str(tmp_path / "base"))
