"""Annotations of `lycoris` are checked in the tests, also those that a module imports under `TYPE_CHECKING`."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from lycoris.captions.taggers.onnx_tagger import WhiteSquarePreprocessing
from lycoris.metrics.weighted import l2_normalize, pair_weight


def test_a_wrong_shape_is_refused() -> None:
    l2_normalize(np.ones((2, 3)))
    with pytest.raises(TypeCheckError, match="images dim"):
        l2_normalize(np.ones(3))


def test_a_wrong_number_type_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="weights"):
        pair_weight(np.ones((2, 3), dtype=np.int64))


def test_shapes_are_checked_in_modules_that_import_torch_late() -> None:
    preprocessing = WhiteSquarePreprocessing(4)
    preprocessing.normalize(torch.zeros(1, 4, 4, 3, dtype=torch.uint8))
    with pytest.raises(TypeCheckError, match="batch side side 3"):
        preprocessing.normalize(torch.zeros(1, 4, 5, 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("path", "argument"),
    [
        ("analysis.statistics.setting_scores.remove_column_effects", np.ones(3)),
        ("bases.schedulers.is_flow_matching", "FlowMatch"),
        ("cache.integrity.file_digest", 1),
        ("data.images.read_size", 1),
        ("pocket.world.vocabulary.to_sentence", "a bear"),
        ("report.run.scores.decimal_places", 1),
        ("safety.redaction.redact", 1),
        ("training.seeding.derive_seed", "0"),
    ],
)
def test_a_wrong_type_is_refused_in_every_room(path: str, argument: object) -> None:
    module, _, name = f"lycoris.{path}".rpartition(".")
    with pytest.raises(TypeCheckError, match="parameter"):
        getattr(importlib.import_module(module), name)(argument)
