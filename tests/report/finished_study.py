"""The folder of a finished study for tests: its effects are known, and its images differ in their pixels."""

from __future__ import annotations

import csv
import json
import random
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

CONCEPTS = {"grumble": "characters", "bop": "characters", "castle": "scenes", "lighthouse": "scenes"}
ALGORITHMS, STRATEGIES, SEEDS, CHECKPOINTS = ("lora", "lokr"), ("none", "all"), (0, 1), ("epoch 5", None)
METRICS = {
    "image_similarity/trigger/clip": ("fidelity", True),
    "image_similarity/alter/dino": ("fidelity", True),
    "text_similarity/alter/clip": ("controllability", True),
    "vendi/trigger/clip": ("diversity", True),
    "style_loss/style/vgg": ("preservation", False),
}


def save_image(folder: Path, colour: tuple[int, int, int]) -> str:
    file = folder / ("-".join(map(str, colour)) + ".png")
    Image.new("RGB", (64, 64), colour).save(file)
    return str(file)


def write_study(folder: Path) -> Path:
    """Captions of `none` raise fidelity and lower controllability; the algorithm only changes the file's size."""
    rng = random.Random(0)
    (folder / "pictures").mkdir(parents=True)
    adapters: list[dict[str, Any]] = []
    table = []
    cells = product(enumerate(CONCEPTS), enumerate(ALGORITHMS), enumerate(STRATEGIES), SEEDS, enumerate(CHECKPOINTS))
    for (c, concept), (a, algorithm), (s, strategy), seed, (e, stage) in cells:
        up = 1.0 if strategy == "none" else 0.0
        signs = (up, up, -up, 0.0, up)
        scores = {}
        for (name, (dimension, higher)), sign in zip(METRICS.items(), signs, strict=True):
            value = sign + 0.3 * e + rng.gauss(0, 0.05)
            ends = {"value": value, "low": value - 0.1, "high": value + 0.1}
            against = {"base": 0.2, "difference": value - 0.2, "difference_low": value - 0.4, "difference_high": value}
            scores[name] = {"name": name, **ends, **against, "dimension": dimension, "higher_is_better": higher}
        run = f"{concept}-{algorithm}-{strategy}-{seed}-{e}"
        options = {"concept": concept, "algorithm": algorithm, "captions": strategy, "seed": seed}
        image = save_image(folder / "pictures", (50 * c + 10 * a, 100 * s + 40 * seed, 200 * e + 10))
        prompts = {"trigger": f"a {concept}", "alter": f"a {concept} on a beach", "style": f"a painting of a {concept}"}
        adapters.append(
            {
                **options, "name": run, "run_id": run, "checkpoint": stage, "bytes": 1000 * (a + 1), "parameters": 10,
                "champion": (algorithm, strategy, seed, stage) == ("lokr", "none", 0, None), "reason": "it is ahead",
                "seconds": {"train": 10.0 * (a + 1), "draw": 3.0}, "losses": [] if stage else [1.0, 0.5],
                "scores": scores,
                "drawings": {kind: [{"image": image, "prompt": prompt, "seed": 3}] for kind, prompt in prompts.items()},
            }
        )  # fmt: skip
        row = {
            "category": CONCEPTS[concept],
            **options,
            "config": algorithm,
            "epoch": 5 if stage else 10,
            "run_id": run,
        }
        table += [{**row, **score} for score in scores.values()]
    base = save_image(folder / "pictures", (1, 2, 3))
    study = {
        "title": "Study small",
        "rule": "The best one.",
        "concepts": [{"name": name, "category": category, "references": [base]} for name, category in CONCEPTS.items()],
        "bases": [
            {
                "concept": name, "captions": strategy,
                "drawings": {"alter": [{"image": base, "prompt": f"a {name} on a beach", "seed": 3}]},
            }
            for name in CONCEPTS for strategy in STRATEGIES
        ],
        "adapters": adapters,
        "tracking": {"address": "sqlite:///runs/mlflow/mlflow.db", "experiment": "1", "run": "parent"},
    }  # fmt: skip
    (folder / "study.json").write_text(json.dumps(study))
    with (folder / "scores.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return folder
