"""A finished study with three settings, two concepts and tiny images."""

from __future__ import annotations

import csv
import json

import pytest
from PIL import Image

SETTINGS = {"lora": 0.9, "loha": 0.5, "peft:hra r=8": 0.1}
"""Algorithm -> how good its images are, which the metric `image_similarity` knows and `recall` turns round."""


@pytest.fixture
def study(tmp_path):
    adapters, rows = [], []
    for concept in ("mug", "cat"):
        for number, (algorithm, quality) in enumerate(SETTINGS.items()):
            images = []
            for prompt in range(4):
                file = tmp_path / f"{concept}-{number}-{prompt}.png"
                Image.new("RGB", (8, 8), (int(255 * quality), prompt, number)).save(file)
                images.append({"image": str(file), "prompt": f"a {concept} {prompt}", "seed": 1000 + prompt})
            run = f"run-{concept}-{number}"
            fields = {"concept": concept, "algorithm": algorithm, "captions": "none", "seed": 0, "checkpoint": None}
            adapters.append({"name": f"{concept}-{number}", **fields, "run_id": run, "drawings": {"trigger": images}})
            common = {"concept": concept, "category": "toys", "config": algorithm, "algorithm": algorithm.split()[0]}
            common |= {"captions": "none", "seed": 0, "steps": 4, "run_id": run}
            noise = 0.01 if concept == "cat" else 0.0
            for name, value in (("image_similarity/trigger/clip", quality - noise), ("recall/trigger/clip", -quality)):
                rows.append({**common, "name": name, "value": value, "dimension": "fidelity", "higher_is_better": True})
    (tmp_path / "study.json").write_text(json.dumps({"title": "x", "adapters": adapters}))
    with (tmp_path / "scores.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path
