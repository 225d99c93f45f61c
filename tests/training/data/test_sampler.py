"""The batches of a step: shuffled epochs, grouped by size, captions dropped at their rate."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from PIL import Image

from lycoris.bases import TextConditioning
from lycoris.errors import InputError
from lycoris.training import Example, TrainingSettings
from lycoris.training.data.caption_encoding import CaptionEncoder
from lycoris.training.data.image_dataset import ImageDataset
from lycoris.training.data.sampler import Batch, BatchSampler
from lycoris.training.losses import TrainingLoss, compute_losses
from lycoris.training.seeding import EpochSampler


def batches_of(base, examples, **settings):
    settings = TrainingSettings(steps=1, **settings)
    images = ImageDataset(
        base, [example.image for example in examples], horizontal_flip=settings.horizontal_flip, mask=settings.mask
    )
    texts = CaptionEncoder(
        base, [example.caption for example in examples], trainable=False, augmented=settings.augments_captions
    )
    return BatchSampler(images, texts, base.forward_process, settings, seed=3, examples=examples)


@pytest.mark.parametrize(("images", "batch_size"), [(5, 2), (3, 8), (8, 8), (7, 3)])
def test_every_image_is_seen_once_an_epoch(images, batch_size):
    order = EpochSampler(images, batch_size, seed=1)
    steps = 2 * images
    recorded = [row for step in range(steps) for row in order(step)]
    for epoch in range(len(recorded) // images):
        assert sorted(recorded[epoch * images : (epoch + 1) * images]) == list(range(images))
    assert Counter(recorded) == dict.fromkeys(range(images), 2 * batch_size)


def test_the_order_at_a_step_does_not_depend_on_the_steps_before():
    straight, late = EpochSampler(5, 3, seed=2), EpochSampler(5, 3, seed=2)
    whole = [straight(step) for step in range(20)]
    assert late(17) == whole[17]
    assert late(4) == whole[4]
    assert [EpochSampler(5, 3, seed=4)(step) for step in range(20)] != whole


def test_images_of_one_size_go_together(base, examples):
    batches = list(batches_of(base, examples, batch_size=5)(0))
    assert sorted(len(batch.latents) for batch in batches) == [1, 1, 3]
    for batch in batches:
        assert batch.noise.shape == batch.latents.shape
        assert len(batch.timesteps) == len(batch.conditioning) == len(batch.latents)


def test_latents_keep_the_images_shape(base, examples):
    images = ImageDataset(base, [example.image for example in examples])
    for (width, height), (original_width, original_height) in zip(
        images.sizes, [(40, 40), (64, 64), (90, 60), (60, 90), (32, 32)], strict=True
    ):
        assert (width > height) == (original_width > original_height)
        assert width * height <= base.resolution**2
    assert sum(images.bucket_counts.values()) == len(examples)


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_captions_are_dropped_at_their_rate(base, squares, rate):
    batches = batches_of(base, squares, batch_size=10, caption_dropout=rate)
    empty = base.encode_text([""]).hidden_states[0]
    dropped = [
        torch.equal(text, empty)
        for step in range(100)
        for batch in batches(step)
        for text in batch.conditioning.hidden_states
    ]
    assert sum(dropped) / 1000 == pytest.approx(rate, abs=0.05)


def test_flipping_shows_both_ways_and_only_when_asked(base, squares):
    one = squares[:1]
    both = batches_of(base, one, batch_size=20, horizontal_flip=True)(0)
    assert len(torch.unique(next(iter(both)).latents, dim=0)) == 2
    assert len(torch.unique(next(iter(batches_of(base, one, batch_size=20)(0))).latents, dim=0)) == 1
    (plain,) = batches_of(base, one, batch_size=1)(0)
    (many,) = batches_of(base, one, batch_size=400, horizontal_flip=True)(0)
    flipped = sum(not torch.equal(latent, plain.latents[0]) for latent in many.latents)
    assert flipped / 400 == pytest.approx(0.5, abs=0.1)


def test_times_cover_the_whole_schedule(base, squares):
    batches = batches_of(base, squares, batch_size=50)
    times = torch.cat([batch.timesteps for step in range(40) for batch in batches(step)])
    assert times.min() < 10
    assert times.max() > 989
    assert times.float().mean() == pytest.approx(499.5, abs=30)


def test_repeats_show_an_image_more_often(base, squares):
    examples = [replace(squares[0], repeats=3), *squares[1:]]
    batches = batches_of(base, examples, batch_size=5, caption_dropout=0.0)
    alone = ImageDataset(base, [squares[0].image]).stack_latents([0], [False])[0]
    for step in range(4):
        displayed = torch.cat([batch.latents for batch in batches(step)])
        assert sum(torch.equal(one, alone) for one in displayed) == 3


def test_each_step_draws_one_of_an_images_captions(base, squares):
    alternatives = ("a red cat", "a blue cat", "a cat")
    examples = [replace(squares[0], caption=alternatives[0], alternatives=alternatives), *squares[1:]]

    def captions(batches, step):
        order = [batches._rows[index] for index in batches._sampler(step)]
        return dict(zip(order, batches._augment_captions(order, [False] * len(order), step), strict=True))

    whole, late = (batches_of(base, examples, batch_size=len(squares)) for _ in range(2))
    drawn = [captions(whole, step) for step in range(120)]
    assert [captions(late, step) for step in range(50, 60)] == drawn[50:60]
    counts = Counter(own[0] for own in drawn)
    assert counts.keys() == set(alternatives)
    assert min(counts.values()) > 25
    assert all(own[row] == squares[row].caption for own in drawn for row in (1, 2))
    (before,), (after,) = batches_of(base, squares, batch_size=4)(3), batches_of(base, examples, batch_size=4)(3)
    assert torch.equal(before.noise, after.noise)
    assert torch.equal(before.timesteps, after.timesteps)


def test_prior_examples_join_each_step_in_equal_number(base, squares):
    examples = [*squares[:2], replace(squares[2], prior=True)]
    of_prior = ImageDataset(base, [squares[2].image]).stack_latents([0], [False])[0]
    (batch,) = batches_of(base, examples, batch_size=4, prior_weight=0.25)(0)
    assert len(batch.latents) == 8
    for latent, weight in zip(batch.latents, batch.weights.tolist(), strict=True):
        assert weight == (0.25 if torch.equal(latent, of_prior) else 1.0)
    assert batch.weights.tolist().count(0.25) == 4


def test_prior_examples_leave_the_order_of_the_others(base, squares):
    with_prior = batches_of(base, [*squares[:2], replace(squares[2], prior=True)], batch_size=3)
    (alone,), (joined,) = batches_of(base, squares[:2], batch_size=3)(5), with_prior(5)
    assert torch.equal(joined.latents[:3], alone.latents)


def test_prior_examples_are_shuffled_by_their_own_stream(base, squares):
    examples = [squares[0], *(replace(one, prior=True) for one in squares[1:])]
    batches = batches_of(base, examples, batch_size=2)
    latents = ImageDataset(base, [one.image for one in squares[1:]]).stack_latents([0, 1], [False, False])
    order = EpochSampler(2, 2, seed=3, name="prior epoch")
    for step in range(12):
        (batch,) = batches(step)
        assert torch.equal(batch.latents[2:], latents[order(step)])


def test_only_prior_examples_are_an_error(base, squares):
    with pytest.raises(InputError, match="not `prior`"):
        batches_of(base, [replace(example, prior=True) for example in squares])


def test_the_loss_is_the_examples_plus_the_weighted_priors(base, squares):
    """DreamBooth's, written out."""
    examples = [*squares[:2], replace(squares[2], prior=True)]
    losses = {}
    for weight in (0.0, 0.3, 1.0):
        (batch,) = batches_of(base, examples, batch_size=4, prior_weight=weight)(0)
        with torch.no_grad():
            losses[weight] = (
                compute_losses(base, [batch], [TrainingLoss(base.forward_process, TrainingSettings(steps=1))])[0]
                .sum()
                .item()
                / 4
            )
    of_prior = losses[1.0] - losses[0.0]
    assert of_prior > 0
    assert losses[0.3] == pytest.approx(losses[0.0] + 0.3 * of_prior, rel=1e-5)


def test_every_batch_tells_its_sizes(base, examples):
    """The third image is 90 x 60; at 32 pixels it comes to 40 x 24: scaled to 40 x 26.7, a pixel cut at the top."""
    (batch,) = [batch for batch in batches_of(base, examples, batch_size=5)(0) if batch.latents.shape[-2:] == (6, 10)]
    assert batch.size_conditioning.tolist() == [[60, 90, 1, 0, 24, 40]]


@pytest.mark.parametrize("masked", [False, True])
def test_an_images_loss_has_its_weight_with_and_without_a_mask(masked):
    errors = torch.rand(2, 4, 3, 5)
    mask = torch.rand(2, 3, 5) if masked else None
    weights = torch.tensor([1.0, 0.25])
    unused = torch.zeros(2, 4, 3, 5)
    batch = Batch(
        unused, unused, torch.zeros(2), TextConditioning(torch.zeros(2, 1, 1)), torch.zeros(2, 6), weights, mask
    )
    cells = torch.ones(2, 3, 5) if mask is None else mask
    expected = [float((e.mean(0) * m).sum() / m.sum() * w) for e, m, w in zip(errors, cells, weights, strict=True)]
    assert batch.image_losses(errors).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (90, 60), (60, 90)])
def test_a_mask_counts_where_it_is_white(base, tmp_path, size):
    path = tmp_path / "a.png"
    Image.effect_noise(size, 80).convert("RGB").save(path)
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    mask.save(tmp_path / "a.mask.png")
    (batch,) = batches_of(base, [Example(path, "a photo")], batch_size=2, mask="file")(0)
    columns = batch.latents.shape[-1]
    assert batch.mask.shape == (2, *batch.latents.shape[-2:])
    assert batch.mask[:, :, : columns // 2 - 1].min() == 1
    assert batch.mask[:, :, columns // 2 + 1 :].max() == 0
    with torch.no_grad():
        noisy = base.forward_process.add_noise(batch.latents, batch.noise, batch.timesteps)
        errors = (base.predict(noisy, batch.timesteps, batch.conditioning) - batch.noise).square().mean(1)
        recorded = compute_losses(base, [batch], [TrainingLoss(base.forward_process, TrainingSettings(steps=1))])[0]
    expected = [(error * mask).sum() / mask.sum() for error, mask in zip(errors, batch.mask, strict=True)]
    assert recorded.tolist() == pytest.approx(torch.stack(expected).tolist(), rel=1e-5)


def test_a_white_mask_changes_nothing_and_an_image_without_one_counts_whole(base, tmp_path):
    created = []
    for name in ("a", "b"):
        Image.effect_noise((32, 32), 80).convert("RGB").save(tmp_path / f"{name}.png")
        created.append(Example(tmp_path / f"{name}.png", "a photo"))
    Image.new("L", (32, 32), 255).save(tmp_path / "a.mask.png")
    (plain,), (masked,) = (
        batches_of(base, created, batch_size=4)(0),
        batches_of(base, created, batch_size=4, mask="file")(0),
    )
    with torch.no_grad():
        one, other = (
            compute_losses(base, [each], [TrainingLoss(base.forward_process, TrainingSettings(steps=1))])[0]
            for each in (plain, masked)
        )
    assert one.tolist() == pytest.approx(other.tolist(), rel=1e-6)


def test_transparency_is_a_mask_when_asked(base, tmp_path):
    path = tmp_path / "a.png"
    image = Image.effect_noise((32, 32), 80).convert("RGBA")
    image.paste((0, 0, 0, 0), (16, 0, 32, 32))
    image.save(path)
    (batch,) = batches_of(base, [Example(path, "a photo")], batch_size=1, mask="alpha")(0)
    assert batch.mask[0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    (flipped,) = [
        batch
        for step in range(20)
        for batch in batches_of(base, [Example(path, "a")], batch_size=1, mask="alpha", horizontal_flip=True)(step)
        if batch.mask[0, 0, 0] == 0
    ][:1]
    assert flipped.mask[0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_masks_that_are_nowhere_are_an_error(base, squares):
    with pytest.raises(InputError, match="none of the 3 images has a mask"):
        batches_of(base, squares, mask="file")


def test_an_image_with_a_mask_of_another_size_or_black_is_skipped(base, tmp_path):
    for name in ("a", "b", "c"):
        Image.effect_noise((32, 32), 80).convert("RGB").save(tmp_path / f"{name}.png")
    Image.new("L", (32, 32), 255).save(tmp_path / "a.mask.png")
    Image.new("L", (16, 32), 255).save(tmp_path / "b.mask.png")
    Image.new("L", (32, 32), 0).save(tmp_path / "c.mask.png")
    images = ImageDataset(base, [tmp_path / f"{name}.png" for name in "abc"], mask="file")
    assert list(images.valid_indices) == [0]
    assert "32 x 32, but is 16 x 32" in images.skipped[str(tmp_path / "b.png")]
    assert "black" in images.skipped[str(tmp_path / "c.png")]


def test_captions_vary_by_seed_and_step_alone(base, squares):
    examples = [replace(one, caption="a cat, a, b, c, d") for one in squares]
    settings = {"batch_size": 3, "shuffle_tags": True, "tag_dropout": 0.3, "caption_dropout": 0.0}
    straight, late = batches_of(base, examples, **settings), batches_of(base, examples, **settings)
    whole = [torch.cat([batch.conditioning.hidden_states for batch in straight(step)]) for step in range(6)]
    assert torch.equal(torch.cat([batch.conditioning.hidden_states for batch in late(4)]), whole[4])
    assert not all(torch.equal(whole[0], other) for other in whole[1:])


def test_varied_captions_leave_every_other_random_number_as_it_was(base, squares):
    examples = [replace(one, caption="a sks cat, a, b, c") for one in squares]
    (plain,), (varied,) = (
        batches_of(base, examples, batch_size=4, horizontal_flip=True, **more)(2)
        for more in ({}, {"shuffle_tags": True})
    )
    for name in ("latents", "noise", "timesteps"):
        assert torch.equal(getattr(plain, name), getattr(varied, name))
