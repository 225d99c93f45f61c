"""Compute modes change the cost of a step and not its result."""

import math

import jaxtyping
import pytest
import torch
from torch.utils import checkpoint

import lycoris
from lycoris.bases import open_base
from lycoris.errors import InputError
from lycoris.training import TrainingJob, TrainingSettings, co_train, train
from tests.bases.small_base import save_small_base

UNET_ONLY = {"exclude": ["text_encoder.*"]}


def settings(**overrides):
    return TrainingSettings(**{"steps": 3, "batch_size": 3, "learning_rate": 3e-3, "caption_dropout": 0.0, **overrides})


def values(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def learnt(base, examples, config, **options):
    """Losses and what the parameters moved by."""
    network = lycoris.attach(base.parts, seed=1, **{"algorithm": "lora", **options})
    start = values(network)
    losses = train(base, TrainingJob(network, examples, config, seed=7)).losses
    moved = values(network) - start
    network.detach()
    return losses, moved


def check_alike(outcome, expected, tolerance=1e-4):
    assert outcome[0] == pytest.approx(expected[0], rel=1e-5)
    assert expected[1].norm() > 0
    assert (outcome[1] - expected[1]).norm() < tolerance * expected[1].norm()


@pytest.mark.parametrize("options", [{}, UNET_ONLY], ids=["with text encoder", "without"])
def test_parts_of_a_step_have_the_gradient_of_the_whole(base, examples, options):
    whole = learnt(base, examples, settings(batch_size=6), **options)
    for batch_size, accumulate in ((3, 2), (1, 6)):
        check_alike(
            learnt(base, examples, settings(batch_size=batch_size, gradient_accumulation_steps=accumulate), **options),
            whole,
        )


def test_parts_count_for_the_length(base, examples):
    config = TrainingSettings(epochs=6, batch_size=2, gradient_accumulation_steps=3)
    assert config.steps_for(len(examples)) == 5


@pytest.mark.parametrize(
    "options",
    [{}, {"dropout": 0.3, "module_dropout": 0.2}, {"algorithm": "t-lora"}, {"algorithm": "loha", "preset": "full"}],
    ids=["lora", "dropout", "t-lora", "loha"],
)
def test_values_computed_again_are_those_that_were_forgotten(base, examples, options):
    plain = learnt(base, examples, settings(), **options)
    check_alike(learnt(base, examples, settings(gradient_checkpointing=True), **options), plain)


def test_inner_values_are_forgotten_in_both_parts_and_never_afterwards(base, squares, monkeypatch):
    blocks = set()
    real = checkpoint.checkpoint

    def noted(function, *args, **kwargs):
        blocks.add(type(getattr(function, "args", [function])[0]).__name__)
        return real(function, *args, **kwargs)

    monkeypatch.setattr("lycoris.training.compute_modes.checkpoint", noted)
    monkeypatch.setattr("transformers.modeling_utils.checkpoint", noted)
    learnt(base, squares, settings(steps=1, gradient_checkpointing=True))
    assert {"ResnetBlock2D", "CLIPEncoderLayer"} <= blocks
    assert not any(module.training for part in base.parts.values() for module in part.modules())
    assert not base.parts["unet"].is_gradient_checkpointing
    assert not base.parts["text_encoder"].is_gradient_checkpointing
    blocks.clear()
    learnt(base, squares, settings(steps=1))
    assert not blocks


def test_runs_together_compute_again_what_was_each_ones(base, examples):
    ways = [{"algorithm": "lora", "dropout": 0.3}, {"algorithm": "t-lora"}, {"algorithm": "loha"}]
    outcome = []
    for again in (False, True):
        networks = [lycoris.attach(base.parts, seed=number, **way) for number, way in enumerate(ways)]
        jobs = [
            TrainingJob(network, examples[number:], settings(gradient_checkpointing=again and number == 1), seed=number)
            for number, network in enumerate(networks)
        ]
        results = co_train(base, jobs)
        outcome.append([(result.losses, values(network)) for result, network in zip(results, networks, strict=True)])
        for network in networks:
            network.detach()
    for again, plain in zip(outcome[1], outcome[0], strict=True):
        check_alike(again, plain, 1e-5)


@pytest.fixture
def unchecked_types():
    """Turn off shape checks: the compiler would trace them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("options", [{}, UNET_ONLY], ids=["with text encoder", "without"])
def test_a_compiled_denoiser_learns_the_same(base, squares, options):
    forward = base.parts["unet"].forward
    plain = learnt(base, squares, settings(steps=2), **options)
    check_alike(learnt(base, squares, settings(steps=2, compile="aot_eager"), **options), plain, 1e-3)
    assert base.parts["unet"].forward == forward


def test_an_unknown_compiler_offers_the_nearest(base, squares):
    with pytest.raises(InputError, match="Did you mean `inductor`"):
        learnt(base, squares, settings(compile="inductr"))


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    folder = save_small_base(tmp_path_factory.mktemp("half") / "base")
    return {name: open_base(folder, device="cpu", dtype=name) for name in ("float32", "bfloat16", "float16")}


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_a_base_teaches_about_the_same(halves, squares, name):
    config = settings(steps=3, batch_size=1)
    whole, half = (learnt(halves[dtype], squares, config) for dtype in ("float32", name))
    assert half[0] == pytest.approx(whole[0], rel=0.05)
    assert torch.cosine_similarity(half[1], whole[1], dim=0) > 0.8


def test_a_float16_run_goes_on_with_its_scale(halves, squares, tmp_path):
    base, config = halves["float16"], settings(steps=3, batch_size=1)

    class Killed(BaseException):
        """As Ctrl-C."""

    def go(state=None, kill_at=None):
        def progress(done, total, loss):
            if done == kill_at:
                raise Killed

        network = lycoris.attach(base.parts, seed=1)
        try:
            result = train(
                base,
                TrainingJob(network, squares, config, seed=7, checkpoint=state),
                progress=progress,
                checkpoint_seconds=0,
            )
            return result.losses, values(network)
        finally:
            network.detach()

    losses, expected = go()
    with pytest.raises(Killed):
        go(tmp_path / "state.safetensors", kill_at=2)
    resumed, outcome = go(tmp_path / "state.safetensors")
    assert resumed == losses
    assert torch.equal(outcome, expected)


def test_a_step_whose_gradient_overflows_is_left_out_and_the_scale_halved(base):
    from lycoris.training.optim.optimizer_step import RunOptimizer, parameter_groups

    network = lycoris.attach(base.parts, seed=1)
    parameters, config = dict(network.named_parameters()), settings(ema_decay=0.9)
    optimization = RunOptimizer(
        parameters, parameter_groups(list(parameters.values()), (), {}, config), config, float16=True
    )

    def step(size):
        optimization.begin_step(1.0)
        loss = sum((size * parameter).sum() for parameter in parameters.values())
        optimization.scale_loss(loss).backward()
        return optimization.step()

    before = values(network)
    assert step(1e36) == 0
    assert torch.equal(values(network), before)
    assert optimization.state()[1]["scaler"]["scale"] == 2.0**15
    norm = step(1.0)
    assert norm == pytest.approx(math.sqrt(sum(each.numel() for each in parameters.values())))
    assert not torch.equal(values(network), before)
