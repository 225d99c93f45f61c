"""The peak of a block includes memory that it freed, and excludes what was in use before."""

from __future__ import annotations

import pytest
import torch

from lycoris.training.memory_profiling import peak_memory

SIZE = 200_000_000


def held(size: int) -> None:
    torch.ones(size // 4).sum().item()


def test_a_block_s_peak_is_what_it_held_at_most() -> None:
    keep = torch.ones(SIZE // 4)
    with peak_memory(torch.device("cpu")) as first:
        held(SIZE)
        held(SIZE)
    with peak_memory(torch.device("cpu")) as second:
        held(SIZE // 10)
    if first.bytes is None:
        pytest.skip("this system does not count resident memory")
    assert 0.9 * SIZE < first.bytes < 1.5 * SIZE
    assert second.bytes is not None
    assert second.bytes < 0.5 * SIZE
    assert keep.sum() == SIZE // 4
