"""Co-training: each adapter learns what it would learn alone."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch

import lycoris
from lycoris.adapters.layers.batch_partition import BatchPartition
from lycoris.errors import InputError
from lycoris.training import Example, TrainingDivergedError, TrainingJob, TrainingSettings, co_train, train

SETTINGS = TrainingSettings(steps=5, batch_size=3, learning_rate=3e-3, warmup_steps=2)
WAYS = {
    "lora": {"algorithm": "lora", "rank": 4},
    "lora again": {"algorithm": "lora", "rank": 4},
    "lora of another rank": {"algorithm": "lora", "rank": 2, "preset": "full"},
    "lora with dropout": {"algorithm": "lora", "rank": 4, "dropout": 0.3, "module_dropout": 0.2},
    "tucker": {"algorithm": "lora", "rank": 4, "tucker": True, "preset": "full"},
    "loha": {"algorithm": "loha", "rank": 2, "preset": "full"},
    "lokr": {"algorithm": "lokr", "factor": 4, "preset": "full"},
    "full": {"algorithm": "full", "preset": "full"},
    "norms": {"algorithm": "norms", "preset": "everything"},
    "ia3": {"algorithm": "ia3"},
    "glora": {"algorithm": "glora", "rank": 2},
    "dylora": {"algorithm": "dylora", "rank": 4},
    "diag-oft": {"algorithm": "diag-oft"},
    "boft": {"algorithm": "boft"},
    "t-lora": {"algorithm": "t-lora", "rank": 4},
    "dora": {"algorithm": "lora", "rank": 4, "dora": "output"},
    "scalar": {"algorithm": "loha", "rank": 2, "scalar": True},
}


class UnattachedJob(NamedTuple):
    """What a training job consists of, before it has a network."""

    examples: Sequence[Example]
    settings: TrainingSettings
    seed: int


def attached(base, names):
    return [lycoris.attach(base.parts, seed=number, **WAYS[name]) for number, name in enumerate(names)]


def values(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def alone(base, names, jobs):
    """Losses and parameters of each job trained by itself."""
    outcome = []
    for number, (name, job) in enumerate(zip(names, jobs, strict=True)):
        network = lycoris.attach(base.parts, seed=number, **WAYS[name])
        start = values(network)
        result = train(base, TrainingJob(network, job.examples, job.settings, seed=job.seed))
        outcome.append((result.losses, start, values(network)))
        network.detach()
    return outcome


def check(base, names, jobs):
    expected = alone(base, names, jobs)
    networks = attached(base, names)
    jobs = [
        TrainingJob(network, job.examples, job.settings, job.seed) for network, job in zip(networks, jobs, strict=True)
    ]
    results = co_train(base, jobs)
    for network, result, (losses, start, end) in zip(networks, results, expected, strict=True):
        assert result.losses == pytest.approx(losses, rel=1e-5)
        assert not torch.equal(end, start)
        difference = (values(network) - end).norm() / (end - start).norm()
        assert difference < 1e-3
        network.detach()


def jobs_of(names, examples, settings=SETTINGS):
    return [UnattachedJob(examples[number % 2 :], settings, seed=7 + number) for number in range(len(names))]


@pytest.mark.parametrize("name", WAYS)
def test_two_of_each_algorithm_learn_what_each_learns_alone(base, examples, name):
    check(base, [name, name], jobs_of([name, name], examples, replace(SETTINGS, steps=3)))


def test_different_algorithms_learn_together_what_each_learns_alone(base, examples):
    names = ["lora", "lora again", "lokr", "full", "lora with dropout", "loha"]
    check(base, names, jobs_of(names, examples))


def test_runs_of_different_lengths_sizes_and_settings_go_together(base, examples, squares):
    names = ["lora", "loha", "lora again"]
    jobs = [
        UnattachedJob(squares, TrainingSettings(steps=2, batch_size=2, learning_rate=1e-3), 1),
        UnattachedJob(
            examples,
            TrainingSettings(steps=6, batch_size=5, learning_rate=3e-3, min_snr=5.0, schedule="cosine"),
            2,
        ),
        UnattachedJob(
            examples[1:], TrainingSettings(steps=4, batch_size=1, learning_rate=1e-3, caption_dropout=0.5), 3
        ),
    ]
    check(base, names, jobs)


def test_every_way_to_optimize_goes_with_every_other(base, examples, squares):
    names = ["lora", "loha", "lora again", "full"]
    config = [
        {"batch_size": 2, "ema_decay": 0.8, "loraplus_ratio": 4.0, "learning_rate": 1e-3},
        {"batch_size": 2, "optimizer": "prodigy", "learning_rate": 1.0, "loss": "huber"},
        {
            "batch_size": 1,
            "gradient_accumulation_steps": 3,
            "learning_rate": 1e-3,
            "noise_offset": 0.1,
            "gradient_checkpointing": True,
        },
        {"batch_size": 3, "optimizer": "schedule-free-adamw", "learning_rate": 1e-3, "min_snr": 5.0},
    ]
    images = [squares, examples, examples[1:], squares]
    jobs = [
        UnattachedJob(some, TrainingSettings(steps=4, **each), number)
        for number, (some, each) in enumerate(zip(images, config, strict=True))
    ]
    check(base, names, jobs)


def test_networks_of_one_part_go_with_networks_of_all(base, examples):
    names = ["lora", "lora", "full"]
    jobs = jobs_of(names, examples)
    expected = []
    options = [{"exclude": ["text_encoder.*"]}, {}, {"exclude": ["unet.*"]}]
    for number, (name, job, own) in enumerate(zip(names, jobs, options, strict=True)):
        network = lycoris.attach(base.parts, seed=number, **WAYS[name], **own)
        expected.append(train(base, TrainingJob(network, job.examples, job.settings, seed=job.seed)).losses)
        network.detach()
    networks = [lycoris.attach(base.parts, seed=n, **WAYS[name], **options[n]) for n, name in enumerate(names)]
    results = co_train(
        base,
        [
            TrainingJob(network, job.examples, job.settings, job.seed)
            for network, job in zip(networks, jobs, strict=True)
        ],
    )
    for result, losses in zip(results, expected, strict=True):
        assert result.losses == pytest.approx(losses, rel=1e-5)


def test_a_run_that_diverges_leaves_the_others_as_they_are(base, squares):
    wild = TrainingSettings(steps=20, batch_size=2, learning_rate=1e30, clip_norm=None)
    calm = TrainingSettings(steps=20, batch_size=2, learning_rate=1e-3)
    network = lycoris.attach(base.parts, "lora", seed=1)
    expected = train(base, TrainingJob(network, squares, calm, seed=3)).losses
    network.detach()
    networks = [lycoris.attach(base.parts, "full", seed=0), lycoris.attach(base.parts, "lora", seed=1)]
    lost, remaining = co_train(
        base, [TrainingJob(networks[0], squares, wild, 2), TrainingJob(networks[1], squares, calm, 3)]
    )
    assert isinstance(lost, TrainingDivergedError)
    assert len(lost.losses) < 20
    assert remaining.losses == pytest.approx(expected, rel=1e-5)
    assert all(math.isfinite(value) for value in values(networks[1]).tolist())


class Killed(BaseException):
    """As Ctrl-C: not an `Exception`."""


def test_runs_killed_together_go_on_together_to_the_same_bits(base, examples, tmp_path):
    names = ["lora", "lokr", "lora with dropout"]

    def go(folder, kill_at=None):
        networks = attached(base, names)
        jobs = [
            TrainingJob(network, job.examples, job.settings, job.seed, folder / f"{number}.safetensors")
            for number, (network, job) in enumerate(zip(networks, jobs_of(names, examples), strict=True))
        ]

        def progress(number, done, steps, loss):
            if (number, done) == kill_at:
                raise Killed

        try:
            return co_train(base, jobs, progress=progress, checkpoint_seconds=0), [values(n) for n in networks]
        finally:
            for network in networks:
                network.detach()

    whole, expected = go(tmp_path / "whole")
    with pytest.raises(Killed):
        go(tmp_path / "killed", kill_at=(1, 3))
    # As if the machine had stopped between two files: one is a step behind, and its others are there still.
    (tmp_path / "killed" / "2.safetensors").unlink()
    with pytest.raises(Killed):
        go(tmp_path / "two", kill_at=(2, 2))
    (tmp_path / "two" / "2.safetensors").rename(tmp_path / "killed" / "2.safetensors")
    for number in (0, 1):
        (tmp_path / "two" / f"{number}.safetensors").rename(tmp_path / "killed" / f"{number}.before.safetensors")
    resumed, outcome = go(tmp_path / "killed")
    assert [result.resume_step for result in resumed] == [2, 2, 2]
    assert [result.losses for result in resumed] == [result.losses for result in whole]
    assert all(torch.equal(one, other) for one, other in zip(outcome, expected, strict=True))
    assert not list((tmp_path / "killed").glob("*.before.*"))


def test_nothing_of_it_stays_on_the_networks(base, squares):
    networks = attached(base, ["lora", "loha"])
    co_train(base, [TrainingJob(network, squares, SETTINGS, 1) for network in networks])
    assert all(network.batch_partition is None and not network.training for network in networks)
    assert all(parameter.grad is None for network in networks for parameter in network.parameters())


@pytest.mark.parametrize("layer", [
    torch.nn.Linear(6, 10),
    torch.nn.Conv2d(6, 10, 1),
    torch.nn.Conv2d(6, 10, 1, padding=1),
    torch.nn.Conv2d(6, 10, 1, stride=2),
    torch.nn.Conv2d(6, 10, 3, padding=1, padding_mode="circular"),
    torch.nn.Conv2d(6, 10, 1, padding=1, padding_mode="reflect"),
    torch.nn.Conv1d(6, 10, 3, stride=2, dilation=2),
    torch.nn.Conv3d(6, 10, 2),
    torch.nn.Conv2d(6, 10, 3, groups=2),
], ids=str)  # fmt: skip
def test_rows_of_a_layer_are_their_network_s(layer):
    model = torch.nn.Sequential(layer).double()
    networks = [lycoris.attach(model, "lora", rank=2, seed=seed) for seed in (0, 1, 2)]
    draws = torch.Generator().manual_seed(0)
    for network in networks:
        for parameter in network.parameters():
            parameter.data.normal_(generator=draws)
    space = (9, 5, 6)[: layer.weight.dim() - 2]
    shape = (6, 6, *space) if space else (6, 5, 6)
    x = torch.randn(shape, dtype=torch.float64, generator=draws)
    for number, network in enumerate(networks):
        network.batch_partition = BatchPartition(rows=(2 * number, 2 * number + 2), total_rows=6)
    together = model(x)
    for number, network in enumerate(networks):
        for other in networks:
            other.batch_partition, other.scale = None, float(other is network)
        rows = slice(2 * number, 2 * number + 2)
        assert torch.allclose(together[rows], model(x[rows]), rtol=1e-12, atol=1e-12)


def test_no_job_is_an_error(base):
    with pytest.raises(InputError, match="`jobs`"):
        co_train(base, [])
