"""Random streams of networks that share a batch."""

from __future__ import annotations

import torch

from lycoris.adapters.layers.batch_partition import BatchPartition


def test_a_networks_stream_continues_and_leaves_the_global_one_unchanged():
    partition = BatchPartition()
    partition.reset_stream(3)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with partition.random_stream():
        first = torch.rand(2)
    assert torch.equal(torch.rand(3), expected)
    with partition.random_stream():
        second = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(torch.cat([first, second]), torch.cat([torch.rand(2), torch.rand(2)]))
