"""Small models, and options with which every method of PEFT fits their layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

OPTIONS: dict[str, dict[str, Any]] = {
    "adamss": {"r": 2, "num_subspaces": 2},
    "boft": {"boft_block_size": 4},
    "c3a": {"block_size": 4},
    "fourierft": {"n_frequency": 20},
    "gralora": {"r": 4},
    "hira": {"r": 4},
    "miss": {"r": 4},
    "oft": {"oft_block_size": 4},
    "osf": {"effective_rank": 4},
    "psoft": {"r": 4},
    "randlora": {"r": 4},
    "road": {"group_size": 4},
    "shira": {"r": 2},
    "supertuning": {"sparsity": 0.5},
    "vblora": {"vector_length": 4, "num_vectors": 8, "topk": 2},
    "vera": {"r": 8},
    "pvera": {"r": 8},
    "waveft": {"n_frequency": 20},
}
CHANNELS = 8


class Block(nn.Module):
    """A convolution, a norm and two Linears that are not square."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(CHANNELS, 12, 3, padding=1)
        self.norm = nn.LayerNorm(12)
        self.widen = nn.Linear(12, 16)
        self.narrow = nn.Linear(16, 12)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.convolution(x).flatten(2).mT)
        return hidden + self.narrow(torch.relu(self.widen(hidden)))


def small_model() -> Block:
    torch.manual_seed(0)
    return Block().eval().requires_grad_(False)


def small_input() -> Tensor:
    return torch.randn(2, CHANNELS, 5, 4, generator=torch.Generator().manual_seed(1))
