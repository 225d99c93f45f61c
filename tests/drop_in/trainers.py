"""What trainers do with a network, in the order of their scripts."""

from __future__ import annotations

import torch


def randomize(network, std=0.05):
    """Move the parameters away from their initial values."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(std * torch.randn(parameter.shape, generator=generator))


def steps(unet, batch, optimizer, count=3):
    """Train a few steps; the losses."""
    losses = []
    for _ in range(count):
        loss = (unet(**batch).sample.float() - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def output(unet, batch):
    return unet(**batch).sample
