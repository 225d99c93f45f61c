"""Files: writing, reading, and errors for files that do not fit or are hostile."""

from __future__ import annotations

import datetime
import hashlib
import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import lycoris
from lycoris.adapters import ALGORITHMS
from lycoris.errors import InputError
from tests.adapters.cases import randomize


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_a_file_restores_the_same_output_and_the_same_bytes(algorithm, parts, forward, tmp_path):
    network = lycoris.attach(parts, algorithm, preset="full")
    randomize(network)
    output = forward(parts)
    network.save(tmp_path / "a.safetensors", metadata={"data_version": "abc"})
    network.detach()
    again = lycoris.load(tmp_path / "a.safetensors", parts)
    assert torch.equal(forward(parts), output)
    again.save(tmp_path / "b.safetensors", metadata={"data_version": "abc"})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    metadata = lycoris.read_metadata(tmp_path / "a.safetensors")
    assert metadata["data_version"] == "abc"
    assert metadata["lycoris.algorithm"] == algorithm
    assert set(load_file(tmp_path / "a.safetensors")) == {
        f"{key}.{name}" for key, adapter in network.adapters.items() for name in adapter.state_tensors()
    }


@pytest.mark.parametrize("layer", [nn.Conv2d(8, 12, 3), nn.Conv1d(8, 12, 3), nn.Linear(8, 12)], ids=str)
def test_trailing_ones_of_a_shape_may_be_missing_as_in_dylora_files_of_lycoris(layer, tmp_path):
    model = nn.Sequential(layer)
    up, down = torch.randn(12, 2), torch.randn(2, *layer.weight.shape[1:])
    tensors = {"lycoris_0.lora_up.weight": up, "lycoris_0.lora_down.weight": down}
    save_file({**tensors, "lycoris_0.alpha": torch.tensor([3.0])}, tmp_path / "a.safetensors")
    adapter = lycoris.load(tmp_path / "a.safetensors", model).adapters["lycoris_0"]
    expected = 1.5 * torch.tensordot(up, down, 1)
    torch.testing.assert_close(adapter.structure(layer.weight).dense(), expected)


@pytest.mark.wrong_types
def test_a_header_has_the_hash_of_the_tensors_and_an_optional_date(parts, tmp_path):
    network = lycoris.attach(parts, "lora", preset="full", rank=2)
    moment = datetime.datetime(2026, 11, 25, 9, 30, tzinfo=datetime.UTC)
    dates = {"a": None, "b": datetime.date(2026, 11, 25), "c": moment}
    metadata = {}
    for name, date in dates.items():
        network.save(tmp_path / name, date=date)
        data = (tmp_path / name).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        metadata[name] = lycoris.read_metadata(tmp_path / name)
        assert metadata[name]["modelspec.hash_sha256"] == f"0x{hashlib.sha256(data[8 + length :]).hexdigest()}"
    assert [metadata[name].get("modelspec.date") for name in "abc"] == [None, "2026-11-25", "2026-11-25T09:30:00+00:00"]
    lycoris.convert(tmp_path / "b", tmp_path / "d", format="diffusers")
    assert lycoris.read_metadata(tmp_path / "d")["modelspec.date"] == "2026-11-25"
    with pytest.raises(InputError, match="`date` must be a date or a datetime, but got '2026'"):
        network.save(tmp_path / "e", date="2026")


def test_an_alpha_that_float32_does_not_hold_is_restored_exactly(tmp_path):
    model = nn.Sequential(nn.Linear(8, 12))
    network = lycoris.attach(model, "lora", rank=4, alpha=0.1)
    network.save(tmp_path / "a.safetensors", dtype="float16")
    network.detach()
    assert lycoris.load(tmp_path / "a.safetensors", model).adapters["lycoris_0"].scale == 0.1 / 4


def test_half_precision_files_keep_alpha(parts, tmp_path):
    network = lycoris.attach(parts, "lora", preset="full", rank=2, alpha=100000.0)
    network.save(tmp_path / "a.safetensors", dtype="float16")
    tensors = load_file(tmp_path / "a.safetensors")
    assert {v.dtype for k, v in tensors.items() if not k.endswith("alpha")} == {torch.float16}
    assert {v.item() for k, v in tensors.items() if k.endswith("alpha")} == {100000.0}
    next(network.parameters()).data.fill_(1e6)
    with pytest.raises(InputError, match="not finite in float16"):
        network.save(tmp_path / "b.safetensors", dtype="float16")
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize("format", ["peft", "diffusers"])
def test_other_formats_restore_the_same_output(format, parts, forward, tmp_path):
    network = lycoris.attach(parts, "lora", preset="full", rank=4, alpha=3.0)
    randomize(network)
    if format == "peft":
        parts = {"unet": parts["unet"], "text_encoder": parts["text_encoder"]}
    output = forward(parts)
    network.save(tmp_path / "a.safetensors", format=format)
    network.detach()
    lycoris.load(tmp_path / "a.safetensors", parts)
    torch.testing.assert_close(forward(parts), output)


@pytest.mark.wrong_types
def test_what_a_format_or_dtype_cannot_hold_is_an_error(parts, tmp_path):
    network = lycoris.attach(parts, "lokr", preset="full")
    with pytest.raises(InputError, match="Only plain LoRA"):
        network.save(tmp_path / "a.safetensors", format="diffusers")
    with pytest.raises(InputError, match="`kohia`"):
        network.save(tmp_path / "a.safetensors", format="kohia")
    with pytest.raises(InputError, match=r"`float61`.*`float64`"):
        network.save(tmp_path / "a.safetensors", dtype="float61")
    with pytest.raises(InputError, match="strings to strings"):
        network.save(tmp_path / "a.safetensors", metadata={"a": 1})
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write"):
        network.save(tmp_path / "file" / "a.safetensors")


def _lora(**changes) -> dict[str, torch.Tensor]:
    tensors = {
        "lycoris_0.lora_up.weight": torch.randn(6, 2),
        "lycoris_0.lora_down.weight": torch.randn(2, 4),
        "lycoris_0.alpha": torch.tensor(1.0),
    }
    tensors |= changes
    return {key: value for key, value in tensors.items() if value is not None}


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        (_lora(**{"lycoris_0.lora_down.weight": None}), "key 'lora_down.weight' is missing|lora_down.weight.*nothing"),
        (_lora(**{"lycoris_0.lora_down.weight": torch.randn(2, 5)}), r"must have shape \[2, 4\], but got \[2, 5\]"),
        (_lora(**{"lycoris_0.lora_up.weight": torch.full((6, 2), torch.nan)}), "must be finite"),
        (_lora(**{"lycoris_0.lora_up.weight": torch.zeros(6, 0)}), "not empty"),
        (_lora(**{"lycoris_0.alpha": torch.tensor(-1.0)}), "`alpha` must be a positive"),
        (_lora(**{"lycoris_0.lora_upp.weight": torch.zeros(1)}), "lora_upp.weight.*`lora_up.weight`"),
        (_lora(**{"lycoris_7.alpha": torch.tensor(1.0)}), "1 layers that the model does not have: `lycoris_7`"),
        ({"lycoris_0.strange": torch.zeros(1)}, "no algorithm has the keys"),
        ({"lycoris_0.lokr_w1": torch.zeros(5, 2), "lycoris_0.lokr_w2": torch.zeros(3, 2)}, "`sides` must multiply"),
        ({}, "it has no layer at all"),
        (_lora(**{"lycoris_0.lora_up.weight": torch.zeros(6, 2, dtype=torch.int32)}), "must be floating, but is"),
        (_lora(**{"lycoris_0.lora_down.weight": torch.full((2, 4), torch.inf)}), "must be finite"),
        (_lora(**{"lycoris_0.alpha": torch.tensor(torch.nan)}), "must be finite"),
        (_lora(**{"lycoris_0.dora_scale": torch.zeros(7)}), "dora_scale.* must have shape"),
    ],
)
def test_files_that_do_not_fit_are_errors_and_leave_the_model_unchanged(tensors, match, tmp_path):
    save_file(tensors, tmp_path / "a.safetensors")
    model = nn.Sequential(nn.Linear(4, 6))
    with pytest.raises(InputError, match=match):
        lycoris.load(tmp_path / "a.safetensors", model)
    assert type(model[0]) is nn.Linear


def _raw(path, header: bytes, data: bytes = b"", length: int | None = None) -> None:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)


def _entry(**changes) -> bytes:
    return json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}).encode()


def _two(first: list[int], second: list[int]) -> bytes:
    entry = {"dtype": "F32", "shape": [1]}
    return json.dumps({"x": {**entry, "data_offsets": first}, "y": {**entry, "data_offsets": second}}).encode()


@pytest.mark.parametrize(
    ("header", "length", "match"),
    [
        (b"{}", 1 << 62, "not a safetensors file"),
        (b"{nonsense", None, "not JSON"),
        (b"[]", None, "not a JSON object"),
        (b'{"x":1,"x":2}', None, "`x` twice"),
        (b'{"__metadata__":{"a":1}}', None, "not strings"),
        (b'{"x":{"dtype":"F32"}}', None, "must give dtype, shape"),
        (_entry(dtype="F31"), None, "dtype must be one of"),
        (_entry(shape=[1 << 60]), None, "takes .* bytes"),
        (_entry(shape=[-1]), None, "wrong shape"),
        (_entry(shape=[True]), None, "wrong shape"),
        (_entry(data_offsets=[4, 8]), None, "in 4 bytes of data"),
        (b"[" * 100000, None, "not JSON"),
        (b'{"x":' + b"9" * 5000 + b"}", None, "not JSON"),
        (b'{"\xff\xfe":1}', None, "not JSON"),
        (b"", None, "not JSON"),
        (b"null", None, "not a JSON object"),
        (b'{"__metadata__":[]}', None, "not strings"),
        (b'{"__metadata__":{"a":"1","a":"2"}}', None, "`a` twice"),
        (b'{"x":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}', None, "`dtype` twice"),
        (_entry(dtype=["F32"]), None, "dtype must be one of"),
        (_entry(dtype=None), None, "dtype must be one of"),
        (_entry(more=1), None, "must give dtype, shape"),
        (_entry(shape=[float("nan")]), None, "wrong shape"),
        (_entry(shape=[1.0]), None, "wrong shape"),
        (_entry(shape=[0, 1 << 62, 1 << 62], data_offsets=[0, 0]), None, "that no tensor can have"),
        (_entry(shape=[1] * 100), None, "100 dimensions that no tensor can have"),
        (_entry(shape=[10**400]), None, "that no tensor can have"),
        (_entry(data_offsets=[-4, 0]), None, "wrong shape .* offsets"),
        (_entry(data_offsets=[4, 0]), None, "takes 4 bytes"),
        (_entry(data_offsets=[0, 4, 4]), None, "wrong shape .* offsets"),
        (_entry(data_offsets="04"), None, "wrong shape .* offsets"),
        (_entry(dtype="F16", data_offsets=[0, 2]), None, "4 bytes of data, but its tensors end at 2"),
        (_entry(dtype="F16", data_offsets=[2, 4]), None, "`x` leaves a gap after `the start`"),
        (_two([0, 4], [0, 4]), None, "`y` overlaps `x`: it begins at 0, not at 4"),
        (_two([0, 4], [1 << 70, (1 << 70) + 4]), None, "takes 4 bytes"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_hostile_header_is_an_error_before_memory_is_allocated(header, length, match, tmp_path):
    _raw(tmp_path / "a.safetensors", header, b"\0" * 4, length)
    with pytest.raises(InputError, match=match):
        lycoris.read_metadata(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=match):
        lycoris.load(tmp_path / "a.safetensors", nn.Linear(2, 2))


def test_missing_files_and_other_formats_are_errors(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read .*none\.safetensors"):
        lycoris.read_metadata(tmp_path / "none.safetensors")
    (tmp_path / "short").write_bytes(b"abc")
    with pytest.raises(InputError, match="not a safetensors file"):
        lycoris.read_metadata(tmp_path / "short")


def test_a_huge_factor_of_an_empty_tensor_allocates_no_memory(tmp_path):
    save_file(
        {"lycoris_0.lokr_w1_a": torch.zeros(2, 1), "lycoris_0.lokr_w1_b": torch.zeros(0, 1 << 40)}, tmp_path / "a"
    )
    with pytest.raises(InputError, match="not empty"):
        lycoris.load(tmp_path / "a", nn.Sequential(nn.Linear(4, 6)))


def test_converting_between_formats_keeps_the_output(parts, forward, tmp_path):
    network = lycoris.attach(parts, "lora", preset="full", rank=4, alpha=3.0)
    randomize(network)
    output = forward(parts)
    network.save(tmp_path / "a.safetensors")
    network.detach()
    lycoris.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", format="diffusers", model=parts)
    assert not any("Adapted" in repr(part) for part in parts.values())
    lycoris.load(tmp_path / "b.safetensors", parts)
    torch.testing.assert_close(forward(parts), output)


@pytest.mark.parametrize("format", ["lycoris", "diffusers"])
def test_the_loader_of_diffusers_computes_the_same_with_our_lora(format, parts, forward, tmp_path):
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        **parts,
        vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4),
        tokenizer=None,
        scheduler=DDIMScheduler(clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    network = lycoris.attach(pipeline, "lora", preset="full", rank=4, alpha=3.0)
    randomize(network)
    output = forward(parts)
    network.save(tmp_path / "a.safetensors", format=format)
    network.detach()
    pipeline.load_lora_weights(tmp_path, weight_name="a.safetensors")
    torch.testing.assert_close(forward({"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}), output)


@pytest.mark.parametrize("length", [0, 4, 8, 40, 100, -3, -1])
def test_a_truncated_file_is_an_error(length, tmp_path):
    save_file(_lora(), tmp_path / "a.safetensors")
    complete = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(complete[:length])
    with pytest.raises(InputError, match=r"not a safetensors file|takes .* bytes"):
        lycoris.load(tmp_path / "a.safetensors", nn.Sequential(nn.Linear(4, 6)))


def test_a_hostile_header_takes_no_more_memory_than_the_file(tmp_path):
    import tracemalloc

    entry = {"dtype": "F64", "shape": [1 << 40], "data_offsets": [0, 8 << 40]}
    _raw(tmp_path / "a", json.dumps({f"lycoris_0.{i}": entry for i in range(100)}).encode(), b"\0" * 64)
    tracemalloc.start()
    with pytest.raises(InputError, match="takes 8796093022208 bytes"):
        lycoris.load(tmp_path / "a", nn.Sequential(nn.Linear(4, 6)))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "metadata",
    [
        {"lycoris.settings": "[]"},
        {"lycoris.settings": "{"},
        {"lycoris.layers": "[" * 5000},
        {"lycoris.algorithm": "t-lora", "lycoris.settings": '{"minimum": {}}'},
        {"lycoris.algorithm": "t-lora", "lycoris.settings": '{"steps": "x"}'},
        {"lycoris.algorithm": "dylora", "lycoris.settings": '{"block": [2]}'},
        {"lycoris.algorithm": "lora", "lycoris.settings": '{"start": [1]}'},
        {"lycoris.layers": '{"lycoris_0": {"algorithm": "dylora", "block": 9}}'},
    ],
    ids=str,
)
def test_hostile_metadata_is_an_error(metadata, tmp_path):
    save_file(_lora(), tmp_path / "a.safetensors", metadata=metadata)
    model = nn.Sequential(nn.Linear(4, 6))
    with pytest.raises(InputError, match=r"a\.safetensors"):
        lycoris.load(tmp_path / "a.safetensors", model)
    assert type(model[0]) is nn.Linear
