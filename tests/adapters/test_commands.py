"""`lycoris convert` and `lycoris extract` as a user runs them."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

import lycoris
from flows.cli.main import main
from lycoris.bases import open_base
from tests.adapters.cases import randomize
from tests.bases.small_base import save_small_base


@pytest.fixture
def base(tmp_path):
    """A small base in its folder."""
    return save_small_base(tmp_path / "base")


def test_convert_needs_no_model_and_prints_each_error(base, tmp_path, capsys):
    parts = open_base(base, device="cpu").parts
    network = lycoris.attach(parts, "lokr", preset="full", factor=4)
    randomize(network)
    network.save(tmp_path / "a.safetensors")
    source, target = str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    assert main(["convert", source, target, "--format", "diffusers", "--rank", "3", "--dtype", "float16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == target
    assert f"relative error of {len(network)} layers" in lines[-2]
    assert len(lines) == len(network) + 2
    tensors = load_file(target)
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    assert {value.shape[0] for key, value in tensors.items() if "lora_A" in key} <= {1, 2, 3}
    assert main(["convert", target, str(tmp_path / "c.safetensors")]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "c.safetensors")]
    assert set(network.adapters) == {key.split(".")[0] for key in load_file(tmp_path / "c.safetensors")}


def test_convert_uses_the_base_where_weights_are_needed(base, tmp_path, capsys):
    network = lycoris.attach(open_base(base, device="cpu").parts, "boft", preset="full")
    randomize(network)
    network.save(tmp_path / "a.safetensors")
    source, target = str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    assert main(["convert", source, target, "--format", "peft"]) == 2
    assert "BOFT changes a weight depending on its values" in capsys.readouterr().err
    assert main(["convert", source, target, "--format", "peft", "--base", str(base), "--energy", "0.99"]) == 0
    assert "relative error" in capsys.readouterr().out
    assert main(["convert", source, target, "--algorithm", "loha"]) == 2
    assert "Known: lora" in capsys.readouterr().err


def test_extract_writes_what_tuning_changed(base, tmp_path, capsys):
    tuned = open_base(base, device="cpu")
    network = lycoris.attach(tuned.parts, "lora", preset="unet-attn-mlp", rank=2)
    randomize(network)
    network.merge()
    for layer in network.layers.values():
        layer.module.original_weight.copy_(layer.module.weight)  # keep the merged weights when detached
    network.detach()
    tuned.pipeline().save_pretrained(tmp_path / "tuned")
    target = str(tmp_path / "x.safetensors")
    assert main(["extract", str(base), str(tmp_path / "tuned"), target, "--rank", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == target
    assert float(lines[-2].split()[0]) < 1e-5
    assert {key.split(".")[0] for key in load_file(target)} == set(network.adapters)
    assert main(["extract", str(base), str(base), target]) == 2
    assert "do not differ" in capsys.readouterr().err
