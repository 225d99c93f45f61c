"""What encoders and resize modes change, and what adapters cost."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest

from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.costs import mean_costs
from lycoris.analysis.statistics.encoder_agreement import encoder_agreement
from lycoris.analysis.table_analysis import Analysis, analyze
from lycoris.analysis.text.agreement_text import describe_encoder_agreement
from lycoris.analysis.text.cost_text import describe_costs as cost_sentences

ENCODERS = ("clip-resize", "clip-padding", "dinov2-resize", "dinov2-padding")


def table(file: Path, rows: list[list[object]], *more: str) -> Path:
    header = ["concept", "config", "algorithm", "captions", "seed", "run_id", "name", "value", "dimension",
              "higher_is_better", *more]  # fmt: skip
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


@pytest.fixture
def seen(tmp_path: Path) -> Analysis:
    """Modes see the same; DINOv2 ranks the adapters the other way round than CLIP."""
    rng = random.Random(0)
    rows: list[list[object]] = []
    for concept in range(6):
        for place, algorithm in enumerate(("lora", "loha", "lokr", "full")):
            value = place + rng.gauss(0, 0.05)
            for encoder in ENCODERS:
                sign = 1 if encoder.startswith("clip") else -1
                name = f"image_similarity/alter/{encoder}"
                run = f"{concept}{algorithm}"
                rows.append([f"c{concept}", algorithm, algorithm, "all", 0, run, name, sign * value, "fidelity", True])
    return analyze(read_table(table(tmp_path / "scores.csv", rows)))


def test_modes_with_equal_scores_agree_and_opposed_encoders_contradict(seen: Analysis) -> None:
    result = encoder_agreement(seen.ranking, seen.correlations, seen.effects)
    modes = result.alike[result.alike["differ"] == "resize_mode"]
    encoders = result.alike[result.alike["differ"] == "encoder"]
    assert modes["correlation"].tolist() == pytest.approx([1.0] * len(modes))
    assert encoders["correlation"].tolist() == pytest.approx([-1.0] * len(encoders))
    assert set(zip(modes["first"], modes["second"], strict=True)) == {("padding", "resize")}
    [row] = result.first.to_dict("records")
    assert (row["clip-resize"], row["dinov2-padding"]) == ("full · all", "lora · all")
    assert (result.conclusions["better"] == 2).all()
    assert (result.conclusions["worse"] == 2).all()
    assert (result.conclusions["views"] == 4).all()
    assert len(result.conclusions) == 6  # pairs of four algorithms
    text = " ".join(describe_encoder_agreement(result))
    assert "6 are shown in both directions" in text
    assert "for 0 of 1 pairs" in text


@pytest.mark.parametrize(("algorithms", "known"), [(("lora", "lokr"), False), (("lora", "lokr", "full"), True)])
def test_a_correlation_within_a_concept_needs_three_adapters(tmp_path: Path, algorithms, known: bool) -> None:
    rows: list[list[object]] = [
        ["a", name, name, "all", 0, name, measure, value, "fidelity", True]
        for value, name in enumerate(algorithms)
        for measure in ("image_similarity/alter/clip", "image_similarity/alter/dinov2")
    ]
    analysis = analyze(read_table(table(tmp_path / "scores.csv", rows)))
    assert np.isfinite(analysis.correlations.matrix).all() == known


def test_costs_are_means_by_algorithm_and_number_of_images(tmp_path: Path) -> None:
    rows = []
    for concept in ("a", "b"):
        for algorithm, slow in (("lora", 1.0), ("full", 2.0)):
            for pictures in (4, 16):
                run, label = f"{concept}{algorithm}{pictures}", f"{algorithm} pictures={pictures}"
                numbers = {"training_seconds": slow * pictures, "file_bytes": 1e6, "drawing_seconds": 0.5}
                rows += [
                    [concept, label, algorithm, "all", 0, run, name, value, "efficiency", False, pictures]
                    for name, value in numbers.items()
                ]
                rows.append(
                    [concept, label, algorithm, "all", 0, run, "vendi/alter/clip", 2, "diversity", True, pictures]
                )
    file = table(tmp_path / "scores.csv", rows, "pictures")
    result = mean_costs(file)
    assert result[["config", "pictures", "adapters", "training_seconds"]].to_numpy().tolist() == [
        ["full pictures=16", 16, 2, 32.0], ["full pictures=4", 4, 2, 8.0],
        ["lora pictures=16", 16, 2, 16.0], ["lora pictures=4", 4, 2, 4.0],
    ]  # fmt: skip
    text = cost_sentences(result)
    assert "full pictures=16: 32 s of training, a file of 1.00 MB, 0.5 s per image (mean of 2)." in text
    assert "LoRA: 4 times the images take 4.00 times the training time." in text


def test_costs_are_a_dimension_of_their_own_and_count_for_no_lead(tmp_path: Path) -> None:
    rows = [
        [f"c{concept}", name, name, "all", 0, f"{concept}{name}", measure, value, dimension, better]
        for concept in range(3)
        for place, name in enumerate(("lora", "full"))
        for measure, value, dimension, better in (
            ("training_seconds", 5.0 - place, "efficiency", False),
            ("vendi/alter/clip", 2.0 - place, "diversity", True),
        )
    ]
    result = analyze(read_table(table(tmp_path / "scores.csv", rows)))
    assert result.leaders.loc["lora"].to_dict() == {"led": 1, "shown": 1, "measures": 1}
    gap = result.effects.query("metric == 'efficiency' and level == 'full'")["effect"]
    assert gap.tolist() == [1.0]


def test_the_cost_of_a_training_is_that_of_its_last_checkpoint(tmp_path: Path) -> None:
    rows = [
        ["a", "lora", "lora", "all", 0, f"run{epoch}", "training_seconds", 1.0 * epoch, "efficiency", False, epoch]
        for epoch in (10, 30, 50)
    ]
    assert mean_costs(table(tmp_path / "scores.csv", rows, "epoch"))["training_seconds"].tolist() == [50.0]


def test_without_costs_the_table_is_empty(tmp_path: Path) -> None:
    rows: list[list[object]] = [["a", "lora", "lora", "all", 0, "r", "vendi/alter/clip", 2, "diversity", True]]
    assert mean_costs(table(tmp_path / "scores.csv", rows)).empty
