"""Encoders on tiny random models in the layout of their full-size siblings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from lycoris import pocket
from lycoris.encoders import (
    EMBEDDED_ENCODERS,
    VGG,
    Preprocessing,
    open_encoder,
    open_style_encoder,
    read_preprocessing,
)
from lycoris.errors import InputError
from lycoris.terms import RESIZE_MODES
from tests.encoders.gram_matrices import gram_matrices

SIZE = 32
IMAGE_KINDS = ("clip", "siglip", "dinov2", "dinov3_vit", "convnextv2")
WORDS = "abcdefg"


def noise_image(width: int, height: int, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def circle(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), "black")
    radius = min(width, height) * 0.3
    box = (width / 2 - radius, height / 2 - radius, width / 2 + radius, height / 2 + radius)
    ImageDraw.Draw(image).ellipse(box, fill="white")
    return image


def extent(pixels: np.ndarray) -> tuple[int, int]:
    """Width and height of the bright area."""
    bright = pixels > 0.5
    return int(bright.any(axis=0).sum()), int(bright.any(axis=1).sum())


def write_preprocessing(folder: Path, size: int = SIZE) -> None:
    config = {
        "size": {"shortest_edge": size},
        "crop_size": {"height": size, "width": size},
        "do_center_crop": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.4],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(config))


def tiny(kind: str) -> torch.nn.Module:
    import transformers as t

    torch.manual_seed(0)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**tower, "vocab_size": len(WORDS) + 2, "max_position_embeddings": 8}
    vision = {**tower, "image_size": SIZE, "patch_size": 8}
    if kind == "clip":
        tokens = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
        return t.CLIPModel(t.CLIPConfig(text_config={**text, **tokens}, vision_config=vision, projection_dim=12))
    if kind == "siglip":
        return t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=vision))
    if kind == "dinov2":
        layers = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        return t.Dinov2Model(t.Dinov2Config(**layers, image_size=SIZE, patch_size=8))
    if kind == "dinov3_vit":
        return t.DINOv3ViTModel(t.DINOv3ViTConfig(**tower, image_size=SIZE, patch_size=8, num_register_tokens=2))
    return t.ConvNextV2Model(t.ConvNextV2Config(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, image_size=SIZE))


def write_encoder(folder: Path, kind: str, *, half: bool = False) -> Path:
    model = tiny(kind)
    (model.half() if half else model).save_pretrained(folder)
    write_preprocessing(folder)
    if kind == "clip":
        from transformers import CLIPTokenizer

        vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1}
        vocabulary |= {f"{word}</w>": index + 2 for index, word in enumerate(WORDS)}
        CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=8).save_pretrained(folder)
    return folder


@pytest.fixture(params=IMAGE_KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_encoder(tmp_path / request.param, request.param)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "clip", "clip")


def test_features_are_float32_with_one_row_per_image_in_order(folder: Path) -> None:
    encoder = open_encoder(folder)
    images = [noise_image(20 + 9 * index, 40, index) for index in range(5)]
    features = encoder.image_features(images)
    assert features.dtype == torch.float32
    assert features.shape[0] == 5
    assert not torch.allclose(features[0], features[1], atol=1e-4)
    backwards = encoder.image_features(images[::-1])
    torch.testing.assert_close(backwards.flip(0), features, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_batch_size_changes_nothing_even_among_rectangles(folder: Path, mode: str) -> None:
    encoder = open_encoder(folder)
    images = [
        noise_image(40, 40),
        noise_image(80, 40, 1),
        noise_image(40, 64, 2),
        noise_image(80, 40, 3),
        noise_image(33, 50, 4),
    ]
    expected = torch.cat([encoder.image_features([image], mode) for image in images])
    for batch_size in (2, 5, 32):
        features = encoder.image_features(images, mode, batch_size)
        torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


def test_features_are_those_of_the_model_itself(folder: Path) -> None:
    from transformers import AutoModel

    image = noise_image(50, 50)
    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) / 255
    pixels = (pixels - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    inputs = torch.from_numpy(pixels).float().permute(2, 0, 1)[None]
    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        output = model.get_image_features(inputs) if folder.name in ("clip", "siglip") else model(inputs)
    expected = getattr(output, "pooler_output", output)
    torch.testing.assert_close(open_encoder(folder).image_features([image]), expected, atol=1e-5, rtol=1e-5)


def test_a_half_precision_file_is_opened_in_full_precision(tmp_path: Path) -> None:
    encoder = open_encoder(write_encoder(tmp_path / "half", "clip", half=True))
    assert {parameter.dtype for parameter in encoder.model.parameters()} == {torch.float32}
    assert encoder.image_features([noise_image(40, 40)]).dtype == torch.float32


def test_images_may_be_opened_on_access(folder: Path) -> None:
    class Lazy(Sequence):
        opened: ClassVar[set[int]] = set()

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Image.Image:
            if index >= 3:
                raise IndexError
            self.opened.add(index)
            return noise_image(40, 40, index)

    features = open_encoder(folder).image_features(Lazy(), batch_size=2)
    assert features.shape[0] == 3
    assert Lazy.opened == {0, 1, 2}


def test_texts_and_images_share_a_space_and_equal_texts_have_equal_features(clip: Path) -> None:
    encoder = open_encoder(clip)
    texts = ["a b c", "a d e f a g", "a b c"]
    features = encoder.text_features(texts)
    assert encoder.reads_text
    assert features.shape == (3, encoder.image_features([noise_image(40, 40)]).shape[1])
    assert torch.equal(features[0], features[2])
    assert not torch.allclose(features[0], features[1], atol=1e-4)
    for batch_size in (1, 2):
        torch.testing.assert_close(encoder.text_features(texts, batch_size), features, atol=1e-6, rtol=1e-5)


def test_a_text_feature_does_not_depend_on_padding(clip: Path) -> None:
    from transformers import AutoTokenizer, CLIPModel

    tokens = AutoTokenizer.from_pretrained(clip)(["a b c"], return_tensors="pt")
    with torch.no_grad():
        expected = CLIPModel.from_pretrained(clip).eval().get_text_features(**tokens)
    expected = getattr(expected, "pooler_output", expected)
    features = open_encoder(clip).text_features(["a b c"])
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-5)


def test_a_tokenizer_with_another_end_token_than_the_model_is_an_error(clip: Path) -> None:
    config = json.loads((clip / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 5
    (clip / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="eos_token_id"):
        open_encoder(clip).text_features(["a c"])


def test_an_image_encoder_refuses_text(tmp_path: Path) -> None:
    encoder = open_encoder(write_encoder(tmp_path / "eye", "dinov2"))
    assert not encoder.reads_text
    with pytest.raises(InputError, match="`eye` reads no text"):
        encoder.text_features(["a c"])


def test_the_digest_depends_on_the_weights_and_not_on_the_folder(tmp_path: Path) -> None:
    first = open_encoder(write_encoder(tmp_path / "one", "dinov2"))
    second = open_encoder(write_encoder(tmp_path / "two", "dinov2"))
    half = open_encoder(write_encoder(tmp_path / "three", "dinov2", half=True))
    assert first.name == "one"
    assert first.digest == second.digest != half.digest
    assert len(first.digest) == 64


def test_errors_name_unknown_sources_and_families(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean `dinov2`"):
        open_encoder("dinov")
    with pytest.raises(InputError, match="existing encoder folder"):
        open_encoder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"config\.json"):
        open_encoder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clap"}')
    with pytest.raises(InputError, match=r"encoder family `clap`\. Did you mean `clip`"):
        open_encoder(tmp_path)


def test_a_missing_weight_is_an_error(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = write_encoder(tmp_path / "eye", "dinov2")
    weights = load_file(folder / "model.safetensors")
    del weights["layernorm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"layernorm\.weight"):
        open_encoder(folder)


def test_non_finite_weights_are_an_error(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = write_encoder(tmp_path / "eye", "dinov2")
    weights = load_file(folder / "model.safetensors")
    weights["layernorm.bias"][0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="image 0"):
        open_encoder(folder).image_features([noise_image(40, 40)])


def test_errors_name_invalid_arguments(clip: Path) -> None:
    encoder = open_encoder(clip)
    with pytest.raises(InputError, match="Did you mean `padding`"):
        encoder.image_features([noise_image(40, 40)], mode="paddin")
    with pytest.raises(InputError, match="at least one image"):
        encoder.image_features([])
    with pytest.raises(InputError, match="`batch_size`"):
        encoder.image_features([noise_image(40, 40)], batch_size=0)


@pytest.mark.parametrize("name", ["clip", "dinov2", "convnextv2", "vgg"])
def test_the_embedded_encoders_open_by_their_short_names(name: str) -> None:
    folder = Path(getattr(pocket, EMBEDDED_ENCODERS[name]))
    if not folder.is_dir():
        pytest.skip(f"the weights of {name} are not there yet")
    encoder = open_style_encoder(name) if name == "vgg" else open_encoder(name)
    see = encoder.style_features if name == "vgg" else encoder.image_features
    features = see([noise_image(64, 64), noise_image(100, 70, 1)])
    assert encoder.name == name
    assert features.dtype == torch.float32
    assert not torch.allclose(features[0], features[1], atol=1e-3)


# Resize modes


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("shape", [(80, 40), (40, 80), (33, 100), (20, 20)])
def test_every_mode_gives_a_square_for_a_square_encoder(mode: str, shape: tuple[int, int]) -> None:
    assert Preprocessing(SIZE)(noise_image(*shape), mode).shape == (3, SIZE, SIZE)


def bare_preprocessing(size: int, **settings: object) -> Preprocessing:
    return Preprocessing(size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), **settings)


def test_resize_squashes_for_a_square_encoder() -> None:
    width, height = extent(bare_preprocessing(64)(circle(200, 100), "resize")[0].numpy())
    assert height == pytest.approx(2 * width, abs=2)


@pytest.mark.parametrize("shape", [(200, 100), (100, 200)])
def test_a_circle_stays_round_unless_it_is_squashed(shape: tuple[int, int]) -> None:
    sizes = {}
    for mode, rectangles in (("crop", False), ("padding", False), ("resize", True)):
        pixels = bare_preprocessing(64, keep_aspect_ratio=rectangles, size_multiple=8)(circle(*shape), mode)[0].numpy()
        width, height = extent(pixels)
        assert width == pytest.approx(height, abs=1)
        sizes[mode] = width
    assert sizes["crop"] == pytest.approx(64 * 0.6, abs=2)
    assert sizes["padding"] == pytest.approx(32 * 0.6, abs=2)
    assert sizes["resize"] == pytest.approx(64 * 0.6, abs=2)


def test_crop_keeps_the_centre_and_padding_keeps_everything() -> None:
    image = Image.new("RGB", (96, 32), "black")
    image.paste("red", (0, 0, 32, 32))
    image.paste("lime", (32, 0, 64, 32))
    crop = bare_preprocessing(32)(image, "crop")
    assert crop[1, 2:-2, 2:-2].min() > 0.95
    padding = bare_preprocessing(96)(image, "padding")
    assert padding[0, 34:62, 4:28].min() > 0.95
    assert padding[:, :32].abs().max() == 0
    assert padding[:, 64:].abs().max() == 0


def test_the_padding_is_zero_after_normalization() -> None:
    pixels = Preprocessing(32)(Image.new("RGB", (64, 32), "white"), "padding")
    assert pixels[:, :8].abs().max() == 0
    assert pixels[:, 8:24].min() > 1


def test_rectangles_keep_the_short_side_and_round_the_long_one() -> None:
    keep = bare_preprocessing(32, keep_aspect_ratio=True, size_multiple=8)
    assert keep(noise_image(100, 50)).shape == (3, 32, 64)
    assert keep(noise_image(50, 80)).shape == (3, 48, 32)
    assert keep(noise_image(50, 51)).shape == (3, 32, 32)
    with pytest.raises(InputError, match="at most 8:1"):
        keep(noise_image(1000, 20))


def test_shrinking_is_antialiased() -> None:
    board = np.indices((256, 256)).sum(axis=0) % 2 * 255
    image = Image.fromarray(np.repeat(board[..., None], 3, axis=2).astype(np.uint8))
    for mode in RESIZE_MODES:
        assert bare_preprocessing(32)(image, mode).std() < 0.02


def test_an_image_of_the_right_size_is_unchanged() -> None:
    image = noise_image(32, 32)
    for mode in RESIZE_MODES:
        np.testing.assert_allclose(
            bare_preprocessing(32)(image, mode).permute(1, 2, 0).numpy(), np.asarray(image) / 255, atol=1e-7
        )


def test_grey_and_transparent_images_become_rgb() -> None:
    for kind in ("L", "RGBA", "P"):
        assert bare_preprocessing(32)(noise_image(40, 40).convert(kind)).shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"size": 48}, 48),
        ({"size": {"height": 48, "width": 48}}, 48),
        ({"size": {"shortest_edge": 56}, "crop_size": {"height": 48, "width": 48}}, 48),
        ({"size": {"shortest_edge": 56}, "crop_size": 48, "do_center_crop": False}, 56),
    ],
)
def test_the_input_size_is_that_of_the_network(tmp_path: Path, config: dict, size: int) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    assert read_preprocessing(tmp_path).size == size
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": config}))
    assert read_preprocessing(tmp_path).size == size


def test_missing_or_non_square_preprocessing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"preprocessor_config\.json"):
        read_preprocessing(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 32, "width": 48}}')
    with pytest.raises(InputError, match="one square"):
        read_preprocessing(tmp_path)


# Style


def write_vgg(folder: Path) -> Path:
    torch.manual_seed(0)
    folder.mkdir()
    save_file(VGG((4, 6, 8, 8, 10), (2, 1, 2, 1, 1)).half().state_dict(), folder / "model.safetensors")
    write_preprocessing(folder)
    return folder


def test_the_default_vgg_has_the_keys_of_torchvision_s_vgg19() -> None:
    with torch.device("meta"):
        network = VGG()
    indices = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
    expected = [f"features.{index}.{part}" for index in indices for part in ("weight", "bias")]
    assert list(network.state_dict()) == expected
    assert network.first_indices == (0, 5, 10, 19, 28)


def test_a_vgg_is_rebuilt_from_its_weights_alone() -> None:
    network = VGG((4, 6, 8), (2, 1, 3))
    again = VGG.from_state_dict({**network.half().state_dict(), "classifier.0.weight": torch.zeros(2, 2)})
    assert (again.channels, again.depths) == ((4, 6, 8), (2, 1, 3))
    assert again.features[0].weight.dtype == torch.float32
    with pytest.raises(InputError, match="batch normalisation"):
        VGG.from_state_dict({"features.0.weight": torch.zeros(4, 3, 3, 3), "features.1.weight": torch.zeros(4)})
    with pytest.raises(InputError, match="one length"):
        VGG((4, 6), (2,))


def test_vgg_maps_are_the_outputs_of_each_block_s_first_convolution_before_its_relu() -> None:
    network = VGG((4, 6, 8), (2, 1, 3))
    images = torch.rand(2, 3, 16, 24)
    maps = network(images)
    assert [tuple(each.shape[1:]) for each in maps] == [(4, 16, 24), (6, 8, 12), (8, 4, 6)]
    torch.testing.assert_close(maps[0], network.features[0](images))
    torch.testing.assert_close(maps[1], network.features[:6](images))
    assert maps[1].min() < 0


def test_gram_matrices_match_a_double_loop_and_style_distance_is_their_squared_difference(tmp_path: Path) -> None:
    encoder = open_style_encoder(write_vgg(tmp_path / "vgg"))
    images = [noise_image(32, 32), noise_image(32, 32, 1)]
    grams = gram_matrices(encoder, images)
    pixels = torch.stack([encoder.preprocessing(image) for image in images])
    with torch.no_grad():
        maps = encoder.network(pixels)
    assert len(grams) == 5
    for gram, features in zip(grams, maps, strict=True):
        channels, height, width = features.shape[1:]
        scaled = features / (channels * height * width) ** 0.5
        for i in range(channels):
            for j in range(channels):
                expected = (scaled[:, i] * scaled[:, j]).sum(dim=(1, 2))
                torch.testing.assert_close(gram[:, i, j], expected, atol=1e-6, rtol=1e-5)
    rows = encoder.style_features(images)
    loss = sum(((gram[0] - gram[1]) ** 2).sum() for gram in grams)
    torch.testing.assert_close(((rows[0] - rows[1]) ** 2).sum(), loss, atol=1e-7, rtol=1e-4)
    assert rows.shape[1] == sum(c * (c + 1) // 2 for c in encoder.network.channels)


def test_a_bare_weight_file_gets_the_preprocessing_of_torchvision(tmp_path: Path) -> None:
    file = tmp_path / "vgg19-abc.pth"
    torch.save(VGG((4, 6), (1, 1)).state_dict(), file)
    encoder = open_style_encoder(file)
    assert encoder.name == "vgg19-abc"
    assert encoder.preprocessing.size == 224
    assert len(gram_matrices(encoder, [noise_image(30, 30)])) == 2
    file.write_text("not weights")
    with pytest.raises(InputError, match="could not be read"):
        open_style_encoder(file)


def test_style_features_do_not_depend_on_batch_size_or_order(tmp_path: Path) -> None:
    encoder = open_style_encoder(write_vgg(tmp_path / "vgg"))
    images = [noise_image(40, 40), noise_image(80, 40, 1), noise_image(40, 64, 2)]
    expected = encoder.style_features(images, batch_size=1)
    for batch_size in (2, 3):
        features = encoder.style_features(images[::-1], batch_size=batch_size).flip(0)
        torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)
