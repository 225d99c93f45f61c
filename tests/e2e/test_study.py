"""A study on images of any shape, with few images, scored costs, and an adapter that fails."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from lycoris.analysis.statistics.measures import COSTS
from tests.e2e.tiny import TINY, copy_concept, run_lycoris, step_lines


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file whose concept has wide and tall images; one of its adapters cannot be trained."""
    folder = tmp_path_factory.mktemp("study")
    copy_concept(folder / "data", "grumble")
    for number, path in enumerate(sorted((folder / "data").rglob("*.png"))):
        sides = ((16, 16), (0, 0), (0, 0)) if number % 2 else ((0, 0), (16, 16), (0, 0))
        Image.fromarray(np.pad(np.asarray(Image.open(path).convert("RGB")), sides, mode="edge")).save(path)
    experiment = {
        **TINY,
        "data": str(folder / "data"),
        "output": str(folder / "runs"),
        "algorithms": [{"algorithm": "lora", "images": [4, 8]}, {"algorithm": "lora", "learning_rate": 1e20}],
        "training": {"clip_norm": None, "warmup_steps": 0},
        "captions": ["none"],
        "resize_modes": ["resize", "padding"],
        "score_costs": True,
    }
    content = {
        "question": "Does all of it work together?", "factors": ["images", "algorithm"],
        "reports": ["encoders", "costs", "findings"], "experiment": experiment,
    }  # fmt: skip
    (folder / "small.yaml").write_text(yaml.safe_dump(content))
    return folder / "small.yaml"


def test_a_failed_adapter_is_named_and_the_others_are_answered_and_cached(study: Path) -> None:
    done = run_lycoris("study", str(study), "--json")
    assert done.returncode == 1, done.stderr[-3000:]
    output = done.stdout
    assert "1 of 3 adapters failed:\n  grumble · lora learning_rate=1e+20 · none · seed 0: " in output
    result = json.loads(output.splitlines()[-1])
    assert {row["factor"] for row in result["effects"]} == {"pictures"}
    assert any("`algorithm` alone" in line for line in result["sentences"])
    assert len(result["told"]["costs"]) == 3
    assert len(result["told"]["findings"]) == 5

    table = pd.read_csv(study.parent / "runs" / "tiny" / "scores.csv")
    names = set(table["name"])
    assert {"image_similarity/alter/clip-resize", "image_similarity/alter/clip-padding", "vendi/alter/clip"} <= names
    modes = table[table["name"].str.startswith("image_similarity/alter/dinov2")].pivot(
        index="config", columns="name", values="value"
    )
    assert (modes.iloc[:, 0] != modes.iloc[:, 1]).all()
    assert set(table["pictures"]) == {4, 8}
    costs = table[table["dimension"] == "efficiency"]
    assert set(costs["name"]) <= set(COSTS)
    assert {"training_seconds", "file_bytes", "drawing_seconds"} <= set(costs["name"])
    assert (costs["value"] > 0).all()

    plan = run_lycoris("study", str(study), "--plan")
    assert "in the store: 2 of 3 adapters, 36 of 48 images" in plan.stdout
    again = run_lycoris("study", str(study))
    assert again.returncode == 1
    assert sum("cached" not in line for line in step_lines(again)) <= 1
    assert "1 of 3 adapters failed" in again.stdout
