"""Encoders against the processors of transformers, and files of open_clip against its network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from lycoris.encoders import open_encoder, read_preprocessing
from lycoris.errors import InputError
from tests.encoders.test_encoders import SIZE, noise_image, tiny, write_encoder

PROCESSORS = {
    "clip": ("CLIPImageProcessorPil", {"crop_size": {"height": SIZE, "width": SIZE}}, "crop"),
    "siglip": ("SiglipImageProcessorPil", {}, "resize"),
    "dinov2": ("BitImageProcessorPil", {"crop_size": {"height": SIZE, "width": SIZE}}, "crop"),
    "convnextv2": ("ConvNextImageProcessorPil", {"crop_pct": 1.0}, "crop"),
}
"""Model type -> its processor without torchvision, its settings, and the equivalent resize mode."""


@pytest.mark.parametrize("kind", PROCESSORS)
@pytest.mark.parametrize("shape", [(96, 96), (64, 96), (96, 64)])
def test_preprocessing_equals_that_of_transformers(kind: str, shape: tuple[int, int], tmp_path: Path) -> None:
    name, settings, mode = PROCESSORS[kind]
    processor = getattr(transformers, name)(
        size={"height": SIZE, "width": SIZE} if kind == "siglip" else {"shortest_edge": SIZE}, **settings
    )
    folder = write_encoder(tmp_path / kind, kind)
    processor.save_pretrained(folder)
    image = noise_image(*shape)
    theirs = processor(image, return_tensors="pt").pixel_values
    ours = read_preprocessing(folder)(image, mode)
    torch.testing.assert_close(ours, theirs[0], atol=1e-5, rtol=1e-5)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        output = model.get_image_features(theirs) if kind in ("clip", "siglip") else model(theirs)
    expected = getattr(output, "pooler_output", output)
    torch.testing.assert_close(open_encoder(folder).image_features([image], mode), expected, atol=1e-5, rtol=1e-5)


# open_clip


class Block(torch.nn.Module):
    """A residual block as open_clip writes it down."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.attn = torch.nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = torch.nn.Sequential()
        for name, layer in (("c_fc", torch.nn.Linear(width, 4 * width)), ("gelu", torch.nn.GELU()),
                            ("c_proj", torch.nn.Linear(4 * width, width))):  # fmt: skip
            self.mlp.add_module(name, layer)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(torch.nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = torch.nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Tower(torch.nn.Module):
    def __init__(self, width: int, heads: int, layers: int, dim: int) -> None:
        super().__init__()
        self.class_embedding = torch.nn.Parameter(torch.randn(width))
        self.positional_embedding = torch.nn.Parameter(torch.randn((SIZE // 8) ** 2 + 1, width))
        self.conv1 = torch.nn.Conv2d(3, width, 8, 8, bias=False)
        self.ln_pre, self.ln_post = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.transformer = Transformer(width, heads, layers)
        self.proj = torch.nn.Parameter(torch.randn(width, dim))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class SmallCLIP(torch.nn.Module):
    """open_clip's CLIP, written from its formulas: a class token, causal text, pooled at the largest token."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = Tower(32, 2, 2, 12)
        self.token_embedding = torch.nn.Embedding(9, 16)
        self.positional_embedding = torch.nn.Parameter(torch.randn(8, 16))
        self.transformer = Transformer(16, 2, 2)
        self.ln_final = torch.nn.LayerNorm(16)
        self.text_projection = torch.nn.Parameter(torch.randn(16, 12))
        self.logit_scale = torch.nn.Parameter(torch.tensor(2.0))
        self.register_buffer("attn_mask", torch.full((8, 8), -torch.inf).triu(1))

    def texts(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.transformer(self.token_embedding(tokens) + self.positional_embedding, self.attn_mask)
        return self.ln_final(x)[torch.arange(len(x)), tokens.argmax(1)] @ self.text_projection


def write_open_clip(folder: Path, *, custom: bool = False) -> SmallCLIP:
    torch.manual_seed(0)
    model = SmallCLIP().eval()
    folder.mkdir()
    state = dict(model.state_dict())
    if custom:
        state = {key if key.startswith(("visual", "logit")) else f"text.{key}": value for key, value in state.items()}
    save_file(state, folder / "open_clip_model.safetensors")
    config = {
        "model_cfg": {
            "embed_dim": 12,
            "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
            "text_cfg": {"context_length": 8, "vocab_size": 9, "width": 16, "heads": 2, "layers": 2},
        },
        "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    vocabulary = {f"{word}</w>": index for index, word in enumerate("abcdefg")}
    vocabulary |= {"<|startoftext|>": 7, "<|endoftext|>": 8}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=8).save_pretrained(folder)
    return model


@pytest.mark.parametrize("custom", [False, True])
def test_files_of_open_clip_give_the_features_of_open_clip(tmp_path: Path, custom: bool) -> None:
    model = write_open_clip(tmp_path / "datacomp", custom=custom)
    encoder = open_encoder(tmp_path / "datacomp")
    image = noise_image(48, 48)
    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) / 255
    pixels = torch.from_numpy((pixels - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]).float().permute(2, 0, 1)[None]
    tokens = torch.tensor([[7, 0, 1, 2, 8, 0, 0, 0], [7, 6, 8, 0, 0, 0, 0, 0]])
    with torch.no_grad():
        images, texts = model.visual(pixels), model.texts(tokens)
    torch.testing.assert_close(encoder.image_features([image]), images, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoder.text_features(["a b c", "g"]), texts, atol=1e-5, rtol=1e-4)
    assert encoder.name == "datacomp"
    assert encoder.reads_text


def test_the_transformers_layout_takes_precedence(tmp_path: Path) -> None:
    write_open_clip(tmp_path / "both")
    tiny("clip").save_pretrained(tmp_path / "both")
    features = open_encoder(tmp_path / "both").model.visual_projection.weight
    assert torch.equal(features, load_file(tmp_path / "both" / "model.safetensors")["visual_projection.weight"])


def test_errors_name_unsupported_open_clip_models(tmp_path: Path) -> None:
    write_open_clip(tmp_path / "odd")
    weights = load_file(tmp_path / "odd" / "open_clip_model.safetensors")
    save_file({**weights, "visual.trunk.x": torch.zeros(1)}, tmp_path / "odd" / "open_clip_model.safetensors")
    with pytest.raises(InputError, match=r"visual\.trunk\.x"):
        open_encoder(tmp_path / "odd")
    weights.pop("visual.ln_pre.bias")
    save_file(weights, tmp_path / "odd" / "open_clip_model.safetensors")
    with pytest.raises(InputError, match=r"pre_layrnorm\.bias"):
        open_encoder(tmp_path / "odd")
    config = json.loads((tmp_path / "odd" / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"] = {"timm_model_name": "x", "image_size": 32}
    (tmp_path / "odd" / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="plain CLIP"):
        open_encoder(tmp_path / "odd")
    (tmp_path / "odd" / "open_clip_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"open_clip_model\.safetensors"):
        open_encoder(tmp_path / "odd")


def test_the_number_of_preprocessing_threads_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lycoris.encoders import batch_encoding

    encoder = open_encoder(write_encoder(tmp_path / "eye", "dinov2"))
    images = [noise_image(40 + 5 * n, 60, n) for n in range(7)]
    expected = encoder.image_features(images, batch_size=3)
    for workers in (1, 5):
        monkeypatch.setattr(batch_encoding, "MAX_THREADS", workers)
        assert torch.equal(encoder.image_features(images, batch_size=3), expected)


@pytest.mark.gpu
def test_a_gpu_gives_the_features_of_the_cpu(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "eye", "dinov2")
    images = [noise_image(40, 40, n) for n in range(5)]
    near, far = (open_encoder(folder, device).image_features(images) for device in ("cpu", "cuda"))
    torch.testing.assert_close(near, far, atol=1e-4, rtol=1e-4)
