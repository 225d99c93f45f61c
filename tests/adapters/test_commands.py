"""The commands of adapter files as a user runs them."""

from __future__ import annotations

import json
import re

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


def test_convert_needs_no_model_and_warns_of_a_large_loss(base, tmp_path, capsys):
    parts = open_base(base, device="cpu").parts
    network = lycoris.attach(parts, "lokr", preset="full", factor=4)
    randomize(network)
    network.save(tmp_path / "a.safetensors")
    source, target = str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    assert main(["convert", source, target, "--format", "diffusers", "--rank", "3", "--dtype", "float16"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [target]
    assert re.search(rf"relative error 0\.\d+ of {len(network)} layers", printed.err)
    assert "Warning: more than a tenth of the update is lost" in printed.err
    tensors = load_file(target)
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    assert {value.shape[0] for key, value in tensors.items() if "lora_A" in key} <= {1, 2, 3}
    assert main(["convert", target, str(tmp_path / "c.safetensors")]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "c.safetensors")]
    assert set(network.adapters) == {key.split(".")[0] for key in load_file(tmp_path / "c.safetensors")}


def test_blocks_that_are_not_numbered_as_published_need_the_model(tmp_path, capsys):
    parts = open_base("pocket", device="cpu").parts
    network = lycoris.attach(parts, "lora", preset="full", rank=2)
    randomize(network)
    source, target = str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    network.save(source)
    assert main(["convert", source, target, "--format", "comfyui"]) == 2
    assert "Give option `--base`" in " ".join(capsys.readouterr().err.split())
    network.save(source, metadata={"base": "pocket"})
    assert main(["convert", source, target, "--format", "comfyui"]) == 0
    network.detach()
    assert len(lycoris.load(target, parts)) == len(network)


def test_convert_uses_the_base_where_weights_are_needed(base, tmp_path, capsys):
    network = lycoris.attach(open_base(base, device="cpu").parts, "boft", preset="full")
    randomize(network)
    network.save(tmp_path / "a.safetensors")
    source, target = str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    assert main(["convert", source, target, "--format", "peft"]) == 2
    assert "BOFT changes a weight depending on its values" in capsys.readouterr().err
    assert main(["convert", source, target, "--format", "peft", "--base", str(base), "--energy", "0.99"]) == 0
    assert "relative error" in capsys.readouterr().err
    assert main(["-v", "convert", source, target, "--format", "peft", "--base", str(base), "--rank", "2"]) == 0
    assert capsys.readouterr().err.count(" rank ") >= len(network)
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
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [target]
    assert float(re.search(r"relative error (\S+)", printed.err)[1]) < 1e-5
    assert {key.split(".")[0] for key in load_file(target)} == set(network.adapters)
    assert main(["extract", str(base), str(base), target]) == 2
    assert "do not differ" in capsys.readouterr().err


@pytest.fixture
def adapter(base, tmp_path):
    """A LoRA of the small base."""
    network = lycoris.attach(open_base(base, device="cpu").parts, "lora", layers=[r".*attn1\.to_q"], rank=3)
    randomize(network)
    network.save(tmp_path / "a.safetensors")
    return str(tmp_path / "a.safetensors")


def test_inspect_describes_a_file(adapter, capsys):
    assert main(["inspect", adapter, "--layers"]) == 0
    text = capsys.readouterr().out
    for part in ("algorithm", "lora (", "kohya", "stable-diffusion", "norm of the update by block", "█", "rank 3"):
        assert part in text
    assert main(["inspect", adapter, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["algorithms"] == {"lora": len(summary["layers"])}
    assert summary["ranks"] == {"3": len(summary["layers"])}


def test_merge_and_resize_print_the_error_and_the_file(adapter, tmp_path, capsys):
    merged, small = str(tmp_path / "m.safetensors"), str(tmp_path / "s.safetensors")
    assert main(["merge", f"{adapter}:0.5", f"{adapter}:-0.25", "--out", merged]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [merged]
    assert re.search(r"relative error \d", printed.err)
    one, both = lycoris.inspect_adapter(adapter), lycoris.inspect_adapter(merged)
    assert both.norm == pytest.approx(0.25 * one.norm, rel=1e-4)
    assert main(["merge", adapter, adapter, "--weights", "0.5,-0.25", "--rank", "1", "--out", merged]) == 0
    assert set(lycoris.inspect_adapter(merged).ranks) == {1}
    assert main(["resize", adapter, small, "--error", "0.5"]) == 0
    assert max(lycoris.inspect_adapter(small).ranks) < 3
    assert "relative error" in capsys.readouterr().err


def test_bake_writes_a_folder(base, adapter, tmp_path, capsys):
    assert main(["bake", str(base), f"{adapter}:0.5", "--out", str(tmp_path / "baked")]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [str(tmp_path / "baked")]
    assert "norm of the change" in printed.err
    before, after = (open_base(each, device="cpu").parts["unet"].state_dict() for each in (base, tmp_path / "baked"))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all(key.endswith("attn1.to_q.weight") for key in changed)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convert", "A", "x.ckpt", "--format", "diffusers"], "must end in `.safetensors`"),
        (["convert", "A", "x.safetensors", "--format", "onnx"], "Unknown format `onnx`"),
        (["convert", "A", "x.safetensors", "--rank", "0"], "Option `--rank` must be"),
        (["merge", "A", "--out", "x.safetensors"], "Argument `FILE[:WEIGHT]...` must have at least two files"),
        (["merge", "A", "A", "--weights", "1", "--out", "x.safetensors"], "Option `--weights` must have one number"),
        (["merge", "A", "A", "--weights", "1,a", "--out", "x.safetensors"], "Option `--weights` must be numbers"),
        (["merge", "A", "A", "--density", "0", "--out", "x.safetensors"], "Option `--density` must be in"),
        (["merge", "A", "A:b", "--out", "x.safetensors"], "`b` is no number"),
        (["resize", "A", "x.safetensors"], "Give one of `--rank`"),
        (["resize", "A", "x.safetensors", "--energy", "2"], "Option `--energy` must be in"),
        (["resize", "A", "x.pt", "--rank", "1"], "must end in `.safetensors`"),
        (["bake", "B", "A", "--out", "x.safetensors"], "cannot be written as a single file"),
        (["bake", "B", "A", "--out", "x", "--dtype", "int8"], "Unknown dtype"),
        (["inspect", "none.safetensors"], "Cannot read `none.safetensors`"),
    ],
)
def test_errors_name_the_options_of_the_command(words, message, base, adapter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [{"A": adapter, "B": str(base), "A:b": f"{adapter}:b"}.get(word, word) for word in words]
    assert main(words) == 2
    text = capsys.readouterr().err
    assert message in text
    assert not re.search(r"\b[Aa]rgument `[a-z_]+`|strict=", text)


def test_an_error_about_the_model_names_the_option_base(tmp_path, capsys):
    network = lycoris.attach(torch.nn.ModuleDict({"first": torch.nn.Linear(4, 4)}), "lora", layers=["first"], rank=1)
    network.save(tmp_path / "a.safetensors")
    source, target = str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    for words in (["convert", source, target, "--format", "diffusers"], ["merge", source, source, "--out", target]):
        assert main(words) == 2
        assert "Give option `--base`, what the file was made for" in capsys.readouterr().err
