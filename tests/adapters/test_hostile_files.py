"""Mutated files: reading, converting, inspecting, resizing and merging them raises nothing but an InputError."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

import lycoris
from lycoris.adapters.files.dialects import DIALECTS
from lycoris.errors import InputError
from tests.adapters.dialect_cases import NAMES, Cell, file_tensors

_NAMES = [
    *("lora_up.weight", "lora_down.weight", "alpha", "dora_scale", "diff", "diff_b", "lora_bias", "weight", "on_input"),
    *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2", "hada_w1_a", "hada_t1"),
    *("lora_A.weight", "lora_B.default.weight", "lora_B.bias", "ia3_l", "oft_blocks", "a1.weight", "b2.weight"),
    *(
        "bias_indices",
        "bias_values",
        "bias_size",
        "lora_magnitude_vector",
        "w_norm",
        "b_norm",
        "rescale",
        "lora_mid.weight",
    ),
]
_LAYERS = ["lycoris_0", "lycoris_1", "lycoris_2", "model.0", "model.1", "base_model.model.2", "lora_unet_conv_in", ""]
_METADATA = ["lycoris.layers", "lycoris.settings", "lycoris.algorithm", "lycoris.kernels", "modelspec.architecture"]
_VALUES = [
    "",
    "{}",
    "[]",
    "lora",
    "lokr",
    '{"lycoris_0": {"algorithm": "t-lora", "steps": []}}',
    "flux-1-dev/lora",
    "1e999",
]


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Conv2d(4, 6, 3), nn.LayerNorm(6))


def _valid_files(folder: Path) -> list[dict[str, Tensor]]:
    """Tensors of valid files: of every algorithm on the model, and of every dialect."""
    files = []
    for algorithm in lycoris.ALGORITHMS:
        network = lycoris.attach(_model(), algorithm, preset="everything")
        network.save(folder / "valid.safetensors")
        files.append(load_file(folder / "valid.safetensors"))
    for dialect, families in NAMES.items():
        generator = torch.Generator().manual_seed(0)
        for family, names in families.items():
            weight = torch.zeros(12, 4, dtype=torch.float64)
            file = {}
            for name in names:
                file |= file_tensors(Cell(dialect, family, "lora"), name, weight, generator)[0]
            files.append(file)
    return files


def _mutate_tensors(tensors: dict[str, Tensor], rng: random.Random) -> dict[str, Tensor]:
    tensors = dict(tensors)
    for _ in range(rng.choice([1, 1, 1, 2])):
        key = rng.choice(list(tensors) or ["x"])
        values = tensors.get(key, torch.zeros(1))
        match rng.randrange(8):
            case 0:
                tensors.pop(key, None)
            case 1:
                tensors[key] = torch.zeros([rng.choice([0, 1, 2, 3, 8]) for _ in range(rng.randint(0, 5))])
            case 2:
                tensors[key] = values.to(rng.choice([torch.int64, torch.bool, torch.float8_e5m2, torch.bfloat16]))
            case 3:
                tensors[key] = torch.full_like(
                    values, rng.choice([float("nan"), float("inf"), 1e30, -1.0]), dtype=torch.float32
                )
            case 4:
                layer, _, name = key.rpartition(".")
                tensors[f"{layer}.{rng.choice(_NAMES)}" if rng.random() < 0.7 else name] = tensors.pop(key, values)
            case 5:
                tensors[f"{rng.choice(_LAYERS)}.{rng.choice(_NAMES)}"] = torch.ones(
                    [rng.choice([1, 2, 6, 8]) for _ in range(2)]
                )
            case 6:
                tensors[key.replace("_", rng.choice([".", "__", ""]))] = values
            case _:
                prefix = rng.choice([prefix.text for dialect in DIALECTS.values() for prefix in dialect.prefixes])
                tensors[prefix + key] = tensors.pop(key, values)
    return {key: values.contiguous().clone() for key, values in tensors.items() if key}


def _mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    mutable = bytearray(data)
    for _ in range(rng.randint(1, 2)):
        position = rng.randrange(8 + length if rng.random() < 0.8 else len(mutable))
        if rng.random() < 0.5:
            mutable[position % len(mutable)] = rng.randrange(256)
        else:
            del mutable[position : position + rng.randint(1, 9)]
    return bytes(mutable) + bytes(rng.choice([0, 0, 3]))


def _mutated_file(valid: dict[str, Tensor], rng: random.Random) -> bytes:
    tensors = _mutate_tensors(valid, rng) if rng.random() < 0.7 else valid
    metadata = {rng.choice(_METADATA): rng.choice(_VALUES) for _ in range(rng.randrange(3))}
    data = save(tensors, metadata=metadata)
    return _mutate_bytes(data, rng) if rng.random() < 0.2 else data


def _check(count: int, seed: int, folder: Path) -> None:
    """Read mutated files and write them again; an exception that is no InputError fails with the number of the file."""
    valid, model, outcomes = _valid_files(folder), _model(), {"loaded": 0, "refused": 0}
    path, target = folder / "mutated.safetensors", folder / "converted.safetensors"
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        path.write_bytes(
            _mutated_file(rng.choice(valid[: len(lycoris.ALGORITHMS)] if rng.random() < 0.5 else valid), rng)
        )
        strict, format = rng.random() < 0.5, rng.choice(["lycoris", "kohya", "comfyui", "diffusers"])
        actions: list[Callable[[], object]] = [
            lambda strict=strict: lycoris.load(path, model, strict=strict).detach(),
            rng.choice(
                [
                    lambda format=format: lycoris.convert(path, target, format=format),
                    lambda: lycoris.inspect_adapter(path),
                    lambda: lycoris.resize(path, target, rank=1),
                    lambda: lycoris.merge_adapters([path, path], target),
                ]
            ),
        ]
        for action in actions:
            try:
                action()
                outcomes["loaded"] += 1
            except InputError:
                outcomes["refused"] += 1
            except Exception as error:
                raise AssertionError(f"file {number} of seed {seed} raises {type(error).__name__}: {error}") from error
    assert all(count // 50 < outcome for outcome in outcomes.values()), outcomes
    assert not any("Adapted" in type(module).__name__ for module in model)


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_raise_only_input_errors(tmp_path):
    _check(500, 0, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(11))
def test_many_mutated_files_raise_only_input_errors(seed, tmp_path):
    _check(2000, seed, tmp_path)
