"""Faces: found by SCRFD, aligned by five points, and described by ArcFace; both networks are ONNX files of the user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from lycoris.encoders.model_sources import resolve_source
from lycoris.errors import InputError
from lycoris.metrics.prediction import PredictionInputs

DETECTOR_FILE, RECOGNIZER_FILE = "detector.onnx", "recognizer.onnx"
DETECTOR_SIZE = 640
STRIDES = (8, 16, 32)
ANCHORS = 2
"""Predictions of SCRFD at each cell of a stride's grid."""
MIN_CONFIDENCE = 0.5
FACE_SIZE = 112
FACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where eyes, nose and corners of the mouth are in ArcFace's input of 112 pixels."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face in an image.

    Attributes:
        confidence: in [0, 1].
        points: left eye, right eye, nose, left and right corner of the mouth, in pixels of the image.
    """

    confidence: float
    points: Float[np.ndarray, "5 2"]


class FaceDescriptor:
    """The ArcFace descriptor of the most certain face in each image.

    Args:
        source: a folder with ``detector.onnx``, an SCRFD with five points such as ``det_10g.onnx``, and
            ``recognizer.onnx``, an ArcFace such as ``w600k_r50.onnx``.
        device: ignored; the networks run on the CPU.

    Raises:
        InputError: a file is missing or is not such a network, or ``onnxruntime`` is not installed.

    Source: Guo et al., arXiv 2105.04714 (SCRFD); Deng et al., arXiv 1801.07698 (ArcFace).
    """

    metric = "face_similarity"

    def __init__(self, source: str, device: str | torch.device = "cpu") -> None:
        del device
        self.name, folder = resolve_source(source)
        self.digest = face_digest(folder)
        self.detector = _open_network(folder / DETECTOR_FILE)
        self.recognizer = _open_network(folder / RECOGNIZER_FILE)
        outputs = len(self.detector.get_outputs())
        if outputs != 3 * len(STRIDES):
            raise InputError(
                f"`{folder / DETECTOR_FILE}` must be an SCRFD with five points, which has {3 * len(STRIDES)} outputs, "
                f"but has {outputs}."
            )

    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images dim"]:
        """Return one descriptor of length 1 per image; zeros where there is no face."""
        rows = [self._describe(inputs.images[index].convert("RGB")) for index in range(len(inputs.images))]
        width = next((len(row) for row in rows if row is not None), 1)
        return np.stack([np.zeros(width) if row is None else row for row in rows])

    def _describe(self, image: Image.Image) -> Float[np.ndarray, " dim"] | None:
        face = self.detect(image)
        if face is None:
            return None
        pixels = (align_face(image, face.points) - 127.5) / 127.5
        name = self.recognizer.get_inputs()[0].name
        (features,) = self.recognizer.run(None, {name: pixels.transpose(2, 0, 1)[None].astype(np.float32)})
        row = features[0].astype(np.float64)
        return row / np.linalg.norm(row)

    def detect(self, image: Image.Image) -> Face | None:
        """Return the face of the highest confidence, at least `MIN_CONFIDENCE`; None if there is none."""
        scale = DETECTOR_SIZE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        canvas = np.zeros((DETECTOR_SIZE, DETECTOR_SIZE, 3), dtype=np.float32)
        canvas[: size[1], : size[0]] = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
        pixels = ((canvas - 127.5) / 128).transpose(2, 0, 1)[None]
        outputs = self.detector.run(None, {self.detector.get_inputs()[0].name: pixels})
        return decode_faces(outputs, scale)


def decode_faces(outputs: list[np.ndarray], scale: float) -> Face | None:
    """Find the most certain face in the outputs of SCRFD.

    Args:
        outputs: confidences [anchors, 1] of each stride, then boxes, which are not used, then points [anchors, 10] as
            distances from the anchor in units of the stride.
        scale: pixels of the detector's input for one of the image.
    """
    best: Face | None = None
    for index, stride in enumerate(STRIDES):
        confidences = outputs[index].reshape(-1)
        row = int(confidences.argmax())
        if confidences[row] < MIN_CONFIDENCE or (best is not None and confidences[row] <= best.confidence):
            continue
        cell = row // ANCHORS
        columns = DETECTOR_SIZE // stride
        anchor = np.array([cell % columns, cell // columns]) * stride
        points = outputs[index + 2 * len(STRIDES)].reshape(-1, 5, 2)[row] * stride + anchor
        best = Face(float(confidences[row]), points.astype(np.float64) / scale)
    return best


def align_face(image: Image.Image, points: Float[np.ndarray, "5 2"]) -> Float[np.ndarray, "112 112 3"]:
    """Turn, scale and shift an image so that the five points come as near to `FACE_POINTS` as they can."""
    matrix = similarity_transform(FACE_POINTS, points)  # from the result back to the image, as pillow wants it
    aligned = image.transform(
        (FACE_SIZE, FACE_SIZE), Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BILINEAR
    )
    return np.asarray(aligned, dtype=np.float64)


def similarity_transform(
    source: Float[np.ndarray, "points 2"], target: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "2 3"]:
    """Compute the rotation, scale and shift that bring points nearest to others, in least squares, without mirroring.

    Source: Umeyama, IEEE Transactions on Pattern Analysis and Machine Intelligence 13, 1991.
    """
    own, other = source.mean(0), target.mean(0)
    first, second = source - own, target - other
    u, singular, vh = np.linalg.svd(second.T @ first)
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vh))])
    rotation = (u * signs) @ vh
    scale = (singular * signs).sum() / (first**2).sum()
    return np.column_stack([scale * rotation, other - scale * rotation @ own])


def face_digest(folder: Path) -> str:
    """SHA-256 of the two networks.

    Raises:
        InputError: one is missing.
    """
    from lycoris.cache.integrity import file_digest

    for name in (DETECTOR_FILE, RECOGNIZER_FILE):
        if not (folder / name).is_file():
            raise InputError(f"Quality predictor `face_similarity` needs `{folder / name}`, but there is none.")
    return file_digest(folder / DETECTOR_FILE) + file_digest(folder / RECOGNIZER_FILE)


def _open_network(file: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "Quality predictor `face_similarity` needs onnxruntime: pip install 'lycoris-pipeline[onnx]'."
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the errors of onnxruntime have no common base class
        raise InputError(f"`{file}` could not be opened as an ONNX network: {error}") from error
