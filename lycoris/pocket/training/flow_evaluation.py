"""Evaluation of the flow transformer beside the UNet, on the same held-out prompts, and its quality bars.

`python -m lycoris.pocket.training report-flow --work DIR` evaluates the transformer trained in the work folder, else
the committed one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lycoris.pocket.training.evaluation import (
    PROMPT_COUNT,
    Evaluation,
    generate_images,
    held_out_prompts,
    image_grid,
    judge_images,
    markdown_table,
)
from lycoris.pocket.training.export import FLOW_REPORT, assemble_flow_pipeline, assemble_pipeline
from lycoris.pocket.training.trainer import TimeBudget, device
from lycoris.pocket.world.vocabulary import MAX_TOKENS, to_sentence

UNET, FLOW = "UNet", "flow transformer"
"""Rows of the report."""
QUALITY_MARGIN = 0.05
"""How far below the UNet's accuracy the transformer's may be, for each attribute."""


def missed_bars(report: Mapping[str, Any]) -> dict[str, float]:
    """Attributes for which the transformer is further below the UNet than `QUALITY_MARGIN`, and by how much in all."""
    differences = {name: report[UNET][name] - accuracy for name, accuracy in report[FLOW].items()}
    return {name: difference for name, difference in differences.items() if round(difference, 6) > QUALITY_MARGIN}


def evaluate_flow(work: Path, budget: TimeBudget | None = None, prompts: int = PROMPT_COUNT) -> Evaluation:
    """Evaluate transformer and UNet; write `report-flow.json` and an image grid into the work folder.

    Args:
        work: work folder of all trainings.
        budget: ignored; present because every part of `python -m lycoris.pocket.training` takes one.
        prompts: number of held-out prompts.
    """
    del budget
    prompted = held_out_prompts(prompts)
    texts = [to_sentence(tags) for tags in prompted]
    flow, unet = (one.to(device(), torch.float32) for one in (assemble_flow_pipeline(work), assemble_pipeline(work)))
    generated = generate_images(flow, texts, max_sequence_length=MAX_TOKENS)
    result: Evaluation = {
        UNET: judge_images(generate_images(unet, texts), prompted),
        FLOW: judge_images(generated, prompted),
    }
    (work / FLOW_REPORT).write_text(json.dumps(result, indent=1) + "\n")
    image_grid(generated[:96]).save(work / "samples-flow.png")
    print(markdown_table(result))
    missed = ", ".join(f"{name} by {difference:.3f}" for name, difference in missed_bars(result).items())
    print(f"below the UNet by more than {QUALITY_MARGIN}: {missed or 'none'}", flush=True)
    return result
