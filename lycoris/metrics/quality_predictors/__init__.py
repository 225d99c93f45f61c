"""Networks that serve one metric alone: marks for single pictures, and LPIPS between them.

None is embedded. CLIP-IQA works on any text-image encoder; LAION's predictor is a small file for the features of
one; LIQE, MANIQA and LPIPS come from the package ``pyiqa``, which the user installs, as its licence and those of
its weights are not free for every use.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lycoris.encoders import Encoder
from lycoris.errors import InputError, unknown_name_error
from lycoris.metrics.quality_predictors.clip import AestheticsPredictor, ClipIQA
from lycoris.metrics.quality_predictors.iqa import MOS_METRICS, Lpips, MosPredictor

__all__ = ["AestheticsPredictor", "ClipIQA", "Lpips", "MosPredictor", "open_quality_predictors"]


def open_quality_predictors(
    names: Sequence[str], encoders: Sequence[Encoder], device: str | torch.device = "cpu"
) -> list[ClipIQA | AestheticsPredictor | MosPredictor | Lpips]:
    """Raters by name.

    Args:
        names: ``clip_iqa`` (one for every encoder that reads text), ``aesthetics=FILE`` (for the only such encoder),
            ``liqe``, ``maniqa``, ``lpips``.
        encoders: those in use.
        device: where networks of their own run.

    Raises:
        InputError: a name is unknown, a file or package is missing, or no encoder or more than one would do.
    """
    readers = [encoder for encoder in encoders if encoder.reads_text]
    raters: list[ClipIQA | AestheticsPredictor | MosPredictor | Lpips] = []
    for given in names:
        name, _, file = given.partition("=")
        if name in ("clip_iqa", "aesthetics") and not readers:
            raise InputError(f"Rater `{name}` needs a text-image encoder such as `clip`, but none is in use.")
        if name == "clip_iqa":
            raters += [ClipIQA(encoder) for encoder in readers]
        elif name == "aesthetics":
            if not file or len(readers) > 1:
                raise InputError(f"Rater `aesthetics=FILE` needs its file and one text-image encoder; got `{given}`.")
            raters.append(AestheticsPredictor(file, readers[0].name))
        elif name == "lpips":
            raters.append(Lpips(device))
        elif name in MOS_METRICS:
            raters.append(MosPredictor(name, device))
        else:
            raise unknown_name_error("rater", name, ("clip_iqa", "aesthetics", "lpips", *MOS_METRICS))
    return raters
