"""Looking at a training changes nothing of it, and shows what it says it shows."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import lycoris
from lycoris.bases.sampling import draw
from lycoris.errors import InputError
from lycoris.training import (
    Checkpoints,
    Job,
    Samples,
    TrainingSettings,
    Validation,
    When,
    held_out,
    train,
    train_together,
)
from lycoris.training.timestep_bins import BANDS
from lycoris.training.validation import quantiles

SETTINGS = TrainingSettings(steps=5, batch_size=3, learning_rate=1e-2, warmup_steps=2)
PROMPTS, SEEDS = ["a sks cat", "a red cat"], [5, 6]
DRAWING = {"steps": 2, "guidance": 3.0}


def attach(base, algorithm="lora", **options):
    return lycoris.attach(base.parts, algorithm=algorithm, seed=1, **options)


def looks(base, examples, folder):
    return (
        Validation(base, examples[:2], When(every=2)),
        Samples(base, folder / "samples", When(every=3), PROMPTS, SEEDS, DRAWING),
        Checkpoints(folder / "checkpoints", When(at=(1, 3)), {"concept": "cat"}),
    )


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


WAYS = {"lora": {"dropout": 0.3, "module_dropout": 0.2}, "full": {}, "dylora": {"rank": 4}, "t-lora": {"rank": 4}}


@pytest.mark.parametrize("algorithm", WAYS)
def test_a_run_that_is_looked_at_ends_with_the_same_bits(base, examples, tmp_path, algorithm):
    found = []
    for watched in (False, True):
        network = attach(base, algorithm, **WAYS[algorithm])
        result = train(
            base,
            network,
            examples[2:],
            SETTINGS,
            seed=7,
            looks=looks(base, examples, tmp_path) if watched else (),
        )
        found.append((result.losses, result.bands, weights(network)))
        network.detach()
    (losses, bands, plain), (losses_again, bands_again, watched) = found
    assert (losses, bands) == (losses_again, bands_again)
    assert same(plain, watched)
    assert [row["step"] for row in result.seen if "validation" in row] == [0, 2, 4, 5]
    assert [(row["step"], row["samples"]) for row in result.seen if "samples" in row] == [(0, 2), (3, 2), (5, 2)]


@pytest.mark.parametrize(
    "change",
    [{"ema_decay": 0.5}, {"optimizer": "schedule-free-adamw"}, {"accumulate": 2, "gradient_checkpointing": True}],
)
def test_averages_are_what_is_looked_at_and_not_what_is_trained(base, examples, tmp_path, change):
    if "optimizer" in change:
        pytest.importorskip("schedulefree")
    settings = replace(SETTINGS, **change)
    found = []
    for watched in (False, True):
        network = attach(base)
        asked = (*looks(base, examples, tmp_path)[:2], Checkpoints(tmp_path, When(at=(2, 5)))) if watched else ()
        losses = train(base, network, examples, settings, seed=7, looks=asked).losses
        found.append((losses, weights(network)))
        network.detach()
    assert found[0][0] == found[1][0]
    assert same(found[0][1], found[1][1])
    last = lycoris.load(tmp_path / "5.safetensors", base.parts)
    assert same(weights(last), found[0][1])


def test_runs_trained_together_that_are_looked_at_end_with_the_same_bits(base, examples, tmp_path):
    found = []
    for watched in (False, True):
        networks = [attach(base, "lora", dropout=0.3), attach(base, "lokr", factor=4)]
        jobs = [
            Job(network, examples[2:], SETTINGS, seed, looks=looks(base, examples, tmp_path / str(seed)) * watched)
            for seed, network in enumerate(networks)
        ]
        results = train_together(base, jobs)
        found.append([(result.losses, weights(network)) for result, network in zip(results, networks, strict=True)])
        for network in networks:
            network.detach()
    for (losses, plain), (losses_again, watched) in zip(*found, strict=True):
        assert losses == losses_again
        assert same(plain, watched)
    network = attach(base, "lokr", factor=4)
    alone = train(base, network, examples[2:], SETTINGS, seed=1, looks=looks(base, examples, tmp_path / "alone"))
    for one, other in zip(results[1].seen, alone.seen, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    first, last = (Image.open(tmp_path / "1" / "samples" / count / "00.png") for count in ("0", "5"))
    assert np.any(np.asarray(first) != np.asarray(last))
    assert first.tobytes() == Image.open(tmp_path / "0" / "samples" / "0" / "00.png").tobytes()


def test_the_losses_by_band_add_up_to_the_loss(base, examples):
    result = train(base, attach(base), examples, SETTINGS, seed=7)
    assert tuple(result.bands) == BANDS
    for step, loss in enumerate(result.losses):
        parts = [result.bands[name][step] for name in BANDS]
        assert any(part is not None for part in parts)
        assert min(p for p in parts if p is not None) <= loss * (1 + 1e-5)
        assert max(p for p in parts if p is not None) >= loss * (1 - 1e-5)
    one = train(base, attach(base), examples, replace(SETTINGS, batch_size=1), seed=7)
    for step, loss in enumerate(one.losses):
        assert [p for p in (one.bands[name][step] for name in BANDS) if p is not None] == [pytest.approx(loss)]


def test_validation_depends_on_nothing_of_the_run_but_what_it_learned(base, examples):
    losses = []
    for seed, change in ((1, {}), (2, {"min_snr": 5.0, "batch_size": 1, "caption_dropout": 0.9})):
        network = attach(base)
        validation = Validation(base, examples, When(every=5))
        result = train(base, network, examples, replace(SETTINGS, **change), seed=seed, looks=[validation])
        losses.append([row["validation"] for row in result.seen])
        assert result.seen[-1] == {"count": 5, "step": 5, "epoch": result.epochs, **validation(network)}
        network.detach()
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_validation_is_the_mean_error_at_times_spread_over_the_whole_schedule(base, examples):
    times = quantiles(base.noise, 20)
    assert torch.equal(times, quantiles(base.noise, 20))
    assert ((times / 1000 - (torch.arange(20) + 0.5) / 20).abs() < 0.03).all()
    network = attach(base)
    found = Validation(base, examples, When(every=1), times=4)(network)
    assert found.keys() == {"validation", *(f"validation/{name}" for name in BANDS)}
    assert found["validation"] == pytest.approx(sum(found[f"validation/{name}"] for name in BANDS) / 4)


def test_a_checkpoint_is_the_adapter_of_a_run_that_ends_there(base, examples, tmp_path):
    network = attach(base)
    checkpoints = Checkpoints(tmp_path, When(at=(3, 5)), {"concept": "cat"})
    (tmp_path / ".3.safetensors.abc").touch()  # as a run leaves it that is killed while it writes
    train(base, network, examples, SETTINGS, seed=7, looks=[checkpoints])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["3.safetensors", "5.safetensors"]
    network.save(tmp_path / "end.safetensors")
    network.detach()
    short = attach(base)
    train(base, short, examples, replace(SETTINGS, steps=3), seed=7)
    expected = weights(short)
    short.detach()
    loaded = lycoris.load(tmp_path / "3.safetensors", base.parts)
    assert same(weights(loaded), expected)
    loaded.detach()
    header = lycoris.read_metadata(tmp_path / "3.safetensors")
    assert (header["concept"], header["step"], header["epoch"]) == ("cat", "3", "1.8")
    end, last = (lycoris.load(tmp_path / name, base.parts) for name in ("end.safetensors", "5.safetensors"))
    assert same(weights(end), weights(last))


def test_samples_are_what_the_network_draws_at_that_moment(base, squares, tmp_path):
    untouched = draw(base, PROMPTS, SEEDS, **DRAWING)
    network = attach(base)
    samples = Samples(base, tmp_path, When(every=4), PROMPTS, SEEDS, DRAWING)
    train(base, network, squares, SETTINGS, seed=7, looks=[samples])
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["0", "4", "5"]
    for count, pictures in (("0", untouched), ("5", draw(base, PROMPTS, SEEDS, **DRAWING))):
        for number, picture in enumerate(pictures):
            assert Image.open(tmp_path / count / f"{number:02d}.png").tobytes() == picture.tobytes()


def test_moments_are_counted_as_the_length_is():
    epochs = TrainingSettings(epochs=4.5, batch_size=4)
    found = When(at=(1, 3), every=2).moments(epochs, 6)
    assert [(m.count, m.step) for m in found] == [(0, 0), (1, 2), (2, 3), (3, 5), (4, 6), (4.5, 7)]
    assert found[1].epoch == pytest.approx(2 * 4 / 6)
    steps = TrainingSettings(steps=7, batch_size=4)
    assert [(m.count, m.step, m.name) for m in When(every=3).moments(steps, 6)] == [
        (0, 0, "0"), (3, 3, "3"), (6, 6, "6"), (7, 7, "7"),
    ]  # fmt: skip
    assert [m.step for m in When(at=(7,)).moments(steps, 6)] == [7]
    with pytest.raises(InputError, match=r"within the run's 4.5 epochs, but got 5"):
        When(at=(1, 5)).moments(epochs, 6)
    for wrong in ({"at": (0,)}, {"at": (2, 2)}, {"every": 0}):
        with pytest.raises(InputError, match="Argument"):
            When(**wrong)


def test_what_is_held_out_follows_from_the_pictures_alone(examples):
    rest, out = held_out(examples, 2)
    assert len(out) == 2
    assert [one for one in examples if one in rest] == rest
    other_words = [replace(example, caption="x") for example in reversed(examples)]
    assert {one.image for one in held_out(other_words, 2)[1]} == {one.image for one in out}
    assert len(held_out(examples, 0.5)[1]) == math.ceil(0.5 * len(examples))
    for share in (0, -1, 2.5, 5, math.inf):
        with pytest.raises(InputError, match="`share`"):
            held_out(examples, share)


def test_a_state_with_other_looks_is_refused(base, squares, tmp_path):
    state = tmp_path / "state.safetensors"
    network = attach(base)
    train(base, network, squares, SETTINGS, seed=7, checkpoint=state)
    more = [Checkpoints(tmp_path, When(at=(1,)))]
    with pytest.raises(InputError, match="belongs to a run with other looks"):
        train(base, network, squares, SETTINGS, seed=7, checkpoint=state, looks=more)


def test_what_was_seen_can_be_kept_as_json(base, squares):
    result = train(base, attach(base), squares, SETTINGS, seed=7, looks=[Validation(base, squares, When(at=(2,)))])
    assert json.loads(json.dumps(result.seen)) == result.seen
    assert [row["step"] for row in result.seen] == [2]
