"""The loop: one seed gives one result, interrupted or not, and that of a plain loop."""

import hashlib
import os
import time

import pytest
import torch

import lycoris
from lycoris.cache.atomic import temporary_path
from lycoris.errors import InputError
from lycoris.training import TrainingDivergedError, TrainingJob, TrainingSettings, train
from lycoris.training.data.caption_encoding import CaptionEncoder
from lycoris.training.data.image_dataset import ImageDataset
from lycoris.training.data.sampler import BatchSampler
from lycoris.training.optim.schedules import lr_scale

SETTINGS = TrainingSettings(steps=8, batch_size=3, learning_rate=1e-2, warmup_steps=2, schedule="cosine")
UNET_ONLY = {"exclude": ["text_encoder.*"]}


def attach(base, algorithm="lora", **options):
    return lycoris.attach(base.parts, algorithm=algorithm, seed=1, **options)


def weights_hash(network):
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


class Killed(BaseException):
    """As Ctrl-C: not an `Exception`."""


def killed_after(step):
    def progress(done, total, loss):
        if done == step:
            raise Killed

    return progress


@pytest.mark.parametrize("algorithm", ["lora", "full"])
def test_one_seed_gives_one_result(base, examples, algorithm):
    results = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        network = attach(base, algorithm)
        result = train(base, TrainingJob(network, examples, SETTINGS, seed=7))
        results.append((result.losses, weights_hash(network)))
        network.detach()
    assert results[0] == results[1]
    assert len(results[0][0]) == 8


def test_another_seed_gives_another_result(base, examples):
    losses = []
    for seed in (7, 8):
        network = attach(base)
        losses.append(train(base, TrainingJob(network, examples, SETTINGS, seed=seed)).losses)
        network.detach()
    assert all(one != other for one, other in zip(*losses, strict=True))


@pytest.mark.parametrize(("algorithm", "options"), [("lora", {"dropout": 0.2}), ("full", {})])
def test_a_killed_run_goes_on_bit_for_bit(base, examples, tmp_path, algorithm, options):
    network = attach(base, algorithm, **options)
    whole = train(base, TrainingJob(network, examples, SETTINGS, seed=7))
    expected = weights_hash(network)
    network.detach()

    state = tmp_path / "run" / "state.safetensors"
    for step in (2, 5):
        network = attach(base, algorithm, **options)
        with pytest.raises(Killed):
            job = TrainingJob(network, examples, SETTINGS, seed=7, checkpoint=state)
            train(base, job, progress=killed_after(step), checkpoint_seconds=0)
        network.detach()
    part = temporary_path(state.parent, state.name)
    part = part.with_name(part.name.replace(f"-{os.getpid()}-", "-999999999-"))  # of a process that is gone
    part.mkdir()
    (part / ".tmpAbCdEf").touch()  # as safetensors leaves it when the process is killed while it writes
    network = attach(base, algorithm, **options)
    result = train(base, TrainingJob(network, examples, SETTINGS, seed=7, checkpoint=state))
    assert result.resume_step == 5
    assert result.losses == whole.losses
    assert weights_hash(network) == expected
    assert [file.name for file in state.parent.iterdir()] == ["state.safetensors"]


def test_a_finished_run_is_taken_up_without_a_step(base, examples, tmp_path):
    state = tmp_path / "state.safetensors"
    network = attach(base)
    first = train(base, TrainingJob(network, examples, SETTINGS, seed=7, checkpoint=state))
    expected = weights_hash(network)
    network.detach()
    network = attach(base)
    again = train(base, TrainingJob(network, examples, SETTINGS, seed=7, checkpoint=state))
    assert again.resume_step == 8
    assert (again.losses, weights_hash(network)) == (first.losses, expected)


def test_a_checkpoint_of_another_run_is_refused_and_not_deleted(base, examples, tmp_path):
    state = tmp_path / "state.safetensors"
    network = attach(base)
    train(base, TrainingJob(network, examples, SETTINGS, seed=7, checkpoint=state))
    content = state.read_bytes()
    with pytest.raises(InputError, match="belongs to a run with other examples, seed"):
        train(base, TrainingJob(network, examples[1:], SETTINGS, seed=8, checkpoint=state))
    assert state.read_bytes() == content


def test_a_damaged_state_is_named(base, examples, tmp_path):
    state = tmp_path / "state.safetensors"
    state.write_bytes(b"not a state")
    with pytest.raises(InputError, match=r"state\.safetensors` could not be read"):
        train(base, TrainingJob(attach(base), examples, SETTINGS, seed=7, checkpoint=state))


def test_a_deadline_stops_between_steps_and_the_run_goes_on_later(base, examples, tmp_path):
    network = attach(base)
    whole = train(base, TrainingJob(network, examples, SETTINGS, seed=7))
    network.detach()
    state = tmp_path / "state.safetensors"
    network = attach(base)
    stopped = train(base, TrainingJob(network, examples, SETTINGS, seed=7, checkpoint=state), deadline=time.monotonic())
    assert (stopped.steps, stopped.finished) == (0, False)
    result = train(base, TrainingJob(network, examples, SETTINGS, seed=7, checkpoint=state))
    assert result.finished
    assert result.losses == whole.losses


@pytest.mark.parametrize("min_snr", [None, 5.0])
def test_training_equals_a_plain_diffusers_loop(base, squares, min_snr):
    """The loop as the diffusers examples write it, on the same batches."""
    settings = TrainingSettings(
        steps=6, batch_size=3, learning_rate=3e-3, warmup_steps=2, min_snr=min_snr, caption_dropout=0.3
    )
    network = attach(base, **UNET_ONLY)
    losses = train(base, TrainingJob(network, squares, settings, seed=7)).losses
    network.detach()

    network = attach(base, **UNET_ONLY)
    network.train()
    scheduler = base.pipeline().scheduler
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=False)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_scale("constant", step, 6, 2))
    images = ImageDataset(base, [example.image for example in squares])
    texts = CaptionEncoder(base, [example.caption for example in squares], trainable=False)
    batches = BatchSampler(images, texts, base.forward_process, settings, seed=7)
    plain = []
    for step in range(6):
        (batch,) = batches(step)
        noisy = scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
        prediction = base.parts["unet"](
            noisy, batch.timesteps, encoder_hidden_states=batch.conditioning.hidden_states
        ).sample
        if min_snr is None:
            loss = torch.nn.functional.mse_loss(prediction, batch.noise)
        else:
            from diffusers.training_utils import compute_snr

            snr = compute_snr(scheduler, batch.timesteps)
            weights = torch.stack([snr, torch.full_like(snr, min_snr)], dim=1).min(dim=1)[0] / snr
            loss = torch.nn.functional.mse_loss(prediction, batch.noise, reduction="none").mean((1, 2, 3))
            loss = (loss * weights).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        plain.append(loss.item())
    network.detach()
    assert losses == pytest.approx(plain, rel=1e-5)


def test_sizes_apart_have_the_gradient_of_the_whole_batch(base, examples):
    """Accumulating over groups weighs every image alike: without noise of rounding, the mean of the parts."""
    settings = TrainingSettings(steps=1, batch_size=5, learning_rate=1e-3, clip_norm=None)
    network = attach(base, **UNET_ONLY)
    loss = train(base, TrainingJob(network, examples, settings, seed=7)).losses[0]
    network.detach()
    images = ImageDataset(base, [example.image for example in examples])
    texts = CaptionEncoder(base, [example.caption for example in examples], trainable=False)
    errors = []
    with torch.no_grad():
        for batch in BatchSampler(images, texts, base.forward_process, settings, seed=7)(0):
            noisy = base.forward_process.add_noise(batch.latents, batch.noise, batch.timesteps)
            prediction = base.predict(noisy, batch.timesteps, batch.conditioning)
            errors += (prediction - batch.noise).square().mean((1, 2, 3)).tolist()
    assert loss == pytest.approx(sum(errors) / 5, rel=1e-5)


def test_learning_lowers_the_loss(base, squares):
    settings = TrainingSettings(steps=40, batch_size=4, learning_rate=1e-2)
    losses = train(base, TrainingJob(attach(base, "full", preset="full"), squares, settings, seed=7)).losses
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_the_text_encoder_is_trained_at_its_own_rate(base, squares):
    network = attach(base)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    settings = TrainingSettings(steps=2, batch_size=2, learning_rate=1e-2, text_encoder_learning_rate=0.0)
    result = train(base, TrainingJob(network, squares, settings, seed=7))
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert result.trains_text_encoder
    assert moved
    assert not any("lora_te_" in name for name in moved)

    train(base, TrainingJob(network, squares, TrainingSettings(steps=2, batch_size=2, learning_rate=1e-2), seed=7))
    now = network.state_dict()
    assert any("lora_te_" in name and not torch.equal(now[name], before[name]) for name in now)


def test_text_is_encoded_once_when_its_encoder_is_frozen(base, examples, monkeypatch):
    requested = []
    encode = base.encode_text
    monkeypatch.setattr(base, "encode_text", lambda prompts: requested.append(list(prompts)) or encode(prompts))
    result = train(base, TrainingJob(attach(base, **UNET_ONLY), examples, SETTINGS, seed=7))
    assert not result.trains_text_encoder
    assert requested == [[""], [""], ["a sks cat"], ["a red cat"], ["a blue toy on snow"], ["a photo"]]


def test_a_loss_that_is_not_finite_stops_the_run_with_advice(base, squares, tmp_path):
    settings = TrainingSettings(steps=50, batch_size=2, learning_rate=1e30, clip_norm=None)
    state = tmp_path / "state.safetensors"
    with pytest.raises(TrainingDivergedError, match="Lower `learning_rate`") as error:
        train(
            base, TrainingJob(attach(base, "full"), squares, settings, seed=7, checkpoint=state), checkpoint_seconds=0
        )
    assert len(error.value.losses) < 50
    assert state.is_file()


def test_training_leaves_the_base_and_the_process_as_they_were(base, squares):
    network = attach(base)
    before = {name: value.clone() for name, value in base.parts["unet"].state_dict().items() if "adapters" not in name}
    randomness = torch.get_rng_state()
    train(base, TrainingJob(network, squares, SETTINGS, seed=7))
    assert torch.equal(torch.get_rng_state(), randomness)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    network.detach()
    after = base.parts["unet"].state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if name in after)


def test_progress_is_reported_every_step(base, squares):
    output = []
    result = train(base, TrainingJob(attach(base), squares, SETTINGS, seed=7), progress=lambda *now: output.append(now))
    assert output == [(step, 8, loss) for step, loss in enumerate(result.losses, start=1)]


def test_nothing_to_train_on_is_an_error(base, examples):
    network = attach(base)
    with pytest.raises(InputError, match="`examples`"):
        train(base, TrainingJob(network, [], SETTINGS, seed=7))
    network.requires_grad_(False)
    with pytest.raises(InputError, match="`network`"):
        train(base, TrainingJob(network, examples, SETTINGS, seed=7))
