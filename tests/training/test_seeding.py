"""Random numbers follow from seed and scope, and stay the same from version to version."""

from lycoris.training.seeding import EpochSampler, derive_generator, derive_seed


def test_seeds_and_orders_are_pinned():
    """Other values would change the result of every training without a sign."""
    assert derive_seed(7, "step", 3) == 1825947944158770574
    assert derive_generator(7, "captions", 1).initial_seed() == 3289194783884048049
    sampler = EpochSampler(5, 3, seed=2)
    assert [sampler(step) for step in range(3)] == [[3, 2, 1], [4, 0, 1], [2, 0, 4]]


def test_each_part_of_a_scope_counts():
    scopes = [(7, "step", 3), (8, "step", 3), (7, "text", 3), (7, "step", 4), (7, "step")]
    assert len({derive_seed(*scope) for scope in scopes}) == len(scopes)
