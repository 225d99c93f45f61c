"""ONNX graphs as the networks of taggers, such as the published WD taggers, through onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lycoris.captions.taggers.labels import read_labels
from lycoris.errors import InputError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, UInt8
    from torch import Tensor

INSTALL_HINT = "An ONNX tagger needs onnxruntime: pip install 'lycoris-pipeline[onnx]'."


class OnnxNetwork:
    """A multi-label tagger in ONNX: one image input, and one confidence or logit per tag in the first output.

    An input with three channels in its last axis gets the preprocessing of the WD taggers: padded to a white square,
    channels in the order blue, green, red, values from 0 to 255. An input with three channels in its second axis gets
    the preprocessing in ``preprocessor_config.json``. Whether the output holds logits is determined once, on a grey
    image: a confidence is always in [0, 1].

    Args:
        folder: ``model.onnx`` (or one other ``.onnx`` file) and ``selected_tags.csv`` or ``id2label``.
        device: torch device, if onnxruntime was built for it; otherwise the CPU.
        batch_size: images per batch, if the graph does not fix it.

    Raises:
        InputError: onnxruntime is not installed, or the graph cannot be read or does not fit the tags.
    """

    def __init__(self, folder: Path, device: str | torch.device = "cpu", batch_size: int = 32) -> None:
        import torch

        self.labels = read_labels(folder)
        self.session = _open_session(find_onnx_file(folder), str(device))
        (graph_input, *_), (graph_output, *_) = self.session.get_inputs(), self.session.get_outputs()
        self._input_name, self._output_name = graph_input.name, graph_output.name
        self._has_fixed_batch = isinstance(graph_input.shape[0], int)
        self.batch_size = graph_input.shape[0] if self._has_fixed_batch else batch_size
        self.preprocessing = _read_input_preprocessing(folder, graph_input.shape)
        self._cpu = torch.device("cpu")
        self._outputs_logits = False
        grey = self.confidences([Image.new("RGB", (64, 64), (128, 128, 128))])
        if grey.shape[1] != len(self.labels):
            raise InputError(
                f"Tagger folder `{folder}` must name one tag per output, but names {len(self.labels)} tags for "
                f"{grey.shape[1]} outputs."
            )
        self._outputs_logits = bool((grey < 0).any() or (grey > 1).any())

    def confidences(self, images: Sequence[Image.Image]) -> Float[Tensor, "images tags"]:
        """Rate every label for each image."""
        from lycoris.encoders.batch_encoding import encode_batches

        outputs = encode_batches(
            self._run_session, images, self.preprocessing, mode="resize", batch_size=self.batch_size, device=self._cpu
        )
        return outputs.sigmoid() if self._outputs_logits else outputs

    def _run_session(self, pixels: Tensor) -> Float[Tensor, "batch tags"]:
        import torch

        count = len(pixels)
        if self._has_fixed_batch and count < self.batch_size:
            pixels = torch.cat([pixels, pixels[-1:].expand(self.batch_size - count, *pixels.shape[1:])])
        (output,) = self.session.run([self._output_name], {self._input_name: pixels.numpy()})
        return torch.from_numpy(np.asarray(output, dtype=np.float32)[:count].reshape(count, -1))


class WhiteSquarePreprocessing:
    """The preprocessing of the WD taggers: the image on a white square, [side, side, 3], blue channel first.

    Args:
        side: side of the square in pixels.
    """

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, image: Image.Image, mode: str = "resize") -> Float[Tensor, "side side 3"]:
        """Prepare one image: values from 0 to 255 in float32, bicubic resampling."""
        import torch

        return self.normalize(torch.from_numpy(self.pixels(image, mode))[None], mode)[0]

    def pixels(self, image: Image.Image, mode: str = "resize") -> UInt8[np.ndarray, "side side 3"]:
        """Place the image on its square, blue channel first."""
        longer = max(image.size)
        square = Image.new("RGB", (longer, longer), "white")
        square.paste(image.convert("RGB"), ((longer - image.width) // 2, (longer - image.height) // 2))
        square = square.resize((self.side, self.side), Image.Resampling.BICUBIC)
        return np.ascontiguousarray(np.asarray(square)[:, :, ::-1])

    def normalize(
        self, pixels: UInt8[Tensor, "batch side side 3"], mode: str = "resize"
    ) -> Float[Tensor, "batch side side 3"]:
        """Convert to float32; the values stay the same."""
        return pixels.float()


def find_onnx_file(folder: Path) -> Path:
    """Find the graph in a folder.

    Raises:
        InputError: there is no ONNX file, or there are several and none is ``model.onnx``.
    """
    files = sorted(folder.glob("*.onnx"))
    if folder / "model.onnx" in files:
        return folder / "model.onnx"
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise InputError(f"Tagger folder `{folder}` must hold one ONNX file, but has {names}.")
    return files[0]


def require_onnxruntime() -> Any:
    """Import onnxruntime.

    Raises:
        InputError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(INSTALL_HINT) from error
    return onnxruntime


def _open_session(file: Path, device: str) -> Any:
    onnxruntime = require_onnxruntime()
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    preferred = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    available = onnxruntime.get_available_providers()
    providers = [*(name for name in preferred if name in available), "CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # the errors of onnxruntime have no common base class
        raise InputError(f"ONNX file `{file}` could not be loaded: {error}") from error


def _read_input_preprocessing(folder: Path, shape: Sequence[Any]) -> Any:
    if len(shape) == 4 and shape[3] == 3 and isinstance(shape[1], int) and shape[1] == shape[2]:
        return WhiteSquarePreprocessing(shape[1])
    if len(shape) == 4 and shape[1] == 3:
        from lycoris.encoders import read_preprocessing

        return read_preprocessing(folder)
    raise InputError(
        f"The ONNX tagger in `{folder}` must have an input of shape [batch, side, side, 3] or "
        f"[batch, 3, height, width], but got {list(shape)}."
    )
