"""Modules are on the device only while they work."""

from __future__ import annotations

import torch
from torch import nn

from lycoris.bases.residency import Residency

DEVICE = torch.device("cuda")


class Placed(nn.Linear):
    """A layer that takes note of where it is moved, on a machine without a GPU."""

    place = torch.device("cpu")

    def to(self, device: torch.device) -> Placed:
        self.place = device
        return self


def modules() -> dict[str, Placed]:
    return {name: Placed(2, 2).requires_grad_(False) for name in ("text_encoder", "unet", "vae")}


def present(parts: dict[str, Placed]) -> set[str]:
    return {name for name, module in parts.items() if module.place == DEVICE}


def test_a_module_comes_when_it_works_and_stays_until_another_one_does() -> None:
    parts = modules()
    residency = Residency(parts, DEVICE, offload=True)
    assert present(parts) == set()
    residency.bring(["text_encoder"])
    assert present(parts) == {"text_encoder"}
    residency.bring(["unet"])
    residency.bring(["unet"])
    assert present(parts) == {"unet"}
    residency.park()
    assert present(parts) == set()


def test_a_trained_module_stays_with_those_at_work() -> None:
    parts = modules()
    parts["text_encoder"].requires_grad_(True)
    residency = Residency(parts, DEVICE, offload=True)
    residency.bring(["text_encoder"])
    residency.bring(["unet"])
    assert present(parts) == {"text_encoder", "unet"}
    residency.bring(["text_encoder"])  # between two passes of one step
    assert present(parts) == {"text_encoder", "unet"}


def test_without_offloading_nothing_moves() -> None:
    parts = modules()
    residency = Residency(parts, DEVICE, offload=False)
    residency.bring(["unet"])
    residency.park()
    assert present(parts) == set()
