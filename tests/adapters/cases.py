"""Layers, options and slow formulas that the adapter tests run over."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lycoris.adapters import ALGORITHMS

torch.set_num_threads(1)

LAYERS = {
    "linear": (lambda: nn.Linear(24, 40), (2, 7, 24)),
    "linear-no-bias": (lambda: nn.Linear(40, 16, bias=False), (3, 40)),
    "conv1d": (lambda: nn.Conv1d(12, 20, 5, stride=2, padding=3, dilation=2), (2, 12, 17)),
    "conv2d": (lambda: nn.Conv2d(12, 20, 3, padding=1), (2, 12, 6, 5)),
    "conv2d-strided": (lambda: nn.Conv2d(20, 12, (3, 5), stride=(1, 2), padding=(0, 2), bias=False), (2, 20, 7, 9)),
    "conv2d-pointwise": (lambda: nn.Conv2d(24, 8, 1), (2, 24, 4, 4)),
    "conv2d-groups": (lambda: nn.Conv2d(12, 24, 3, padding=1, groups=2), (2, 12, 5, 5)),
    "conv2d-depthwise": (lambda: nn.Conv2d(16, 16, 3, groups=16), (2, 16, 5, 5)),
    "conv2d-circular": (lambda: nn.Conv2d(12, 20, 3, padding=1, padding_mode="circular"), (2, 12, 5, 6)),
    "conv2d-same": (lambda: nn.Conv2d(12, 20, 3, padding="same", dilation=2), (2, 12, 6, 6)),
    "conv3d": (lambda: nn.Conv3d(8, 12, 3, stride=2, padding=1), (1, 8, 5, 4, 6)),
    "layer-norm": (lambda: nn.LayerNorm(24), (2, 5, 24)),
    "group-norm": (lambda: nn.GroupNorm(4, 12), (2, 12, 3, 3)),
    "rms-norm": (lambda: nn.RMSNorm(24), (2, 5, 24)),
}

FAST_LAYERS = ("linear", "conv2d-strided", "conv2d-groups")
"""Layers that every algorithm and option is tested on each time, DoRA around most algorithms on the first alone; the
others are marked slow."""

OPTIONS: dict[str, dict[str, dict]] = {
    "lora": {
        "rank and alpha": {"rank": 3, "alpha": 2.0},
        "tucker": {"rank": 2, "alpha": 3.0, "tucker": True},
        "dora": {"rank": 3, "alpha": 2.0, "dora": "output"},
        "dora by input": {"rank": 3, "alpha": 2.0, "dora": "input"},
        "rank stabilised": {"rank": 3, "alpha": 2.0, "rank_stabilised": True},
        "scalar": {"rank": 3, "alpha": 2.0, "scalar": True},
        "scalar and dora": {"rank": 3, "scalar": True, "dora": "output"},
        "orthogonal start": {"rank": 3, "alpha": 2.0, "start": "orthogonal"},
        "svd start": {"rank": 3, "alpha": 2.0, "start": "svd"},
        "svd start and dora": {"rank": 2, "start": "svd", "dora": "output"},
    },
    "loha": {
        "rank and alpha": {"rank": 3, "alpha": 2.0},
        "rank 1": {"rank": 1},
        "rank stabilised": {"rank": 3, "alpha": 2.0, "rank_stabilised": True},
        "scalar": {"rank": 3, "alpha": 2.0, "scalar": True},
        "tucker": {"rank": 2, "alpha": 3.0, "tucker": True},
    },
    "lokr": {
        "factor": {"factor": 4},
        "square": {"factor": -1},
        "rank stabilised": {"factor": 2, "rank": 2, "alpha": 3.0, "rank_stabilised": True},
        "scalar": {"factor": 4, "scalar": True},
        "scalar and low rank": {"factor": 2, "rank": 2, "alpha": 3.0, "scalar": True},
        "low rank": {"factor": 2, "rank": 2, "alpha": 3.0},
        "both low rank": {"factor": -1, "rank": 1, "alpha": 0.7, "decompose_both": True},
        "tucker": {"factor": 2, "rank": 2, "alpha": 3.0, "tucker": True},
        "unbalanced": {"factor": 2, "unbalanced": True},
    },
    "full": {"weights alone": {"bias": False}},
    "ia3": {"on the input": {"on_input": True}},
    "glora": {
        "rank and alpha": {"rank": 3, "alpha": 2.0},
        "rank stabilised": {"rank": 3, "alpha": 2.0, "rank_stabilised": True},
        "scalar": {"rank": 1, "alpha": 2.0, "scalar": True},
    },
    "dylora": {
        "blocks": {"rank": 4, "alpha": 3.0, "block": 2},
        "scalar": {"rank": 3, "alpha": 2.0, "scalar": True},
    },
    "diag-oft": {"rescaled": {"factor": 5, "rescale": True}, "constrained": {"constraint": 0.01}},
    "boft": {"rescaled": {"rescale": True}, "constrained": {"constraint": 0.01}, "whole": {"factor": -1}},
    "t-lora": {"rank and alpha": {"rank": 3, "alpha": 2.0}},
}
"""Beyond each algorithm's defaults, which every table entry is tested with."""

for _algorithm in ALGORITHMS:
    if _algorithm != "norms":
        for _by in ("output", "input"):
            _name = "dora" if _by == "output" else "dora by input"
            OPTIONS.setdefault(_algorithm, {}).setdefault(_name, {"dora": _by})


def cases(norms: bool = True) -> list:
    """(algorithm, options, layer) for everything that fits together, with readable ids."""
    import pytest

    found = []
    for algorithm, kind in ALGORITHMS.items():
        for option, values in {"defaults": {}, **OPTIONS.get(algorithm, {})}.items():
            for name, (make, _) in LAYERS.items():
                if "norm" in name and not norms:
                    continue
                if isinstance(make(), kind.layer_types) and not _too_small(algorithm, name, values):
                    every = option == "defaults" and algorithm in ("lora", "lokr", "norms")
                    wrapped = option.startswith("dora") and algorithm not in ("lora", "lokr")
                    fast = every or name in (FAST_LAYERS[:1] if wrapped else FAST_LAYERS)
                    marks = [] if fast else [pytest.mark.slow]
                    found.append(pytest.param(algorithm, values, name, id=f"{algorithm}-{option}-{name}", marks=marks))
    return found


def _too_small(algorithm: str, name: str, options: dict) -> bool:
    """One input channel a group allows these no rank above 1."""
    pointwise = algorithm == "glora" or (options.get("tucker", False) and "factor" not in options)
    return name == "conv2d-depthwise" and pointwise and options.get("rank", 1) > 1


def make_layer(name: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """A float64 layer in a model, so that it can be found, with random values, and an input for it."""
    torch.manual_seed(seed)
    build, shape = LAYERS[name]
    layer = build().double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return nn.Sequential(layer).eval(), torch.randn(*shape, dtype=torch.float64)


def randomize(network: nn.Module, seed: int = 1) -> None:
    """Values that make every parameter matter."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


def forward_with(layer: nn.Module, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """The layer's own forward, as PyTorch does it, with another weight and bias."""
    values = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    return torch.func.functional_call(layer, values, (x,))


def formula(algorithm: str, tensors: dict[str, Tensor], weight: Tensor) -> Tensor:
    """The new weight as the papers write it, from the tensors of a file, element by element where that is clearest."""
    t = {name: value.double() for name, value in tensors.items()}
    changed = weight + _FORMULAS[algorithm](t, weight)
    if "dora_scale" not in t:
        return changed
    by_output = t["dora_scale"].shape[:2] == (weight.shape[0], 1)
    for i in range(weight.shape[0 if by_output else 1]):
        part = changed[i] if by_output else changed[:, i]
        part *= t["dora_scale"].flatten()[i] / part.square().sum().sqrt()
    return changed


def _lora(t: dict[str, Tensor], weight: Tensor) -> Tensor:
    up, down = t["lora_up.weight"].flatten(1), t["lora_down.weight"]
    rank = up.shape[1]
    total = torch.zeros_like(weight)
    for r in range(rank):
        if "lora_mid.weight" in t:
            row = sum(
                t["lora_mid.weight"][r, s].unsqueeze(0) * down[s].reshape(-1, *(1,) * (weight.dim() - 2))
                for s in range(rank)
            )
        else:
            row = down[r]
        for o in range(weight.shape[0]):
            total[o] += up[o, r] * row
    return t["alpha"] / rank * total


def _loha(t: dict[str, Tensor], weight: Tensor) -> Tensor:
    rank = t["hada_w1_b"].shape[0]
    if "hada_t1" not in t:
        halves = [(t[f"hada_w{i}_a"] @ t[f"hada_w{i}_b"]).view(weight.shape) for i in (1, 2)]
    else:
        halves = [torch.zeros_like(weight), torch.zeros_like(weight)]
        for i, half in enumerate(halves, start=1):
            core, a, b = t[f"hada_t{i}"], t[f"hada_w{i}_a"], t[f"hada_w{i}_b"]
            for o in range(weight.shape[0]):
                for c in range(weight.shape[1]):
                    for r in range(rank):
                        for s in range(rank):
                            half[o, c] += a[r, o] * core[r, s] * b[s, c]
    return t["alpha"] / rank * halves[0] * halves[1]


def _lokr(t: dict[str, Tensor], weight: Tensor) -> Tensor:
    rank = None
    if "lokr_w1" in t:
        w1 = t["lokr_w1"]
    else:
        w1, rank = t["lokr_w1_a"] @ t["lokr_w1_b"], t["lokr_w1_b"].shape[0]
    kernel = weight.shape[2:]
    if "lokr_w2" in t:
        w2 = t["lokr_w2"]
    elif "lokr_t2" in t:
        core, a, b = t["lokr_t2"], t["lokr_w2_a"], t["lokr_w2_b"]
        rank = core.shape[0]
        w2 = torch.zeros(a.shape[1], b.shape[1], *kernel, dtype=torch.float64)
        for r in range(rank):
            for s in range(rank):
                w2 += core[r, s] * torch.outer(a[r], b[s]).reshape(*w2.shape[:2], *(1,) * len(kernel))
    else:
        w2, rank = t["lokr_w2_a"] @ t["lokr_w2_b"], t["lokr_w2_b"].shape[0]
        w2 = w2.view(w2.shape[0], -1, *kernel)
    scale = 1.0 if rank is None else t["alpha"] / rank
    total = torch.zeros_like(weight)
    k, n = w2.shape[:2]
    for i in range(w1.shape[0]):
        for j in range(w1.shape[1]):
            total[i * k : (i + 1) * k, j * n : (j + 1) * n] = w1[i, j] * w2
    return scale * total


def _ia3(t: dict[str, Tensor], weight: Tensor) -> Tensor:
    total, gain = torch.zeros_like(weight), t["weight"].flatten()
    for o in range(weight.shape[0]):
        for i in range(weight.shape[1]):
            total[o, i] = weight[o, i] * gain[i if t["on_input"] else o]
    return total


def _glora(t: dict[str, Tensor], weight: Tensor) -> Tensor:
    a1, a2, b1 = (t[f"{name}.weight"].flatten(1) for name in ("a1", "a2", "b1"))
    mixed = torch.tensordot(weight.movedim(1, -1), a1 @ a2, 1).movedim(-1, 1)
    return t["alpha"] / a2.shape[0] * (mixed + torch.tensordot(b1, t["b2.weight"], 1))


def _cayley(blocks: Tensor, limit: Tensor) -> Tensor:
    skew = blocks - blocks.mT
    if 0 < limit < skew.norm():
        skew = skew * limit / skew.norm()
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype)
    return (eye + skew) @ torch.linalg.inv(eye - skew)


def _diag_oft(t: dict[str, Tensor], weight: Tensor) -> Tensor:
    turns = _cayley(t["oft_blocks"], t["alpha"] * weight.shape[0])
    turned = torch.tensordot(torch.block_diag(*turns.mT), weight, 1)
    return turned * t.get("rescale", torch.ones(1)) - weight


def _boft(t: dict[str, Tensor], weight: Tensor) -> Tensor:
    turned, out = weight.flatten(1), weight.shape[0]
    for level, blocks in enumerate(_cayley(t["oft_blocks"], t["alpha"] * out)):
        half = blocks.shape[-1] // 2
        apart = 2**level * half
        order = torch.arange(out).view(-1, 2, apart).transpose(1, 2).flatten()
        matrix = torch.zeros(out, out, dtype=torch.float64)
        matrix[order.view(-1, 1), order.view(1, -1)] = torch.block_diag(*blocks)
        turned = matrix @ turned
    return (turned.view(weight.shape) * t.get("rescale", torch.ones(1))) - weight


_FORMULAS = {
    "lora": _lora,
    "loha": _loha,
    "lokr": _lokr,
    "full": lambda t, weight: t["diff"],
    "ia3": _ia3,
    "glora": _glora,
    "dylora": _lora,
    "diag-oft": _diag_oft,
    "boft": _boft,
    "t-lora": _lora,
    "norms": lambda t, weight: t["w_norm"],
}
