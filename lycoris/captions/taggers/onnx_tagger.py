"""Taggers as an ONNX graph, such as the published ones of the WD kind, through onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lycoris.captions.taggers.labels import read_labels
from lycoris.captions.taggers.thresholding import resolve_thresholds, select_tags, tag_categories
from lycoris.errors import InputError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, UInt8
    from torch import Tensor

INSTALL_HINT = "An ONNX tagger needs onnxruntime: pip install 'lycoris-pipeline[onnx]'."


class OnnxTagger:
    """A multi-label tagger in ONNX: pictures in one input, one confidence or logit a tag in the first output.

    An input whose last axis has three channels is fed as the WD taggers were trained: padded to a square with white,
    blue before green before red, values from 0 to 255. One whose second axis has three channels is fed as
    ``preprocessor_config.json`` says. Whether the output is logits is tried once, on a grey picture: a confidence
    is never outside of [0, 1].

    Args:
        name: what stands for the tagger in names of scores.
        folder: ``model.onnx`` (or one other ``.onnx`` file) and ``selected_tags.csv`` or ``id2label``.
        digest: the sha256 over all that its tags depend on.
        device: where it runs, if onnxruntime was built for it; else on the CPU.
        thresholds: category -> least confidence in (0, 1), over `lycoris.captions.taggers.thresholding.THRESHOLDS`.
        batch_size: pictures at a time, where the graph leaves it open.

    Raises:
        InputError: onnxruntime is not installed, the graph cannot be read or is no tagger of these tags, or a
            threshold has no such category.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        digest: str,
        device: str | torch.device = "cpu",
        thresholds: Mapping[str, float] | None = None,
        batch_size: int = 32,
    ) -> None:
        import torch

        self.name = name
        self.folder = folder
        self.digest = digest
        self.labels = read_labels(folder)
        self.thresholds = resolve_thresholds(self.labels, thresholds)
        self.categories = tag_categories(self.labels, self.thresholds)
        self.session = _open_session(find_onnx_file(folder), str(device))
        (given, *_), (first, *_) = self.session.get_inputs(), self.session.get_outputs()
        self._input_name, self._output_name = given.name, first.name
        self.batch_size = given.shape[0] if isinstance(given.shape[0], int) else batch_size
        self.preprocessing = _read_input_preprocessing(folder, given.shape)
        self._has_fixed_batch = isinstance(given.shape[0], int)
        self._cpu = torch.device("cpu")
        self._outputs_logits = False
        grey = self._confidences([Image.new("RGB", (64, 64), (128, 128, 128))])
        if grey.shape[1] != len(self.labels):
            raise InputError(
                f"Tagger folder `{folder}` names {len(self.labels)} tags, but its network has {grey.shape[1]} outputs."
            )
        self._outputs_logits = bool((grey < 0).any() or (grey > 1).any())

    def tags(self, images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """For each picture its tags with confidence in [0, 1], best first, in the order of `images`."""
        if not images:
            return []
        found = self._confidences(images)
        found = found.sigmoid() if self._outputs_logits else found
        return [select_tags(row, self.labels, self.thresholds) for row in found.tolist()]

    def _confidences(self, images: Sequence[Image.Image]) -> Float[Tensor, "images tags"]:
        from lycoris.encoders.batch_encoding import encode_batches

        return encode_batches(
            self._run_session, images, self.preprocessing, mode="resize", batch_size=self.batch_size, device=self._cpu
        )

    def _run_session(self, pixels: Tensor) -> Float[Tensor, "batch tags"]:
        import torch

        count = len(pixels)
        if self._has_fixed_batch and count < self.batch_size:
            pixels = torch.cat([pixels, pixels[-1:].expand(self.batch_size - count, *pixels.shape[1:])])
        (found,) = self.session.run([self._output_name], {self._input_name: pixels.numpy()})
        return torch.from_numpy(np.asarray(found, dtype=np.float32)[:count].reshape(count, -1))


class WhiteSquarePreprocessing:
    """A picture as the WD taggers take it: on a white square, [side, side, 3] in the order blue, green, red.

    Args:
        side: of the square, in pixels.
    """

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, image: Image.Image, mode: str = "resize") -> Float[Tensor, "side side 3"]:
        """Values from 0 to 255 in float32; the resampling is bicubic."""
        import torch

        return self.normalize(torch.from_numpy(self.pixels(image, mode))[None], mode)[0]

    def pixels(self, image: Image.Image, mode: str = "resize") -> UInt8[np.ndarray, "side side 3"]:
        """The picture on its square, blue first."""
        longer = max(image.size)
        square = Image.new("RGB", (longer, longer), "white")
        square.paste(image.convert("RGB"), ((longer - image.width) // 2, (longer - image.height) // 2))
        square = square.resize((self.side, self.side), Image.Resampling.BICUBIC)
        return np.ascontiguousarray(np.asarray(square)[:, :, ::-1])

    def normalize(
        self, pixels: UInt8[Tensor, "batch side side 3"], mode: str = "resize"
    ) -> Float[Tensor, "batch side side 3"]:
        """The values as they are, in float32."""
        return pixels.float()


def find_onnx_file(folder: Path) -> Path:
    """The graph of a folder.

    Raises:
        InputError: there is none, or there are several and none is ``model.onnx``.
    """
    files = sorted(folder.glob("*.onnx"))
    if folder / "model.onnx" in files:
        return folder / "model.onnx"
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise InputError(f"Tagger folder `{folder}` must hold one ONNX file, but has {found}.")
    return files[0]


def _open_session(file: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(INSTALL_HINT) from error
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    known = onnxruntime.get_available_providers()
    providers = [*(name for name in wanted if name in known), "CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no common class of their own
        raise InputError(f"ONNX file `{file}` could not be opened: {error}") from error


def _read_input_preprocessing(folder: Path, shape: Sequence[Any]) -> Any:
    if len(shape) == 4 and shape[3] == 3 and isinstance(shape[1], int) and shape[1] == shape[2]:
        return WhiteSquarePreprocessing(shape[1])
    if len(shape) == 4 and shape[1] == 3:
        from lycoris.encoders import read_preprocessing

        return read_preprocessing(folder)
    raise InputError(
        f"The ONNX tagger in `{folder}` must take [batch, side, side, 3] or [batch, 3, height, width], "
        f"but takes {list(shape)}."
    )
