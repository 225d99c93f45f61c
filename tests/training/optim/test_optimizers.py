"""Every optimizer of the table learns, takes its own options, and resumes a killed run bit for bit."""

import hashlib
import math

import pytest
import torch

import lycoris
from lycoris.errors import InputError
from lycoris.training import TrainingJob, TrainingSettings, train
from lycoris.training.optim.optimizer_step import RunOptimizer, build_optimizer, parameter_groups
from lycoris.training.optim.optimizers import OPTIMIZERS

RATES = {"prodigy": 1.0, "lion": 1e-3}
OURS = [name for name, kind in OPTIMIZERS.items() if not kind.cuda_only]
EVERY = [
    *(pytest.param(name, "cpu") for name in OURS),
    *(pytest.param(name, "cuda", marks=pytest.mark.gpu) for name in OPTIMIZERS if name not in OURS),
]


def settings(name, **given):
    config = {"steps": 8, "batch_size": 3, "learning_rate": RATES.get(name, 5e-3), "warmup_steps": 2}
    return TrainingSettings(optimizer=name, **{**config, **given})


def weights_hash(network):
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


class Killed(BaseException):
    """As Ctrl-C: not an `Exception`."""


def run(base, examples, config, state=None, kill_at=None, **options):
    """Losses and weights of a run, or what it is killed with."""

    def progress(done, total, loss):
        if done == kill_at:
            raise Killed

    network = lycoris.attach(base.parts, seed=1, **options)
    try:
        result = train(
            base,
            TrainingJob(network, examples, config, seed=7, checkpoint=state),
            progress=progress,
            checkpoint_seconds=0,
        )
        return result.losses, weights_hash(network)
    finally:
        network.detach()


def check_killed(base, examples, config, state, **options):
    expected = run(base, examples, config, **options)
    for step in (1, 3):
        with pytest.raises(Killed):
            run(base, examples, config, state, kill_at=step, **options)
    assert run(base, examples, config, state, **options) == expected
    assert run(base, examples, config, state, **options) == expected  # taken up where it had ended


@pytest.mark.parametrize(("name", "device"), EVERY)
def test_a_killed_run_goes_on_bit_for_bit(small_folder, squares, tmp_path, name, device):
    base = lycoris.bases.open_base(small_folder, device=device)
    check_killed(base, squares, settings(name, steps=5), tmp_path / "state.safetensors", dropout=0.1)


@pytest.mark.parametrize(
    "given",
    [
        {"ema_decay": 0.9},
        {"gradient_accumulation_steps": 2, "batch_size": 2},
        {"loraplus_ratio": 4.0, "text_encoder_learning_rate": 1e-3},
        {"schedule": "one-cycle", "noise_offset": 0.1, "loss": "huber"},
        {"optimizer": "prodigy", "learning_rate": 1.0, "ema_decay": 0.8, "schedule": "cosine", "cycles": 2},
    ],
)
def test_so_it_does_with_every_setting(base, squares, tmp_path, given):
    rest = {name: value for name, value in given.items() if name != "optimizer"}
    config = settings(given.get("optimizer", "adamw"), steps=5, **rest)
    check_killed(base, squares, config, tmp_path / "state.safetensors")


@pytest.mark.parametrize("name", OURS)
def test_it_goes_where_the_loss_is_lower(base, name):
    network = lycoris.attach(base.parts, seed=1)
    losses = steps(network, optimization_of(network, settings(name)), 60)
    assert losses[-1] < 0.99 * losses[0]


@pytest.mark.parametrize("name", OURS)
def test_an_unknown_option_offers_the_nearest(name):
    with pytest.raises(InputError, match=f"Unknown option of optimizer `{name}` `wieght`"):
        settings(name, optimizer_options={"wieght": 1})


@pytest.mark.parametrize("option", ["lr", "betas", "weight_decay"])
def test_what_is_a_setting_is_no_option(option):
    with pytest.raises(InputError, match=f"must leave `{option}` to its own setting"):
        settings("adamw", optimizer_options={option: 1})


def test_an_option_reaches_the_optimiser(base, squares):
    network = lycoris.attach(base.parts, "lora", rank=2, seed=0)
    for options, expected in (({}, 1e-8), ({"eps": 1.0}, 1.0)):
        groups = parameter_groups(list(network.parameters()), (), {}, settings("adamw"))
        (group,) = build_optimizer(groups, settings("adamw", optimizer_options=options)).param_groups
        assert group["eps"] == expected
    network.detach()


def test_a_value_that_an_optimizer_rejects_is_reported(base, squares):
    with pytest.raises(InputError, match="`adamw` rejects its settings: Invalid epsilon value: -1"):
        run(base, squares, settings("adamw", optimizer_options={"eps": -1.0}))


def test_an_unknown_optimiser_offers_the_nearest():
    with pytest.raises(InputError, match="Did you mean `prodigy`"):
        TrainingSettings(steps=1, optimizer="prodigi")


def test_eight_bits_need_a_gpu_and_say_what_to_install(base, squares):
    with pytest.raises(InputError, match=r"needs a base on a CUDA device .*pip install bitsandbytes"):
        run(base, squares, settings("adamw-8bit"))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"learning_rate": 5e-4}, r"`learning_rate` must be near 1 .* takes this as a factor, but got 0\.0005"),
        ({"text_encoder_learning_rate": 0.5}, "`text_encoder_learning_rate` must be None, 0 or `learning_rate`"),
        ({"loraplus_ratio": 16.0}, "`loraplus_ratio` must be None"),
    ],
)
def test_prodigy_takes_one_factor_near_one(given, named):
    with pytest.raises(InputError, match=named):
        TrainingSettings(**{"steps": 1, "optimizer": "prodigy", "learning_rate": 1.0, **given})


def test_prodigy_finds_a_rate(base, squares):
    network = lycoris.attach(base.parts, seed=1)
    optimization = optimization_of(network, settings("prodigy"))
    steps(network, optimization, 60)
    (group,) = optimization.state()[1]["groups"]
    assert group["d"] > 100 * group["d0"]


def test_a_schedule_free_run_ends_with_its_average(base, squares):
    """The average of the points z that its steps lead through, all of one weight with one rate (eq. 3 to 5)."""
    network = lycoris.attach(base.parts, seed=1)
    config = settings("schedule-free-adamw", weight_decay=0.0)
    optimization = optimization_of(network, config)
    passed = []

    def note():
        tensors = optimization.state()[0]
        passed.append({name: tensors[f"z/{name}"].clone() for name, _ in network.named_parameters()})

    steps(network, optimization, 6, note)
    expected = {name: torch.stack([point[name] for point in passed]).mean(0) for name in passed[0]}
    trained = {name: value.detach().clone() for name, value in network.named_parameters()}
    with optimization.averaged_weights():
        for name, value in network.named_parameters():
            torch.testing.assert_close(value.detach(), expected[name], rtol=1e-4, atol=1e-6)
    assert all(torch.equal(value, trained[name]) for name, value in network.named_parameters())
    optimization.finish()
    assert any(not torch.equal(value, trained[name]) for name, value in network.named_parameters())


def test_an_average_is_what_is_used_and_the_trained_weights_come_back(base, squares):
    """EMA with the decay min(decay, (1 + n) / (10 + n)) after n + 1 steps."""
    network = lycoris.attach(base.parts, seed=1)
    optimization = optimization_of(network, settings("adamw", ema_decay=0.3))
    expected, count = {}, 0

    def note():
        nonlocal count
        decay = min(0.3, (1 + count) / (10 + count)) if count else 0.0
        for name, value in network.named_parameters():
            now = value.detach().double()
            expected[name] = decay * expected.get(name, now) + (1 - decay) * now
        count += 1

    steps(network, optimization, 6, note)
    trained = {name: value.detach().clone() for name, value in network.named_parameters()}
    with optimization.averaged_weights():
        for name, value in network.named_parameters():
            torch.testing.assert_close(value.detach().double(), expected[name], rtol=1e-5, atol=1e-7)
    assert all(torch.equal(value, trained[name]) for name, value in network.named_parameters())


def test_a_run_with_an_average_ends_with_it(base, squares):
    losses, plain = run(base, squares, settings("adamw"))
    averaged_losses, averaged = run(base, squares, settings("adamw", ema_decay=0.9))
    assert losses == averaged_losses
    assert plain != averaged


def test_rates_multiply(base):
    network = lycoris.attach(base.parts, seed=1)
    parameters = dict(network.named_parameters())
    of_text = {place for place, name in enumerate(parameters) if "lora_te_" in name}
    config = settings("adamw", learning_rate=2.0, text_encoder_learning_rate=0.5, loraplus_ratio=16.0)
    factors = {
        id(parameter): group["lr"]
        for group in network.parameter_groups(1.0, ratio=16.0)
        for parameter in group["params"]
    }
    groups = parameter_groups(list(parameters.values()), of_text, factors, config)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(rates) == len(parameters)
    for name, parameter in parameters.items():
        expected = (0.5 if "lora_te_" in name else 2.0) * (16 if "up" in name.rsplit(".", 1)[-1] else 1)
        assert math.isclose(rates[id(parameter)], expected), name


def test_lora_plus_is_refused_where_nothing_is_faster(base, squares):
    with pytest.raises(InputError, match="`ratio` needs `lora` or `dylora`"):
        run(base, squares, settings("adamw", loraplus_ratio=4.0), algorithm="loha")


def optimization_of(network, config):
    parameters = dict(network.named_parameters())
    return RunOptimizer(parameters, parameter_groups(list(parameters.values()), (), {}, config), config, float16=False)


def steps(network, optimization, count, note=lambda: None):
    """Losses of steps on a made-up loss, the distance to a point."""
    draws = torch.Generator().manual_seed(0)
    aims = [torch.randn(parameter.shape, generator=draws) for parameter in network.parameters()]
    losses = []
    for _ in range(count):
        optimization.begin_step(1.0)
        loss = sum(((p - aim) ** 2).sum() for p, aim in zip(network.parameters(), aims, strict=True))
        loss.backward()
        losses.append(loss.item())
        optimization.step()
        note()
    return losses
