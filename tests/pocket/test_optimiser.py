"""Muon beside AdamW: near-orthonormal updates for matrices, ordinary ones for the rest."""

import pytest
import torch
from torch import nn

from lycoris.pocket.training.muon import MuonAdam, orthogonalise
from lycoris.pocket.training.trainer import TimeBudget, Trainer


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (24, 36)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    result = orthogonalise(matrix)
    values = torch.linalg.svdvals(result)
    assert 0.6 < values.min() < values.max() < 1.4


def test_scale_does_not_matter():
    torch.manual_seed(1)
    matrix = torch.randn(10, 30)
    assert torch.allclose(orthogonalise(matrix), orthogonalise(1e-3 * matrix), atol=1e-4)


def test_embeddings_vectors_and_named_layers_are_left_to_adam():
    network = nn.ModuleDict({"table": nn.Embedding(20, 16), "first": nn.Linear(16, 16), "second": nn.Linear(16, 16)})
    optimiser = MuonAdam([network], plain=("first",))
    assert [id(matrix) for matrix in optimiser.matrices] == [id(network["second"].weight)]
    assert len(optimiser.parameters) == 5


def test_a_course_goes_on_from_its_checkpoint(tmp_path):
    def course():
        torch.manual_seed(0)
        network = nn.Linear(16, 16)
        return network, Trainer("line", {"network": network}, budget=TimeBudget(1), work=tmp_path, rate=1e-2)

    network, first = course()
    assert not first.resumed
    for _ in range(5):
        first.step(network(torch.ones(4, 16)).square().mean(), 4)
    first.save()
    again, second = course()
    assert second.resumed
    assert second.samples == 20
    assert torch.equal(network.weight, again.weight)
    assert torch.equal(first.optimiser.momentum[0], second.optimiser.momentum[0])


def test_averaged_weights_are_put_in_and_taken_out():
    network = nn.Linear(16, 16)
    from pathlib import Path

    course = Trainer("none", {"network": network}, budget=TimeBudget(1), work=Path("absent"), rate=1e-1)
    for _ in range(3):
        course.step(network(torch.ones(4, 16)).square().mean(), 4)
    live = network.weight.detach().clone()
    with course.averaged_weights():
        assert not torch.equal(live, network.weight)
    assert torch.equal(live, network.weight)
