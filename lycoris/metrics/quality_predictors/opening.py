"""The table of networks that serve a single metric: what each needs, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lycoris.encoders import Encoder, TransformersEncoder
from lycoris.encoders.model_sources import model_digest, resolve_source
from lycoris.errors import InputError, unknown_name_error
from lycoris.metrics.colours import ColourQuantiles
from lycoris.metrics.prediction import QualityPredictorLike
from lycoris.metrics.quality_predictors.clip import AestheticsPredictor, ClipIQA, QualityWeightedFeatures
from lycoris.metrics.quality_predictors.descriptors import CopyDescriptor, StyleDescriptor
from lycoris.metrics.quality_predictors.faces import FaceDescriptor, face_digest
from lycoris.metrics.quality_predictors.image_reward import ImageReward
from lycoris.metrics.quality_predictors.iqa import MOS_METRICS, Lpips, MosPredictor, require_pyiqa
from lycoris.metrics.quality_predictors.preference import ClipPreference
from lycoris.metrics.quality_predictors.questions import QuestionScore, question_digest
from lycoris.metrics.quality_predictors.rubric import RubricJudge
from lycoris.metrics.quality_predictors.text_reading import TextReader

Opener = Callable[[str, Sequence[Encoder], torch.device], Sequence[QualityPredictorLike]]


@dataclass(frozen=True)
class PredictorEntry:
    """How a network with a metric of its own is opened.

    Attributes:
        open: what follows the ``=`` in its name, the text-image encoders in use, device -> one network for each encoder
            that it belongs to.
        source: what follows the ``=``: a ``file``, or a ``model`` (a folder or a hub name); None for nothing.
        text_encoders: how many text-image encoders must be in use: None for any number, ``some`` or ``one``.
        package: a package that it needs, which users install themselves.
    """

    open: Opener
    source: Literal["file", "model"] | None = None
    text_encoders: Literal["some", "one"] | None = None
    package: str | None = None


def _open_clip(metric: str, *, is_scaled: bool) -> Opener:
    def open_one(source: str, encoders: Sequence[Encoder], device: torch.device) -> Sequence[QualityPredictorLike]:
        encoder = TransformersEncoder(*resolve_source(source), device)
        if not encoder.reads_text:
            raise InputError(f"Quality predictor `{metric}` needs a CLIP, but `{source}` reads no text.")
        return [ClipPreference(metric, encoder, is_scaled=is_scaled)]

    return open_one


def _open_mos_predictor(metric: str) -> Opener:
    return lambda source, encoders, device: [MosPredictor(metric, device)]


PREDICTORS: Mapping[str, PredictorEntry] = {
    "clip_iqa": PredictorEntry(lambda _, encoders, __: [ClipIQA(each) for each in encoders], text_encoders="some"),
    "quality_vendi": PredictorEntry(
        lambda _, encoders, __: [QualityWeightedFeatures(each) for each in encoders], text_encoders="some"
    ),
    "aesthetics": PredictorEntry(
        lambda file, encoders, _: [AestheticsPredictor(file, encoders[0].name)], "file", text_encoders="one"
    ),
    "pick_score": PredictorEntry(_open_clip("pick_score", is_scaled=True), "model"),
    "hps": PredictorEntry(_open_clip("hps", is_scaled=False), "model"),
    "vqa_score": PredictorEntry(lambda source, _, device: [QuestionScore(source, device)], "model"),
    "image_reward": PredictorEntry(lambda source, _, device: [ImageReward(source, device)], "model"),
    "text_accuracy": PredictorEntry(lambda source, _, device: [TextReader(source, device)], "model"),
    "rubric_prompt": PredictorEntry(lambda source, _, device: [RubricJudge("rubric_prompt", source, device)], "model"),
    "rubric_concept": PredictorEntry(
        lambda source, _, device: [RubricJudge("rubric_concept", source, device)], "model"
    ),
    "face_similarity": PredictorEntry(lambda source, _, device: [FaceDescriptor(source, device)], "model"),
    "csd_similarity": PredictorEntry(lambda file, _, device: [StyleDescriptor(Path(file), device)], "file"),
    "copy_rate": PredictorEntry(lambda file, _, device: [CopyDescriptor(Path(file), device)], "file"),
    "colour_drift": PredictorEntry(lambda *_: [ColourQuantiles()]),
    "lpips": PredictorEntry(lambda _, __, device: [Lpips(device)], package="pyiqa"),
    **{name: PredictorEntry(_open_mos_predictor(name), package="pyiqa") for name in MOS_METRICS},
}
"""Name of a metric -> its network. A new one is a class and one line here."""


def open_quality_predictors(
    names: Sequence[str], encoders: Sequence[Encoder], device: str | torch.device = "cpu"
) -> list[QualityPredictorLike]:
    """Open quality predictors by name.

    Args:
        names: keys of `PREDICTORS`; with ``=`` and its file, folder or hub name for those that need one:
            ``clip_iqa``, ``aesthetics=FILE``, ``vqa_score=FOLDER``.
        encoders: the encoders in use.
        device: torch device of networks of their own.

    Raises:
        InputError: a name is unknown, a file or package is missing, or there is no or more than one suitable encoder.
    """
    check_quality_predictors(names, {encoder.name: encoder.reads_text for encoder in encoders})
    text_encoders = [encoder for encoder in encoders if encoder.reads_text]
    return [
        predictor
        for name, source in map(_split, names)
        for predictor in PREDICTORS[name].open(source, text_encoders, torch.device(device))
    ]


def check_quality_predictors(names: Sequence[str], reads_text: Mapping[str, bool]) -> None:
    """Check that quality predictors can be opened, without opening them.

    Args:
        names: as for `open_quality_predictors`.
        reads_text: name of each encoder in use -> whether it reads text.

    Raises:
        InputError: as for `open_quality_predictors`.
    """
    check_sources(names)
    text_encoders = sum(reads_text.values())
    for name, _ in map(_split, names):
        needed = PREDICTORS[name].text_encoders
        if needed and not text_encoders:
            raise InputError(
                f"Quality predictor `{name}` needs a text-image encoder such as `clip`, but none is in use."
            )
        if needed == "one" and text_encoders > 1:
            raise InputError(
                f"Quality predictor `{name}` belongs to one text-image encoder, but {text_encoders} are in use."
            )


def check_sources(names: Sequence[str]) -> None:
    """Check the names of quality predictors, their files and packages, without knowing the encoders.

    Raises:
        InputError: a name is unknown or given twice, or a file or package is missing.
    """
    for entry in names:
        name, source = _split(entry)
        if name not in PREDICTORS:
            raise unknown_name_error("quality predictor", name, PREDICTORS)
        if sum(_split(other)[0] == name for other in names) > 1:
            raise InputError(f"Quality predictor `{name}` must be named once, but is named several times.")
        kind = PREDICTORS[name].source
        if kind is None and "=" in entry:
            raise InputError(f"Quality predictor `{name}` needs no file, but got `{entry}`.")
        if kind is not None and not source:
            raise InputError(f"Quality predictor `{name}={kind.upper()}` needs its {kind}, but got `{entry}`.")
        if kind == "file" and not Path(source).is_file():
            raise InputError(f"Quality predictor `{entry}` needs the file `{source}`, but there is none.")
        if PREDICTORS[name].package:
            require_pyiqa(name)


def predictor_digests(names: Sequence[str]) -> list[list[str]]:
    """Return each name with the SHA-256 of its file or folder, which is empty where it has none.

    Raises:
        InputError: a folder does not exist, or the hub does not have it.
    """
    check_sources(names)
    return [[entry, _digest(*_split(entry))] for entry in names]


def _digest(name: str, source: str) -> str:
    if not source:
        return ""
    if name == "vqa_score":
        return question_digest(source)
    path = resolve_source(source)[1]
    return face_digest(path) if name == "face_similarity" else model_digest(path)


def _split(entry: str) -> tuple[str, str]:
    name, _, source = entry.partition("=")
    return name, source
