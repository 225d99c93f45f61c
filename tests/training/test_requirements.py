"""What settings need of a base's forward process."""

import pytest
import torch

from lycoris.bases import DiscreteDiffusion, FlowMatching
from lycoris.errors import InputError
from lycoris.training import TrainingSettings
from lycoris.training.requirements import resolve_forward_process

DISCRETE = DiscreteDiffusion(torch.linspace(0.99, 0.01, 10), "epsilon")


def test_a_flow_has_the_density_and_the_shift_of_the_run():
    base = FlowMatching(shift=3.0)
    options = {"mean": 0.5}
    settings = TrainingSettings(
        steps=1, timestep_density="logit-normal", timestep_density_options=options, timestep_shift=2.0
    )
    process = resolve_forward_process(base, settings)
    assert (process.density, process.density_options, process.shift) == ("logit-normal", options, 2.0)
    assert resolve_forward_process(base, TrainingSettings(steps=1)) == base


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timestep_density": "uniform"}, "`timestep_density` are for flow-matching bases.*epsilon"),
        ({"timestep_shift": 2.0}, "`timestep_shift` are for flow-matching bases"),
        ({"loss_weighting": "cosmap"}, "`loss_weighting` is for flow-matching bases"),
    ],
)
def test_settings_of_flows_are_refused_on_other_bases(settings, message):
    with pytest.raises(InputError, match=message):
        resolve_forward_process(DISCRETE, TrainingSettings(steps=1, **settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timestep_density": "logit"}, "Did you mean `logit-normal`"),
        ({"timestep_density_options": {"mean": 1}}, "empty without `timestep_density`"),
        ({"timestep_density": "mode", "timestep_density_options": {"std": 1}}, "`std`, but `mode` has `scale`"),
        ({"timestep_shift": 0}, "`timestep_shift` must be above 0"),
        ({"loss_weighting": "cosine"}, "Did you mean `cosmap`"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TrainingSettings(steps=1, **settings)
