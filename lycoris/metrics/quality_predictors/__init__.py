"""Networks that serve a single metric: quality predictions for images, and LPIPS between images.

None is embedded. CLIP-IQA works with any text-image encoder; LAION's predictor is a small file for the features of one;
LIQE, MANIQA and LPIPS come from the package ``pyiqa``, which users install themselves, because its license and those of
its weights do not permit every use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from lycoris.encoders import Encoder
from lycoris.errors import InputError, unknown_name_error
from lycoris.metrics.quality_predictors.clip import AestheticsPredictor, ClipIQA
from lycoris.metrics.quality_predictors.iqa import MOS_METRICS, Lpips, MosPredictor, require_pyiqa

__all__ = [
    "AestheticsPredictor",
    "ClipIQA",
    "Lpips",
    "MosPredictor",
    "check_quality_predictors",
    "open_quality_predictors",
]

QualityPredictor = ClipIQA | AestheticsPredictor | MosPredictor | Lpips


def open_quality_predictors(
    names: Sequence[str], encoders: Sequence[Encoder], device: str | torch.device = "cpu"
) -> list[QualityPredictor]:
    """Open quality predictors by name.

    Args:
        names: ``clip_iqa`` (one for each encoder that reads text), ``aesthetics=FILE`` (for the only such encoder),
            ``liqe``, ``maniqa``, ``lpips``.
        encoders: the encoders in use.
        device: torch device of networks of their own.

    Raises:
        InputError: a name is unknown, a file or package is missing, or there is no or more than one suitable encoder.
    """
    check_quality_predictors(names, {encoder.name: encoder.reads_text for encoder in encoders})
    text_encoders = [encoder for encoder in encoders if encoder.reads_text]
    predictors: list[QualityPredictor] = []
    for entry in names:
        name, _, file = entry.partition("=")
        if name == "clip_iqa":
            predictors += [ClipIQA(encoder) for encoder in text_encoders]
        elif name == "aesthetics":
            predictors.append(AestheticsPredictor(file, text_encoders[0].name))
        else:
            predictors.append(Lpips(device) if name == "lpips" else MosPredictor(name, device))
    return predictors


def check_quality_predictors(names: Sequence[str], reads_text: Mapping[str, bool]) -> None:
    """Check that quality predictors can be opened, without opening them.

    Args:
        names: as for `open_quality_predictors`.
        reads_text: name of each encoder in use -> whether it reads text.

    Raises:
        InputError: as for `open_quality_predictors`.
    """
    text_encoders = sum(reads_text.values())
    for entry in names:
        name, _, file = entry.partition("=")
        if name in ("clip_iqa", "aesthetics") and not text_encoders:
            raise InputError(
                f"Quality predictor `{name}` needs a text-image encoder such as `clip`, but none is in use."
            )
        if name == "aesthetics":
            if not file or text_encoders > 1:
                raise InputError(
                    f"Quality predictor `aesthetics=FILE` needs its file and one text-image encoder, but got `{entry}`."
                )
            if not Path(file).is_file():
                raise InputError(f"Quality predictor `{entry}` needs the weight file `{file}`, but there is none.")
        elif name in ("lpips", *MOS_METRICS):
            require_pyiqa(name)
        elif name != "clip_iqa":
            raise unknown_name_error("quality predictor", name, ("clip_iqa", "aesthetics", "lpips", *MOS_METRICS))
