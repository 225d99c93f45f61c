"""Muon for matrices and convolution kernels, AdamW for everything else, over one or several processes.

Muon replaces a momentum matrix by the nearest matrix with orthonormal rows, so that every direction of a layer
learns at the same pace (K. Jordan et al., 2024). A kernel counts as the matrix (out, in x height x width). On these
small networks it reached in a third of the time what AdamW reached.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

_POLYNOMIALS = ((8.0934, -23.6205, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526))
"""Three odd polynomials a x + b x³ + c x⁵, each the best in the largest error on what the one before leaves: together
they send singular values between 0.01 and 1 to between 0.73 and 1.27."""


def orthogonalise(matrix: Tensor) -> Tensor:
    """The matrix with its singular values moved to about 1.

    Works on the smaller Gram matrix throughout: with A = X Xᵀ, each polynomial is a factor from the left, so the long
    side is touched only once at the end.

    Args:
        matrix: of shape (rows, columns), float32.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalise(matrix.T).T
    gram = matrix @ matrix.T
    norm = gram.trace().clamp_min(1e-18).sqrt() * 1.01
    gram = gram / norm**2
    factor: Tensor | None = None
    for index, (a, b, c) in enumerate(_POLYNOMIALS):
        step = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        step.diagonal().add_(a)
        factor = step if factor is None else step @ factor
        if index < len(_POLYNOMIALS) - 1:
            gram = step @ gram @ step
    assert factor is not None
    return (factor @ matrix) / norm


class MuonAdam:
    """One optimiser over all parameters of some modules.

    Args:
        modules: what is trained. Embeddings, and layers named in `plain`, are left to AdamW.
        decay: decoupled weight decay of matrices.
        plain: parts of parameter names that Muon must not touch, such as first and last convolutions.
    """

    def __init__(self, modules: Iterable[nn.Module], *, decay: float = 0.01, plain: tuple[str, ...] = ()) -> None:
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for module in modules:
            tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
            for name, parameter in module.named_parameters():
                if not parameter.requires_grad:
                    continue
                small = parameter.ndim < 2 or min(parameter.shape[0], parameter[0].numel()) < 8
                skip = small or id(parameter) in tables or any(word in name for word in plain)
                (rest if skip else matrices).append(parameter)
        self.matrices, self.adam_parameters = matrices, rest
        self.parameters = matrices + rest
        self.decay = decay
        self.momentum = [torch.zeros_like(matrix) for matrix in matrices]
        self.adam = torch.optim.AdamW(rest, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
        self.world_size = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self._owner = self._assign_matrices()

    def _assign_matrices(self) -> list[int]:
        """Which process orthogonalises which matrix: the dearest first, each to whoever has least to do."""
        cost = [m.shape[0] * m.numel() + 15 * min(m.shape[0], m[0].numel()) ** 3 for m in self.matrices]
        load, owner = [0] * self.world_size, [0] * len(cost)
        for index in sorted(range(len(cost)), key=lambda i: -cost[i]):
            owner[index] = load.index(min(load))
            load[owner[index]] += cost[index]
        return owner

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float, max_grad_norm: float = 1.0) -> None:
        """Average gradients over the processes, clip them, and move every parameter.

        Args:
            rate: learning rate in the units of Adam; Muon's update is scaled to the same root mean square.
            clip: largest norm of all gradients together.
        """
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.world_size > 1:
            self._average_gradients()
        nn.utils.clip_grad_norm_(self.parameters, max_grad_norm)
        for group in self.adam.param_groups:
            group["lr"] = min(learning_rate, 2e-3)
        self.adam.step()
        updates = self._muon_updates()
        for matrix, update in zip(self.matrices, updates, strict=True):
            matrix.mul_(1 - learning_rate * self.decay).add_(update, alpha=-learning_rate)

    def _average_gradients(self) -> None:
        flat = torch.cat([_gradient(parameter).reshape(-1) for parameter in self.parameters])
        dist.all_reduce(flat)
        flat /= self.world_size
        for parameter, part in zip(self.parameters, flat.split([p.numel() for p in self.parameters]), strict=True):
            parameter.grad = part.view(parameter.shape)

    def _muon_updates(self) -> list[Tensor]:
        updates = []
        for matrix, momentum, owner in zip(self.matrices, self.momentum, self._owner, strict=True):
            gradient = _gradient(matrix)
            momentum.mul_(0.95).add_(gradient)
            if owner != self.rank:
                updates.append(torch.zeros_like(matrix))
                continue
            direction = (gradient + 0.95 * momentum).reshape(matrix.shape[0], -1)
            scale = 0.2 * max(direction.shape) ** 0.5
            updates.append((orthogonalise(direction.float()) * scale).view(matrix.shape))
        if self.world_size > 1:
            flat = torch.cat([update.reshape(-1) for update in updates])
            dist.all_reduce(flat)
            parts = flat.split([matrix.numel() for matrix in self.matrices])
            updates = [part.view(matrix.shape) for part, matrix in zip(parts, self.matrices, strict=True)]
        return updates

    def state_dict(self) -> dict:
        return {"momentum": self.momentum, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        for mine, saved in zip(self.momentum, state["momentum"], strict=True):
            mine.copy_(saved)
        self.adam.load_state_dict(state["adam"])


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
