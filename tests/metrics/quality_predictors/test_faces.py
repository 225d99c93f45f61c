"""Faces: alignment in closed form, the decoding of a detector, and descriptors through ONNX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lycoris.errors import InputError
from lycoris.metrics.prediction import PredictionInputs
from lycoris.metrics.quality_predictors.faces import (
    DETECTOR_SIZE,
    FACE_POINTS,
    STRIDES,
    FaceDescriptor,
    align_face,
    decode_faces,
    similarity_transform,
)

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(("angle", "scale"), [(0.0, 1.0), (0.7, 2.5), (-2.0, 0.3)])
def test_a_similarity_transform_is_recovered_exactly(angle: float, scale: float) -> None:
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = similarity_transform(FACE_POINTS, FACE_POINTS @ rotation.T + [7.0, -3.0])
    np.testing.assert_allclose(found, np.column_stack([rotation, [7.0, -3.0]]), atol=1e-9)


def test_no_other_transform_is_nearer_and_none_mirrors() -> None:
    generator = np.random.default_rng(0)
    mirrored = FACE_POINTS * [-1.0, 1.0] + generator.normal(size=(5, 2))
    found = similarity_transform(FACE_POINTS, mirrored)
    assert np.linalg.det(found[:, :2]) > 0

    def error(matrix: np.ndarray) -> float:
        return float(((FACE_POINTS @ matrix[:, :2].T + matrix[:, 2] - mirrored) ** 2).sum())

    for _ in range(50):
        (a, b), shift = found[:, 0] + generator.normal(0, 0.05, 2), found[:, 2] + generator.normal(0, 1, 2)
        assert error(np.array([[a, -b, shift[0]], [b, a, shift[1]]])) >= error(found) - 1e-9


def test_an_aligned_face_has_its_points_where_arcface_wants_them() -> None:
    turn = np.array([[0.0, -2.0], [2.0, 0.0]])  # a quarter turn, twice the size
    points = FACE_POINTS @ turn.T + [260.0, 20.0]
    image = Image.new("RGB", (320, 320))
    pen = ImageDraw.Draw(image)
    for x, y in points:
        pen.ellipse((x - 6, y - 6, x + 6, y + 6), "white")
    aligned = align_face(image, points)[..., 0]
    for x, y in FACE_POINTS:
        assert aligned[round(y), round(x)] > 200
    assert aligned.mean() < 30


def outputs_with(faces: list[tuple[int, int, float]]) -> list[np.ndarray]:
    """Outputs of SCRFD with faces at (stride's index, row) of a confidence; points one stride right of the anchor."""
    counts = [(DETECTOR_SIZE // stride) ** 2 * 2 for stride in STRIDES]
    confidences = [np.zeros((count, 1), dtype=np.float32) for count in counts]
    for index, row, confidence in faces:
        confidences[index][row] = confidence
    boxes = [np.zeros((count, 4), dtype=np.float32) for count in counts]
    points = [np.tile(np.array([1, 0], dtype=np.float32), (count, 5)) for count in counts]
    return [*confidences, *boxes, *points]


def test_the_most_certain_face_is_decoded_from_its_anchor() -> None:
    row = 2 * (3 * 40 + 5) + 1  # stride 16: third line, fifth column, second anchor
    face = decode_faces(outputs_with([(0, 7, 0.6), (1, row, 0.9), (2, 9, 0.7)]), scale=2.0)
    assert face.confidence == pytest.approx(0.9)
    np.testing.assert_allclose(face.points, np.tile([(5 * 16 + 16) / 2, 3 * 16 / 2], (5, 1)))
    assert decode_faces(outputs_with([(0, 7, 0.4)]), scale=2.0) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks as ONNX: a detector that is the more certain the brighter the image, and mean colours as descriptor."""
    path = tmp_path_factory.mktemp("models") / "faces"
    path.mkdir()
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    fixed = outputs_with([(2, 0, 1.0)])
    fixed[6:] = [np.tile((FACE_POINTS / 32).reshape(-1).astype(np.float32), (len(each), 1)) for each in fixed[6:]]
    nodes = [helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0)]
    initial = [onnx.numpy_helper.from_array(array, f"c{n}") for n, array in enumerate(fixed)]
    nodes += [helper.make_node("Mul", [f"c{n}", "mean"], [f"o{n}"]) for n in range(3)]
    nodes += [helper.make_node("Identity", [f"c{n}"], [f"o{n}"]) for n in range(3, 9)]
    save(
        path / "detector.onnx",
        nodes,
        initial,
        [helper.make_tensor_value_info(f"o{n}", float32, None) for n in range(9)],
    )
    nodes = [helper.make_node("ReduceMean", ["image", "axes"], ["o0"], keepdims=0)]
    initial = [onnx.numpy_helper.from_array(np.array([2, 3]), "axes")]
    save(path / "recognizer.onnx", nodes, initial, [helper.make_tensor_value_info("o0", float32, None)])
    return path


def save(file: Path, nodes: list, initial: list, outputs: list) -> None:
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, None, None])
    graph = onnx.helper.make_graph(nodes, "test", [image], outputs, initial)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, file)


def test_descriptors_come_from_the_aligned_face_and_are_zero_without_one(folder: Path) -> None:
    predictor = FaceDescriptor(str(folder))
    bright = Image.new("RGB", (640, 640), (255, 240, 230))
    dark = Image.new("RGB", (640, 640), (10, 20, 30))
    found = predictor.predict(PredictionInputs([bright, dark]))
    expected = (np.array([255, 240, 230]) - 127.5) / 127.5
    np.testing.assert_allclose(found[0], expected / np.linalg.norm(expected), atol=1e-5)
    assert not found[1].any()
    np.testing.assert_allclose(predictor.predict(PredictionInputs([dark, bright]))[::-1], found, atol=1e-6)


def test_missing_or_other_files_are_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"detector\.onnx"):
        FaceDescriptor(str(tmp_path))
    for name in ("detector.onnx", "recognizer.onnx"):
        (tmp_path / name).write_bytes((folder / "recognizer.onnx").read_bytes())
    with pytest.raises(InputError, match="9 outputs"):
        FaceDescriptor(str(tmp_path))
    (tmp_path / "detector.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match="could not be opened"):
        FaceDescriptor(str(tmp_path))
