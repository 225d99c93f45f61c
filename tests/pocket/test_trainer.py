"""Muon and AdamW in one optimizer, checkpoints and averaged weights of the trainer."""

import pytest
import torch
from torch import nn

from lycoris.pocket.training.muon import MuonAdam, orthogonalize
from lycoris.pocket.training.trainer import TimeBudget, Trainer, TrainerConfig


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (24, 36)])
def test_orthogonalized_matrices_have_singular_values_near_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    result = orthogonalize(matrix)
    values = torch.linalg.svdvals(result)
    assert 0.6 < values.min() < values.max() < 1.4


def test_orthogonalization_ignores_scale():
    torch.manual_seed(1)
    matrix = torch.randn(10, 30)
    assert torch.allclose(orthogonalize(matrix), orthogonalize(1e-3 * matrix), atol=1e-4)


def test_adam_optimizes_embeddings_vectors_and_named_layers():
    network = nn.ModuleDict({"table": nn.Embedding(20, 16), "first": nn.Linear(16, 16), "second": nn.Linear(16, 16)})
    optimizer = MuonAdam([network], adam_only=("first",))
    assert [id(matrix) for matrix in optimizer.matrices] == [id(network["second"].weight)]
    assert len(optimizer.parameters) == 5


def test_a_training_continues_from_its_checkpoint(tmp_path):
    def start():
        torch.manual_seed(0)
        network = nn.Linear(16, 16)
        return network, Trainer(
            "linear", {"network": network}, TrainerConfig(1e-2), budget=TimeBudget(1), work=tmp_path
        )

    network, first = start()
    assert not first.resumed
    for _ in range(5):
        first.step(network(torch.ones(4, 16)).square().mean(), 4)
    first.save()
    resumed, second = start()
    assert second.resumed
    assert second.samples == 20
    assert torch.equal(network.weight, resumed.weight)
    assert torch.equal(first.optimizer.momentum[0], second.optimizer.momentum[0])


def test_averaged_weights_are_in_place_only_inside_the_context(tmp_path):
    network = nn.Linear(16, 16)
    trainer = Trainer("linear", {"network": network}, TrainerConfig(1e-1), budget=TimeBudget(1), work=tmp_path)
    for _ in range(3):
        trainer.step(network(torch.ones(4, 16)).square().mean(), 4)
    live = network.weight.detach().clone()
    with trainer.averaged_weights():
        assert not torch.equal(live, network.weight)
    assert torch.equal(live, network.weight)
