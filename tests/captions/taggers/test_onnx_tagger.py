"""Taggers in ONNX: inputs and outputs in the layout of the WD taggers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lycoris.captions import open_tagger, tagger_digest
from lycoris.captions.taggers.onnx_tagger import WhiteSquarePreprocessing
from lycoris.errors import InputError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

LIST = """tag_id,name,category,count
1,general,9,1
2,explicit,9,1
3,blue,0,1
4,green_hair,0,1
5,^_^,0,1
6,saber_(fate),4,1
"""
Build = Callable[..., Path]


def graph(weights: Any, *, last: bool, sigmoid: bool, batch: int | str) -> Any:
    """Tags as a linear map of the mean colour, divided by 255: [batch, 8, 8, 3] or [batch, 3, 8, 8]."""
    from onnx import TensorProto, helper, numpy_helper

    shape = [batch, 8, 8, 3] if last else [batch, 3, 8, 8]
    arrays = {"weights": np.asarray(weights, np.float32), "axes": np.array([1, 2] if last else [2, 3])}
    arrays["scale"] = np.array(1 / 255 if last else 1.0, np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["colour"]),
        helper.make_node("MatMul", ["colour", "weights"], ["logits"]),
        helper.make_node("Sigmoid" if sigmoid else "Identity", ["logits"], ["tags"]),
    ]
    made = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("tags", TensorProto.FLOAT, [batch, arrays["weights"].shape[1]])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


BLUE, GREEN, RED = [9, -9, -9], [-9, 9, -9], [-9, -9, 9]
# Columns are tags, in the order of the list; rows are the channels blue, green, red.
WEIGHTS = np.array([RED, BLUE, BLUE, GREEN, RED, RED]).T


@pytest.fixture
def wd(tmp_path: Path) -> Build:
    """Write a tagger folder in the layout of the WD taggers."""

    def build(*, sigmoid: bool = True, batch: int | str = "batch", last: bool = True, **files: str) -> Path:
        folder = tmp_path / "wd"
        folder.mkdir(exist_ok=True)
        weights = WEIGHTS if last else WEIGHTS[::-1].copy()
        onnx.save(graph(weights, last=last, sigmoid=sigmoid, batch=batch), str(folder / "model.onnx"))
        (folder / "selected_tags.csv").write_text(LIST)
        (folder / "config.json").write_text('{"architecture": "vit", "num_classes": 6}')
        for name, text in files.items():
            (folder / f"{name}.json").write_text(text)
        return folder

    return build


def plain(colour: str, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, colour)


@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_channels_are_blue_green_red_for_every_batch_size_and_output(
    wd: Build, sigmoid: bool, batch: int | str
) -> None:
    tagger = open_tagger(wd(sigmoid=sigmoid, batch=batch))
    tags_of_images = tagger.tags([plain(name) for name in ("blue", "lime", "red", "blue", "red")])
    assert [set(tags) for tags in tags_of_images] == [{"blue"}, {"green hair"}, {"^_^", "saber (fate)"}, {"blue"},
                                             {"^_^", "saber (fate)"}]  # fmt: skip
    assert tags_of_images[0]["blue"] == pytest.approx(1 / (1 + np.exp(-9)), abs=1e-3)


def test_characters_need_more_confidence_and_ratings_an_explicit_threshold(wd: Build) -> None:
    folder = wd()
    pale = [Image.new("RGB", (8, 8), (30, 0, 0))]  # confidence 0.74 of what is red
    assert set(open_tagger(folder).tags(pale)[0]) == {"^_^"}
    assert set(open_tagger(folder, thresholds={"character": 0.5}).tags(pale)[0]) == {"^_^", "saber (fate)"}
    assert set(open_tagger(folder, thresholds={"rating": 0.01}).tags(pale)[0]) == {"^_^", "general"}
    assert open_tagger(folder).categories == {
        "blue": "general", "green hair": "general", "^_^": "general", "saber (fate)": "character",
    }  # fmt: skip


def test_an_image_that_is_not_square_is_padded_with_white() -> None:
    pixels = WhiteSquarePreprocessing(8)(plain("black", (8, 4)))
    assert pixels.shape == (8, 8, 3)
    assert pixels[0].min() > 250
    assert pixels[4].max() < 5


def test_channels_first_input_uses_the_preprocessing_in_the_folder(wd: Build) -> None:
    stated = '{"size": {"height": 8, "width": 8}, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}'
    tagger = open_tagger(wd(last=False, preprocessor_config=stated))
    assert [set(tags) for tags in tagger.tags([plain("blue"), plain("lime")])] == [{"blue"}, {"green hair"}]


def test_the_digest_depends_on_the_graph(wd: Build) -> None:
    before = tagger_digest(wd())
    assert tagger_digest(wd()) == before
    assert tagger_digest(wd(sigmoid=False)) != before


def test_a_graph_that_does_not_fit_its_tags_is_an_error(wd: Build) -> None:
    folder = wd()
    (folder / "selected_tags.csv").write_text("\n".join(LIST.splitlines()[:-1]))
    with pytest.raises(InputError, match="names 5 tags for 6 outputs"):
        open_tagger(folder)
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"model\.onnx"):
        open_tagger(folder)
    (folder / "model.onnx").rename(folder / "a.onnx")
    (folder / "b.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"one ONNX file, but has a\.onnx, b\.onnx"):
        open_tagger(folder)
