"""ImageReward against a BLIP that is written from its formulas, on the names of the published file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional

from lycoris.encoders import Preprocessing
from lycoris.encoders.open_clip import OPENAI_MEAN, OPENAI_STD
from lycoris.errors import InputError
from lycoris.metrics import PromptSpec
from lycoris.metrics.prediction import PredictionInputs
from lycoris.metrics.quality_predictors.image_reward import MEAN, STD, ImageReward
from tests.encoders.test_encoders import noise_image

WIDTH, SIZE, PATCH = 64, 32, 16
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat", "dog"]


def random_state() -> dict[str, Tensor]:
    """Random weights of two layers each, with one head, under the published names."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) / WIDTH**0.5

    def linear(name: str, out: int, wide: int) -> dict[str, Tensor]:
        return {f"{name}.weight": random(out, wide), f"{name}.bias": random(out)}

    def norm(name: str) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + random(WIDTH), f"{name}.bias": random(WIDTH)}

    image, text = "blip.visual_encoder", "blip.text_encoder"
    patches = (SIZE // PATCH) ** 2
    state = {f"{image}.cls_token": random(1, 1, WIDTH), f"{image}.pos_embed": random(1, patches + 1, WIDTH),
             f"{image}.patch_embed.proj.weight": random(WIDTH, 3, PATCH, PATCH),
             f"{image}.patch_embed.proj.bias": random(WIDTH), **norm(f"{image}.norm")}  # fmt: skip
    for n in range(2):
        block = f"{image}.blocks.{n}"
        state |= {**norm(f"{block}.norm1"), **norm(f"{block}.norm2"), **linear(f"{block}.attn.qkv", 3 * WIDTH, WIDTH)}
        state |= {**linear(f"{block}.attn.proj", WIDTH, WIDTH), **linear(f"{block}.mlp.fc1", 96, WIDTH)}
        state |= linear(f"{block}.mlp.fc2", WIDTH, 96)
    state |= {f"{text}.embeddings.word_embeddings.weight": random(len(WORDS) + 2, WIDTH),
              f"{text}.embeddings.position_embeddings.weight": random(40, WIDTH),
              f"{text}.embeddings.position_ids": torch.arange(40)[None], **norm(f"{text}.embeddings.LayerNorm"),
              **linear(f"{text}.pooler.dense", WIDTH, WIDTH)}  # fmt: skip
    for n in range(2):
        layer = f"{text}.encoder.layer.{n}"
        for kind in ("attention", "crossattention"):
            for part in ("query", "key", "value"):
                state |= linear(f"{layer}.{kind}.self.{part}", WIDTH, WIDTH)
            state |= {
                **linear(f"{layer}.{kind}.output.dense", WIDTH, WIDTH),
                **norm(f"{layer}.{kind}.output.LayerNorm"),
            }
        state |= {**linear(f"{layer}.intermediate.dense", 96, WIDTH), **linear(f"{layer}.output.dense", WIDTH, 96)}
        state |= norm(f"{layer}.output.LayerNorm")
    for index, (out, wide) in {0: (16, WIDTH), 2: (8, 16), 4: (1, 8)}.items():
        state |= linear(f"mlp.layers.{index}", out, wide)
    return state


def reward(state: dict[str, Tensor], pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """The published network, from its formulas."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, x: Tensor, eps: float) -> Tensor:
        return functional.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
        scores = q @ k.transpose(1, 2) / WIDTH**0.5
        if seen is not None:
            scores = scores.masked_fill(seen[:, None] == 0, -torch.inf)
        return scores.softmax(-1) @ v

    image, text = "blip.visual_encoder", "blip.text_encoder"
    weight, bias = (state[f"{image}.patch_embed.proj.{kind}"] for kind in ("weight", "bias"))
    x = functional.conv2d(pixels, weight, bias, stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([state[f"{image}.cls_token"].expand(len(x), 1, -1), x], 1) + state[f"{image}.pos_embed"]
    for n in range(2):
        block = f"{image}.blocks.{n}"
        q, k, v = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x, 1e-6)).chunk(3, -1)
        x = x + linear(f"{block}.attn.proj", attend(q, k, v))
        inner = functional.gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", x, 1e-6)))
        x = x + linear(f"{block}.mlp.fc2", inner)
    x = norm(f"{image}.norm", x, 1e-6)
    y = state[f"{text}.embeddings.word_embeddings.weight"][ids]
    y = norm(
        f"{text}.embeddings.LayerNorm",
        y + state[f"{text}.embeddings.position_embeddings.weight"][: ids.shape[1]],
        1e-12,
    )
    for n in range(2):
        layer = f"{text}.encoder.layer.{n}"
        for kind, other, seen in (("attention", None, mask), ("crossattention", x, None)):
            source = y if other is None else other
            parts = [linear(f"{layer}.{kind}.self.{part}", y if part == "query" else source)
                     for part in ("query", "key", "value")]  # fmt: skip
            y = norm(
                f"{layer}.{kind}.output.LayerNorm",
                y + linear(f"{layer}.{kind}.output.dense", attend(*parts, seen)),
                1e-12,
            )
        inner = linear(f"{layer}.output.dense", functional.gelu(linear(f"{layer}.intermediate.dense", y)))
        y = norm(f"{layer}.output.LayerNorm", y + inner, 1e-12)
    result = y[:, 0]
    for index in (0, 2, 4):
        result = linear(f"mlp.layers.{index}", result)
    return (result - MEAN) / STD


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "reward"
    path.mkdir()
    torch.save(random_state(), path / "ImageReward.pt")
    transformers.BertTokenizer(vocab={word: n for n, word in enumerate(WORDS)}).save_pretrained(path)
    return path


def test_the_reward_is_that_of_the_formulas_in_any_batch(folder: Path) -> None:
    network = ImageReward(str(folder))
    images = [noise_image(40, 48, n) for n in range(3)]
    prompts = [PromptSpec("sks", text, n) for n, text in enumerate(["a red cat", "dog", "a cat a dog"])]
    found = network.predict(PredictionInputs(images, prompts=prompts))
    ids = torch.zeros(3, 35, dtype=torch.long)
    for row, text in enumerate(["a red cat", "dog", "a cat a dog"]):
        numbers = [2, *(WORDS.index(word) for word in text.split()), 3]
        ids[row, : len(numbers)] = torch.tensor(numbers)
    preprocessing = Preprocessing(SIZE, OPENAI_MEAN, OPENAI_STD)
    pixels = torch.stack([preprocessing(image, "crop") for image in images])
    expected = reward(random_state(), pixels, ids, (ids != 0).long())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, rtol=1e-4)
    mixed = network.predict(PredictionInputs(images[::-1], prompts=prompts[::-1]))
    np.testing.assert_allclose(mixed[::-1], found, atol=1e-5)
    assert np.ptp(found) > 1e-3


def test_another_file_is_an_error(folder: Path, tmp_path: Path) -> None:
    for name in folder.iterdir():
        (tmp_path / name.name).write_bytes(name.read_bytes())
    state = random_state()
    del state["blip.text_encoder.encoder.layer.1.crossattention.self.key.bias"]
    torch.save(state, tmp_path / "ImageReward.pt")
    with pytest.raises(InputError, match="crossattention"):
        ImageReward(str(tmp_path))
    torch.save({"x": torch.zeros(1)}, tmp_path / "ImageReward.pt")
    with pytest.raises(InputError, match="not ImageReward"):
        ImageReward(str(tmp_path))
