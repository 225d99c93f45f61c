"""Strengths from votes: closed forms, ties, finite values, and coverage of the intervals in simulation."""

from __future__ import annotations

import numpy as np
import pytest

from lycoris.analysis.statistics.preference_strengths import PRIOR_DEVIATION, Vote, fit_strengths
from lycoris.errors import InputError

TRUE = np.array([-0.9, -0.3, 0.0, 0.4, 0.8])


def simulated_votes(generator, voters: int = 10, per_voter: int = 40, *, spread: float = 0.0, tie_odds: float = 0.4):
    """Votes of simulated voters, whose own strengths scatter around the true ones."""
    votes = []
    for voter in range(voters):
        own = TRUE + generator.normal(0, spread, len(TRUE)) if spread else TRUE
        for _ in range(per_voter):
            left, right = generator.choice(len(TRUE), 2, replace=False)
            odds = np.exp([own[left], own[right], (own[left] + own[right]) / 2]) * [1, 1, tie_odds]
            answer = ("left", "right", "tie")[generator.choice(3, p=odds / odds.sum())]
            votes.append(Vote(f"s{left}", f"s{right}", answer, f"v{voter}"))
    return votes


def coverage(simulations: int, **options) -> float:
    """The share of true strengths within their intervals."""
    centered = TRUE - TRUE.mean()
    inside = []
    for seed in range(simulations):
        fitted = fit_strengths(simulated_votes(np.random.default_rng(seed), **options))
        for number, value in enumerate(centered):
            one = fitted.of(f"s{number}")
            inside.append(one.low <= value <= one.high)
    return float(np.mean(inside))


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_ten_voters_are_recovered_in_95_of_100_simulations(spread):
    assert 0.93 <= coverage(100, spread=spread) <= 0.98


def test_ten_voters_are_recovered_in_a_few_simulations():
    assert 0.85 <= coverage(12) < 1.0


def test_one_voter_is_recovered_by_the_curvature():
    assert 0.85 <= coverage(12, voters=1, per_voter=300) < 1.0


def test_two_settings_have_the_logarithm_of_the_odds():
    votes = [Vote("a", "b", "left")] * 300 + [Vote("b", "a", "left")] * 100
    fitted = fit_strengths(votes)
    assert [each.name for each in fitted.settings] == ["a", "b"]
    assert fitted.of("a").value - fitted.of("b").value == pytest.approx(np.log(3), abs=0.01)
    assert fitted.of("a").value == -fitted.of("b").value
    assert fitted.of("a").votes == 400
    error = 1 / np.sqrt(400 * 0.75 * 0.25) / 2  # of half the difference
    assert (fitted.of("a").high - fitted.of("a").low) / 2 == pytest.approx(1.96 * error, rel=0.02)


def test_ties_bring_settings_together_and_set_their_odds():
    votes = [Vote("a", "b", "tie")] * 40 + [Vote("a", "b", "left")] * 20 + [Vote("a", "b", "right")] * 20
    fitted = fit_strengths(votes)
    assert fitted.of("a").value == pytest.approx(0.0, abs=1e-9)
    assert fitted.tie_odds == pytest.approx(2.0, rel=0.02)
    without = fit_strengths([vote for vote in votes if vote.answer != "tie"])
    assert without.tie_odds < 0.05


def test_sides_and_order_do_not_matter():
    votes = simulated_votes(np.random.default_rng(1), voters=6, per_voter=10)
    other = {"left": "right", "right": "left", "tie": "tie"}
    swapped = [Vote(vote.right, vote.left, other[vote.answer], vote.voter) for vote in reversed(votes)]
    for one, two in zip(fit_strengths(votes).settings, fit_strengths(swapped).settings, strict=True):
        assert one.name == two.name
        assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), abs=1e-8)


def test_a_setting_that_wins_every_vote_has_a_finite_strength():
    fitted = fit_strengths([Vote("a", "b", "left")] * 30)
    assert 1 < fitted.of("a").value < 2 * PRIOR_DEVIATION
    assert np.isfinite(fitted.of("a").high)


def test_intervals_are_over_voters_where_there_are_enough():
    generator = np.random.default_rng(0)
    assert fit_strengths(simulated_votes(generator, voters=5)).unit == "voter"
    assert fit_strengths(simulated_votes(generator, voters=4)).unit == "vote"


def test_no_votes_and_a_setting_against_itself_are_errors():
    with pytest.raises(InputError, match="at least one"):
        fit_strengths([])
    with pytest.raises(InputError, match="`a` twice"):
        fit_strengths([Vote("a", "a", "tie")])
