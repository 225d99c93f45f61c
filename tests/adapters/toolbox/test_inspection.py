"""What `inspect_adapter` says of a file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import lycoris
from lycoris.adapters.toolbox.inspection import histogram, inspect_adapter
from lycoris.errors import InputError
from tests.adapters.cases import randomize
from tests.adapters.small_denoisers import DENOISERS


@pytest.fixture(scope="module")
def flux(tmp_path_factory):
    """A file of FLUX in kohya's names and its dense updates."""
    torch.manual_seed(0)
    parts = DENOISERS["flux.1"].parts()
    network = lycoris.attach(parts, "lora", layers=[r".*to_[qkv]", r".*proj_mlp", r".*to_out\.0"], rank=2, alpha=1.0)
    randomize(network)
    path = tmp_path_factory.mktemp("inspect") / "a.safetensors"
    tags = {"ss_tag_frequency": json.dumps({"5_x": {"bear": 3, "snow": 1}, "1_y": {"bear": 2}}), "ss_steps": "120"}
    network.save(path, format="kohya", metadata={**tags, "modelspec.trigger_phrase": "ohw bear"})
    dense = {key: each.structure(network.layers[key].weight).dense() for key, each in network.adapters.items()}
    norm = torch.stack([delta.norm() for delta in dense.values()]).norm().item()
    network.detach()
    return path, norm


def test_a_file_is_described_from_its_names_shapes_and_header(flux):
    path, norm = flux
    summary = inspect_adapter(path)
    assert (summary.dialect, summary.family, summary.architecture) == ("kohya", "flux.1", "flux-1-dev")
    assert summary.opens_on == "flux.1: transformer"
    assert replace(summary, training={"base": "pocket"}).opens_on.startswith("the pocket alone")
    assert summary.algorithms == {"lora": 3}
    assert summary.ranks == {2: 1, 6: 1, 8: 1}
    assert summary.norm == pytest.approx(norm, rel=1e-5)
    assert list(summary.blocks) == ["transformer.single_transformer_blocks.0", "transformer.transformer_blocks.0"]
    assert summary.norm == pytest.approx(sum(value**2 for value in summary.blocks.values()) ** 0.5)
    assert summary.training["trigger phrase"] == "ohw bear"
    assert summary.training["steps"] == "120"
    assert summary.tags == {"bear": 5, "snow": 1}
    assert [line.count("█") for line in histogram(summary)].count(40) == 1


def test_what_is_odd_is_said(flux, tmp_path):
    tensors = load_file(flux[0])
    names = sorted({key.split(".")[0] for key in tensors})
    tensors[f"{names[0]}.lora_up.weight"][0, 0] = float("nan")
    tensors[f"{names[1]}.lora_up.weight"].zero_()
    tensors[f"{names[2]}.alpha"] = torch.tensor(0.0)
    tensors |= {
        f"{names[2]}.lora_down.weight": tensors[f"{names[2]}.lora_down.weight"].double(),
        "other.key": torch.ones(1),
    }
    tensors["bundle_emb.word"] = torch.ones(2)
    save_file(tensors, tmp_path / "b.safetensors")
    summary = inspect_adapter(tmp_path / "b.safetensors")
    text = "\n".join(summary.oddities)
    for kind in ("NaN or infinite", "a factor is zero", "`alpha` is 0", "float64", "mixed ranks", "no adapter has"):
        assert kind in text
    assert "embeddings" in text
    assert names[1] in text
    assert next(each for each in summary.layers if each.name == names[0]).norm is None


@pytest.mark.parametrize("algorithm", ["loha", "lokr", "full", "ia3", "dylora"])
def test_every_algorithm_is_named_with_its_norm(algorithm, tmp_path):
    torch.manual_seed(0)
    network = lycoris.attach(DENOISERS["flux.1"].parts(), algorithm, layers=[r".*to_q"])
    randomize(network)
    network.save(tmp_path / "a.safetensors")
    dense = [each.structure(network.layers[key].weight).dense() for key, each in network.adapters.items()]
    network.detach()
    summary = inspect_adapter(tmp_path / "a.safetensors")
    assert set(summary.algorithms) == {algorithm}
    expected = 0 if algorithm == "ia3" else torch.stack([delta.norm() for delta in dense]).norm().item()
    assert summary.norm == pytest.approx(expected, rel=1e-5)


def test_a_checkpoint_is_said_to_be_one(tmp_path):
    save_file({f"model.diffusion_model.out.{i}.weight": torch.ones(2) for i in range(4)}, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match="it is a checkpoint of a model"):
        inspect_adapter(tmp_path / "c.safetensors")
