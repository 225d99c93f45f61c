"""The densities of training times against closed forms, and their options."""

import pytest
import torch
from scipy import stats

from lycoris.bases.timestep_densities import DENSITIES, check_density
from lycoris.errors import InputError

EXPECTED = {
    ("uniform", ()): stats.uniform(),
    ("logit-normal", ()): lambda u: stats.norm.cdf(torch.tensor(u).logit()),
    ("logit-normal", (("mean", 0.5), ("std", 0.7))): lambda u: stats.norm.cdf(torch.tensor(u).logit(), 0.5, 0.7),
    ("sigmoid", (("scale", 1.5),)): lambda u: stats.norm.cdf(torch.tensor(u).logit(), 0, 1.5),
    ("beta", ()): stats.beta(0.6, 0.6),
    ("beta", (("alpha", 2.0), ("beta", 5.0))): stats.beta(2, 5),
    ("mode", (("scale", 0.0),)): stats.uniform(),
}


@pytest.mark.parametrize("density", EXPECTED, ids=str)
def test_a_density_has_its_distribution(density):
    name, options = density
    expected = EXPECTED[density]
    times = DENSITIES[name](4000, torch.Generator().manual_seed(0), **dict(options))
    assert times.dtype is torch.float32
    assert times.shape == (4000,)
    cdf = expected.cdf if hasattr(expected, "cdf") else expected
    assert stats.kstest(times.double().numpy(), cdf).pvalue > 0.01
    assert torch.equal(times, DENSITIES[name](4000, torch.Generator().manual_seed(0), **dict(options)))


def test_mode_prefers_the_middle_or_the_ends():
    middle, ends = (DENSITIES["mode"](4000, torch.Generator().manual_seed(0), scale=scale) for scale in (1.29, -0.8))
    assert ((middle - 0.5).abs() < 0.25).float().mean() > 0.6
    assert ((ends - 0.5).abs() < 0.25).float().mean() < 0.45


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("logit", {}, "Did you mean `logit-normal`"),
        ("uniform", {"mean": 1}, "`mean`, but `uniform` has none"),
        ("mode", {"std": 1}, "has `scale`"),
        ("beta", {"alpha": 0}, "`alpha`.*above 0, but got 0"),
        ("sigmoid", {"scale": "1"}, "must be a number, but got '1'"),
    ],
)
def test_a_wrong_density_or_option_is_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        check_density(name, options)
