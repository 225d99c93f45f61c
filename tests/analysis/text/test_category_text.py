"""Names of levels in the sentences about categories."""

from __future__ import annotations

from lycoris.analysis.text.category_text import raw_level_label


def test_numeric_levels_are_printed_with_their_factor() -> None:
    assert raw_level_label("captions", "none") == "`none`"
    assert raw_level_label("learning_rate", 0.005) == "learning rate 0.005"
    assert raw_level_label("dim", 8.0) == "dim 8"
