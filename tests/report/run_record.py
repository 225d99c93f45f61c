"""The record of a study for tests: its images are gradients, and the verdicts of its scores are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

SIMILARITY, TEXT, STYLE = "image_similarity/trigger/clip", "text_similarity/alter/clip", "style_loss/style/vgg"
ALGORITHMS = {"lora": 0.10, "lokr": 0.20}
STRATEGIES = {"none": 0.05, "all": 0.0}


def score(difference: float, *, base: float, width: float) -> dict[str, float]:
    """A score whose interval reaches ``width`` to both sides."""
    value = base + difference
    return {
        "value": value,
        "low": value - width,
        "high": value + width,
        "base": base,
        "difference": difference,
        "difference_low": difference - width,
        "difference_high": difference + width,
    }


def trial_study(folder: Path) -> dict[str, Any]:
    """Two concepts, two algorithms, two tag strategies; one adapter failed, one has no loss curve."""

    def save_gradient(red: int, green: int, size: tuple[int, int] = (64, 48)) -> str:
        path = folder / f"{red}-{green}-{size[0]}.png"
        if not path.exists():
            bands = [Image.new("L", size, red), Image.linear_gradient("L").resize(size), Image.new("L", size, green)]
            Image.merge("RGB", bands).save(path)
        return str(path)

    def generated_images(red: int, concept: str) -> dict[str, list[dict[str, Any]]]:
        prompts = {"trigger": f"a {concept}", "alter": f"a {concept} on a beach"}
        return {
            kind: [
                {"image": save_gradient(red, 40 * place + 9 * len(kind)), "prompt": prompt, "seed": 1000 + place}
                for place in range(3)
            ]
            for kind, prompt in prompts.items()
        }

    adapters: list[dict[str, Any]] = []
    for far, concept in enumerate(("hornling", "biscuit")):
        for near, (algorithm, gain) in enumerate(ALGORITHMS.items()):
            for strategy, more in STRATEGIES.items():
                adapter = {
                    "name": f"{concept}-{algorithm}-{strategy}",
                    "concept": concept,
                    "algorithm": algorithm,
                    "captions": strategy,
                    "seed": 0,
                }
                if (concept, algorithm, strategy) == ("biscuit", "lora", "all"):
                    adapters.append({**adapter, "error": "the loss was NaN at step 3 <b>"})
                    continue
                cached = (concept, algorithm, strategy) == ("hornling", "lora", "all")
                adapters.append(
                    {
                        **adapter,
                        "bytes": 123456,
                        "parameters": 4096,
                        "pictures": 4,
                        "set_aside": {"7.jpg": "Picture `7.jpg` is truncated"} if concept == "biscuit" else {},
                        "run_id": "0123456789abcdef",
                        "cached": cached,
                        "champion": (algorithm, strategy) == ("lokr", "none"),
                        "seconds": {"train": 12.5, "draw": 3.25},
                        "losses": [] if cached else [1 / (step + 1) for step in range(500)],
                        "settings": {"rank": 4, "layers": ["attn"]},
                        "scores": {
                            SIMILARITY: score(gain + more, base=0.6, width=0.03),
                            TEXT: score(0.01 - 2 * more, base=0.3, width=0.02),
                            STYLE: score(gain, base=0.0, width=0.02),
                        },
                        "drawings": generated_images(60 + 80 * far + 20 * near, concept),
                    }
                )
    return {
        "title": "A trial <script>alert(1)</script>",
        "created": "2026-01-02",
        "command": "lycoris run trial.yaml",
        "seconds": 75.2,
        "data_version": "0123456789abcdef.dir",
        "commit": "abc1234",
        "base": {"name": "pocket", "digest": "sha256:00"},
        "settings": {"steps": 5, "nested": {"a": [1, 2]}},
        "hardware": "a laptop",
        "rule": "The most similar one.",
        "concepts": [
            {
                "name": name,
                "category": "toys",
                "trigger": trigger,
                "class_noun": "toy",
                "description": "brown dog",
                "references": [save_gradient(200, 30 * place) for place in range(3)]
                + [save_gradient(90, 90, (800, 400))],
                "captions": {
                    "none": [f"a {trigger} toy"] * 4,
                    "all": [f"{trigger} toy, droopy_ears, beach"] * 4,
                },
                "inherent": ["droopy ears"],
            }
            for name, trigger in (("hornling", "<script>alert(2)</script>"), ("biscuit", "olis"))
        ],
        "metrics": {
            "image_similarity": {"dimension": "fidelity", "higher_is_better": True, "about": "Cosine."},
            "text_similarity": {"dimension": "controllability", "higher_is_better": True, "about": "Cosine."},
            "style_loss": {"dimension": "preservation", "higher_is_better": False, "about": "Gram."},
        },
        "bases": [
            {"concept": concept, "captions": strategy, "drawings": generated_images(5, concept)}
            for concept in ("hornling", "biscuit")
            for strategy in STRATEGIES
        ],
        "adapters": adapters,
    }
