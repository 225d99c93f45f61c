"""DistributedDataParallel and `fully_shard`: two processes with half a batch each learn what one does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STEP = """
import sys
import torch
from torch import nn
import lycoris

def model_and_network(scalar=True):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Flatten(), nn.Linear(32, 10))
    rules = {
        "0": {"algorithm": "lokr", "factor": 2},
        "3": {"algorithm": "lora", "rank": 4, "dora": "output", "scalar": scalar},
    }
    return model, lycoris.attach(model, layers=rules)

def train(model, network, x, y):
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        (model(x) - y).square().mean().backward()
        optimiser.step()
    return torch.cat([p.detach().flatten() for p in network.parameters()])

if __name__ == "__main__":
    import torch.distributed as dist
    rank, folder = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(8, 3, 4, 4, generator=generator), torch.randn(8, 10, generator=generator)
    model, network = model_and_network()
    parallel = nn.parallel.DistributedDataParallel(model)
    mine = slice(4 * rank, 4 * rank + 4)
    together = train(parallel, network, x[mine], y[mine])
    theirs = [torch.empty_like(together) for _ in range(2)]
    dist.all_gather(theirs, together)
    assert torch.equal(theirs[0], theirs[1])
    alone, network = model_and_network()
    start = torch.cat([p.detach().flatten() for p in network.parameters()])
    expected = train(alone, network, x, y)
    assert not torch.allclose(start, expected, atol=1e-3)
    torch.testing.assert_close(together, expected)
    try:
        lycoris.attach(parallel, "lora")
    except lycoris.errors.InputError as error:
        assert "in DistributedDataParallel" in str(error)
    else:
        raise AssertionError("an adapter after DistributedDataParallel")

    from torch.distributed.fsdp import fully_shard
    alone, network = model_and_network(scalar=False)  # `fully_shard` refuses a scalar
    expected = train(alone, network, x, y)
    model, network = model_and_network(scalar=False)
    for part in (model[3], model):
        fully_shard(part)
    try:
        lycoris.attach(model, "lora", layers=["0"])
    except lycoris.errors.InputError as error:
        assert "has a distributed weight" in str(error)
    else:
        raise AssertionError("an adapter after fully_shard")
    try:
        network.detach()
    except lycoris.errors.InputError as error:
        assert "got the class" in str(error)
    else:
        raise AssertionError("an adapter taken out of a sharded layer")
    train(model, network, x[mine], y[mine])
    whole = torch.cat([p.detach().full_tensor().flatten() for p in network.parameters()])
    torch.testing.assert_close(whole, expected)
    network.save(f"{folder}/{rank}.safetensors")
    alone, again = model_and_network()
    again.detach()
    lycoris.load(f"{folder}/{rank}.safetensors", alone)
    with torch.no_grad():
        torch.testing.assert_close(alone(x), model(x))
    dist.destroy_process_group()
    print("same")
"""


def test_two_processes_learn_what_one_does(tmp_path):
    (tmp_path / "step.py").write_text(STEP)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); exec(open('step.py').read())"]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=400) for process in running]
    except subprocess.TimeoutExpired:
        pytest.fail("the two processes did not end in time")
    finally:
        for process in running:
            process.kill()
    assert [out.strip() for out, _ in outputs] == ["same", "same"], outputs
