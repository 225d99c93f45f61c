"""Callbacks do not change a training, and return what they promise."""

import json
import math
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import lycoris
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.cache.processes import machine_id
from lycoris.errors import InputError
from lycoris.training import (
    CallbackSchedule,
    CheckpointCallback,
    ImageCallback,
    TrainingJob,
    TrainingSettings,
    ValidationCallback,
    co_train,
    split_examples,
    train,
)
from lycoris.training.timestep_bins import TIMESTEP_BINS
from lycoris.training.validation import timestep_quantiles

SETTINGS = TrainingSettings(steps=5, batch_size=3, learning_rate=1e-2, warmup_steps=2)
PROMPTS, SEEDS = ["a sks cat", "a red cat"], [5, 6]
SAMPLING = GenerationSettings(steps=2, guidance=3.0)


def attach(base, algorithm="lora", **options):
    return lycoris.attach(base.parts, algorithm=algorithm, seed=1, **options)


def looks(base, examples, folder):
    return (
        ValidationCallback(base, examples[:2], CallbackSchedule(every=2)),
        ImageCallback(base, folder / "samples", CallbackSchedule(every=3), PROMPTS, SEEDS, SAMPLING),
        CheckpointCallback(folder / "checkpoints", CallbackSchedule(at=(1, 3)), {"concept": "cat"}),
    )


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


WAYS = {"lora": {"dropout": 0.3, "module_dropout": 0.2}, "full": {}, "dylora": {"rank": 4}, "t-lora": {"rank": 4}}


@pytest.mark.parametrize("algorithm", WAYS)
def test_a_run_with_callbacks_ends_with_the_same_bits(base, examples, tmp_path, algorithm):
    outcome = []
    for watched in (False, True):
        network = attach(base, algorithm, **WAYS[algorithm])
        result = train(
            base,
            TrainingJob(
                network, examples[2:], SETTINGS, seed=7, callbacks=looks(base, examples, tmp_path) if watched else ()
            ),
        )
        outcome.append((result.losses, result.binned_losses, weights(network)))
        network.detach()
    (losses, bands, plain), (losses_again, bands_again, watched) = outcome
    assert (losses, bands) == (losses_again, bands_again)
    assert same(plain, watched)
    assert [row["step"] for row in result.callback_records if "validation" in row] == [0, 2, 4, 5]
    assert [(row["step"], row["samples"]) for row in result.callback_records if "samples" in row] == [
        (0, 2),
        (3, 2),
        (5, 2),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"ema_decay": 0.5},
        {"optimizer": "schedule-free-adamw"},
        {"gradient_accumulation_steps": 2, "gradient_checkpointing": True},
    ],
)
def test_callbacks_get_the_averages_and_not_the_trained_weights(base, examples, tmp_path, change):
    if "optimizer" in change:
        pytest.importorskip("schedulefree")
    settings = replace(SETTINGS, **change)
    outcome = []
    for watched in (False, True):
        network = attach(base)
        requested = (
            (*looks(base, examples, tmp_path)[:2], CheckpointCallback(tmp_path, CallbackSchedule(at=(2, 5))))
            if watched
            else ()
        )
        losses = train(base, TrainingJob(network, examples, settings, seed=7, callbacks=requested)).losses
        outcome.append((losses, weights(network)))
        network.detach()
    assert outcome[0][0] == outcome[1][0]
    assert same(outcome[0][1], outcome[1][1])
    last = lycoris.load(tmp_path / "5.safetensors", base.parts)
    assert same(weights(last), outcome[0][1])


def test_co_trained_runs_with_callbacks_end_with_the_same_bits(base, examples, tmp_path):
    outcome = []
    for watched in (False, True):
        networks = [attach(base, "lora", dropout=0.3), attach(base, "lokr", factor=4)]
        jobs = [
            TrainingJob(
                network, examples[2:], SETTINGS, seed, callbacks=looks(base, examples, tmp_path / str(seed)) * watched
            )
            for seed, network in enumerate(networks)
        ]
        results = co_train(base, jobs)
        outcome.append([(result.losses, weights(network)) for result, network in zip(results, networks, strict=True)])
        for network in networks:
            network.detach()
    for (losses, plain), (losses_again, watched) in zip(*outcome, strict=True):
        assert losses == losses_again
        assert same(plain, watched)
    network = attach(base, "lokr", factor=4)
    alone = train(
        base, TrainingJob(network, examples[2:], SETTINGS, seed=1, callbacks=looks(base, examples, tmp_path / "alone"))
    )
    for one, other in zip(results[1].callback_records, alone.callback_records, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    first, last = (Image.open(tmp_path / "1" / "samples" / count / "00.png") for count in ("0", "5"))
    assert np.any(np.asarray(first) != np.asarray(last))
    assert first.tobytes() == Image.open(tmp_path / "0" / "samples" / "0" / "00.png").tobytes()


def test_the_losses_by_band_add_up_to_the_loss(base, examples):
    result = train(base, TrainingJob(attach(base), examples, SETTINGS, seed=7))
    assert tuple(result.binned_losses) == TIMESTEP_BINS
    for step, loss in enumerate(result.losses):
        parts = [result.binned_losses[name][step] for name in TIMESTEP_BINS]
        assert any(part is not None for part in parts)
        assert min(p for p in parts if p is not None) <= loss * (1 + 1e-5)
        assert max(p for p in parts if p is not None) >= loss * (1 - 1e-5)
    one = train(base, TrainingJob(attach(base), examples, replace(SETTINGS, batch_size=1), seed=7))
    for step, loss in enumerate(one.losses):
        assert [p for p in (one.binned_losses[name][step] for name in TIMESTEP_BINS) if p is not None] == [
            pytest.approx(loss)
        ]


def test_validation_depends_on_nothing_of_the_run_but_what_it_learned(base, examples):
    losses = []
    for seed, change in ((1, {}), (2, {"min_snr": 5.0, "batch_size": 1, "caption_dropout": 0.9})):
        network = attach(base)
        validation = ValidationCallback(base, examples, CallbackSchedule(every=5))
        result = train(
            base, TrainingJob(network, examples, replace(SETTINGS, **change), seed=seed, callbacks=[validation])
        )
        losses.append([row["validation"] for row in result.callback_records])
        assert result.callback_records[-1] == {"count": 5, "step": 5, "epoch": result.epochs, **validation(network)}
        network.detach()
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_validation_is_the_mean_error_at_times_spread_over_the_whole_schedule(base, examples):
    times = timestep_quantiles(base.forward_process, 20)
    assert torch.equal(times, timestep_quantiles(base.forward_process, 20))
    assert ((times / 1000 - (torch.arange(20) + 0.5) / 20).abs() < 0.03).all()
    network = attach(base)
    outcome = ValidationCallback(base, examples, CallbackSchedule(every=1), noise_levels=4)(network)
    assert outcome.keys() == {"validation", *(f"validation/{name}" for name in TIMESTEP_BINS)}
    assert outcome["validation"] == pytest.approx(sum(outcome[f"validation/{name}"] for name in TIMESTEP_BINS) / 4)


def test_a_checkpoint_is_the_adapter_of_a_run_that_ends_there(base, examples, tmp_path):
    network = attach(base)
    checkpoints = CheckpointCallback(tmp_path, CallbackSchedule(at=(3, 5)), {"concept": "cat"})
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f".3.safetensors-{machine_id()}-{dead.pid}-abc").mkdir()  # left by a run that was killed while writing
    train(base, TrainingJob(network, examples, SETTINGS, seed=7, callbacks=[checkpoints]))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["3.safetensors", "5.safetensors"]
    network.save(tmp_path / "end.safetensors")
    network.detach()
    short = attach(base)
    train(base, TrainingJob(short, examples, replace(SETTINGS, steps=3), seed=7))
    expected = weights(short)
    short.detach()
    loaded = lycoris.load(tmp_path / "3.safetensors", base.parts)
    assert same(weights(loaded), expected)
    loaded.detach()
    header = lycoris.read_metadata(tmp_path / "3.safetensors")
    assert (header["concept"], header["step"], header["epoch"]) == ("cat", "3", "1.8")
    end, last = (lycoris.load(tmp_path / name, base.parts) for name in ("end.safetensors", "5.safetensors"))
    assert same(weights(end), weights(last))


def test_samples_are_what_the_network_generates_at_that_moment(base, squares, tmp_path):
    untouched = generate(base, PROMPTS, SEEDS, SAMPLING)
    network = attach(base)
    samples = ImageCallback(base, tmp_path, CallbackSchedule(every=4), PROMPTS, SEEDS, SAMPLING)
    train(base, TrainingJob(network, squares, SETTINGS, seed=7, callbacks=[samples]))
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["0", "4", "5"]
    for count, images in (("0", untouched), ("5", generate(base, PROMPTS, SEEDS, SAMPLING))):
        for number, image in enumerate(images):
            assert Image.open(tmp_path / count / f"{number:02d}.png").tobytes() == image.tobytes()


def test_moments_are_counted_as_the_length_is():
    epochs = TrainingSettings(epochs=4.5, batch_size=4)
    outcome = CallbackSchedule(at=(1, 3), every=2).points(epochs, 6)
    assert [(m.count, m.step) for m in outcome] == [(0, 0), (1, 2), (2, 3), (3, 5), (4, 6), (4.5, 7)]
    assert outcome[1].epoch == pytest.approx(2 * 4 / 6)
    steps = TrainingSettings(steps=7, batch_size=4)
    assert [(m.count, m.step, m.name) for m in CallbackSchedule(every=3).points(steps, 6)] == [
        (0, 0, "0"), (3, 3, "3"), (6, 6, "6"), (7, 7, "7"),
    ]  # fmt: skip
    assert [m.step for m in CallbackSchedule(at=(7,)).points(steps, 6)] == [7]
    with pytest.raises(InputError, match=r"within the run's 4.5 epochs, but got 5"):
        CallbackSchedule(at=(1, 5)).points(epochs, 6)
    for wrong in ({"at": (0,)}, {"at": (2, 2)}, {"every": 0}):
        with pytest.raises(InputError, match="Argument"):
            CallbackSchedule(**wrong)


def test_what_is_held_out_follows_from_the_images_alone(examples):
    rest, out = split_examples(examples, 2)
    assert len(out) == 2
    assert [one for one in examples if one in rest] == rest
    other_words = [replace(example, caption="x") for example in reversed(examples)]
    assert {one.image for one in split_examples(other_words, 2)[1]} == {one.image for one in out}
    assert len(split_examples(examples, 0.5)[1]) == math.ceil(0.5 * len(examples))
    for share in (0, -1, 2.5, 5, math.inf):
        with pytest.raises(InputError, match="`hold_out`"):
            split_examples(examples, share)


def test_a_checkpoint_with_other_callbacks_is_refused(base, squares, tmp_path):
    state = tmp_path / "state.safetensors"
    network = attach(base)
    train(base, TrainingJob(network, squares, SETTINGS, seed=7, checkpoint=state))
    more = [CheckpointCallback(tmp_path, CallbackSchedule(at=(1,)))]
    with pytest.raises(InputError, match="belongs to a run with other callbacks"):
        train(base, TrainingJob(network, squares, SETTINGS, seed=7, checkpoint=state, callbacks=more))


def test_callback_records_can_be_written_as_json(base, squares):
    result = train(
        base,
        TrainingJob(
            attach(base),
            squares,
            SETTINGS,
            seed=7,
            callbacks=[ValidationCallback(base, squares, CallbackSchedule(at=(2,)))],
        ),
    )
    assert json.loads(json.dumps(result.callback_records)) == result.callback_records
    assert [row["step"] for row in result.callback_records] == [2]
