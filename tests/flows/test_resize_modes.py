"""Scores under several resize modes: what is computed again, and what it is called."""

from __future__ import annotations

from lycoris.metrics.resize_modes import label_with_mode, merge_modes, metrics_in_mode
from tasks.score import Scores


def scored(key: str, *names: str) -> Scores:
    return Scores(key, [{"name": name, "value": 1.0} for name in names], cached=True)


def test_the_default_is_as_it_always_was() -> None:
    one = scored("k", "image_similarity/alter/clip", "vendi/alter/clip")
    assert merge_modes({"resize": one}) is one
    assert metrics_in_mode("resize", ("resize",)) is None
    assert label_with_mode("grumble", "resize", ("resize",)) == "grumble"


def test_scores_that_see_the_dataset_are_named_by_mode_and_the_others_stand_once() -> None:
    found = merge_modes(
        {
            "resize": scored("a", "image_similarity/alter/clip", "vendi/alter/clip", "style_loss/style/vgg"),
            "padding": scored("b", "image_similarity/alter/clip"),
        }
    )
    assert [record["name"] for record in found.records] == [
        "image_similarity/alter/clip-resize", "vendi/alter/clip", "style_loss/style/vgg",
        "image_similarity/alter/clip-padding",
    ]  # fmt: skip
    assert found.key not in ("a", "b")
    assert found.cached


def test_a_further_mode_computes_only_what_it_changes() -> None:
    again = metrics_in_mode("crop", ("resize", "crop"))
    assert again is not None
    assert {"image_similarity", "frechet_distance"} <= set(again)
    assert not {"vendi", "text_similarity", "style_loss", "precision"} & set(again)  # the last is not by default


def test_one_mode_that_was_chosen_is_named() -> None:
    found = merge_modes({"crop": scored("a", "image_similarity/alter/clip", "vendi/alter/clip")})
    assert [record["name"] for record in found.records] == ["image_similarity/alter/clip-crop", "vendi/alter/clip"]
