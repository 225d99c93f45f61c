"""Methods of PEFT in the training loop: resumed from any step they end with the same bits; alone on a batch."""

from __future__ import annotations

import pytest
import torch

import lycoris
from lycoris.errors import InputError
from lycoris.training import TrainingJob, TrainingSettings, train
from lycoris.training.loop import co_train

pytest.importorskip("peft")
STEPS = 4
CASES = {
    "peft:lora": {"r": 2, "lora_dropout": 0.3},
    "peft:vera": {"r": 4},
    "peft:oft": {"oft_block_size": 4},
    "peft:pvera": {"r": 4},
}


class StoppedError(Exception):
    """Stops a training."""


def run(base, examples, algorithm, checkpoint, *, stop_after=None):
    """Train, from the checkpoint if there is one; the trained values, which are not there where it was stopped."""

    def progress(done, steps, loss):
        if done == stop_after:
            raise StoppedError

    network = lycoris.attach(base.parts, algorithm, preset="attn-only", seed=1, **CASES[algorithm])
    job = TrainingJob(network, examples, TrainingSettings(steps=STEPS, batch_size=2), 0, checkpoint)
    try:
        result = train(base, job, progress=progress, checkpoint_seconds=0.0)
        return result, {name: values.detach().clone() for name, values in network.named_parameters()}
    except StoppedError:
        return None, {}
    finally:
        network.detach()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("algorithm", CASES)
def test_a_resumed_training_ends_with_the_same_bits(base, squares, tmp_path, algorithm):
    before = {part: {k: v.clone() for k, v in module.state_dict().items()} for part, module in base.parts.items()}
    _, whole = run(base, squares, algorithm, tmp_path / "whole")
    assert run(base, squares, algorithm, tmp_path / "stopped", stop_after=2) == (None, {})
    result, resumed = run(base, squares, algorithm, tmp_path / "stopped")
    assert 0 < result.resume_step < STEPS
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(values, resumed[name]) for name, values in whole.items())
    for part, module in base.parts.items():
        assert module.state_dict().keys() == before[part].keys()
        assert all(torch.equal(values, before[part][name]) for name, values in module.state_dict().items())


@pytest.mark.filterwarnings("ignore")
def test_two_on_one_batch_are_an_error(base, squares):
    networks = [lycoris.attach(base.parts, "lora", rank=2), lycoris.attach(base.parts, "peft:hra", r=2)]
    try:
        with pytest.raises(InputError, match="co_train"):
            co_train(base, [TrainingJob(each, squares, TrainingSettings(steps=1), 0) for each in networks])
    finally:
        for network in reversed(networks):
            network.detach()
