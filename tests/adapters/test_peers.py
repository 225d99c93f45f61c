"""Files and names against `lycoris-lora` and `peft` themselves, where they are installed, and against diffusers."""

from __future__ import annotations

import pytest
import torch

import lycoris
from benchmarks.peers.exchange import DIRECTIONS, PEERS, exchange, exchange_drop_in, is_equal, peer_layer_names
from benchmarks.peers.setup import interpreter
from benchmarks.peers.trees import TREES, tree
from lycoris.adapters.files.dialects import DIALECTS
from lycoris.adapters.files.layer_names import find_layers
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS
from lycoris.pocket import BASE
from tests.adapters.cases import randomize


def _needed(peer: str) -> None:
    if not interpreter(peer).exists():
        pytest.skip(f"no environment of {peer}: python benchmarks/peers/setup.py")


@pytest.fixture(scope="module")
def exchanged():
    """Peer → its rows, exchanged once."""
    rows_by_peer: dict[str, list[dict]] = {}

    def rows(peer: str) -> list[dict]:
        _needed(peer)
        if peer not in rows_by_peer:
            rows_by_peer[peer] = exchange(peer)
        return rows_by_peer[peer]

    return rows


@pytest.mark.slow
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("peer", "case"), [(peer, case) for peer, cases in PEERS.items() for case in cases])
def test_a_file_gives_the_same_output_with_the_peer(peer, case, direction, exchanged):
    row = next(row for row in exchanged(peer) if row["case"] == case and row["direction"] == direction)
    if not is_equal(row) and row["known"]:
        pytest.xfail(row["known"])
    assert is_equal(row), row


@pytest.mark.slow
def test_the_drop_in_writes_the_files_of_lycoris_lora_by_the_same_calls():
    _needed("lycoris-lora")
    rows = exchange_drop_in()
    assert len(rows) == 2 * len(PEERS["lycoris-lora"])
    wrong = [
        row for row in rows if (not is_equal(row) or row.get("keys")) and (row["case"], row["direction"]) not in OTHER
    ]
    assert not wrong, wrong


OTHER = {
    ("lokr tucker", "ours to peer"),  # the peer cannot open its own either
    ("ia3", "ours to peer"),  # the peer cannot open its own either
    ("t-lora", "ours to peer"),  # LoRA keys
    ("t-lora", "peer to ours"),  # the peer's fails on padded convolutions
    ("dylora", "ours to peer"),  # the peer's files lack the trailing ones of convolutions
    ("dylora", "peer to ours"),
}
"""Cases of which the two differ (docs/drop-in.md)."""


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TREES))
def test_names_equal_those_of_lycoris_lora(name):
    _needed("lycoris-lora")
    theirs = peer_layer_names("lycoris-lora", name)
    ours = {layer.name: layer for layer in find_layers(tree(name), MATRIX_LAYERS)}
    assert len(theirs) >= len(lycoris.attach(tree(name), "lora", preset="attn-mlp", rank=1))
    for path, key in theirs.items():
        assert key in {name for name, _ in DIALECTS["kohya"].layer_names(ours[path])}  # SDXL's have two


@pytest.mark.parametrize("format", ["lycoris", "diffusers"])
def test_diffusers_generates_the_same_images_on_the_pocket_with_our_lora(format, tmp_path):
    pytest.importorskip("peft")
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(BASE, torch_dtype=torch.float32, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)

    def pictures():
        generator = torch.Generator().manual_seed(0)
        return pipeline(["a bunny", "a house"], num_inference_steps=3, generator=generator, output_type="pt").images

    plain = torch.as_tensor(pictures())
    network = lycoris.attach(pipeline, "lora", preset="full", rank=4, alpha=2.0)
    randomize(network)
    for parameter in network.parameters():
        parameter.data *= 0.2
    ours = torch.as_tensor(pictures())
    network.save(tmp_path / "a.safetensors", format=format)
    network.detach()
    pipeline.load_lora_weights(tmp_path, weight_name="a.safetensors")
    theirs = torch.as_tensor(pictures())
    assert (ours - plain).abs().max() > 0.01
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-3)
