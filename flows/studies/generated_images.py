"""Images that the adapters of a finished study on the pocket world generated, with their ground truth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from lycoris.errors import InputError

if TYPE_CHECKING:
    from lycoris.metrics import PromptSpec
    from lycoris.pocket.models.ground_truth import ConceptJudge


class ImageSet(NamedTuple):
    """The images of one adapter for one prompt type.

    Attributes:
        prompt_type: one of the prompt types.
        prompts: the prompt of each image.
        images: the adapter's images.
        base_images: the base model's images for the same prompts and seeds; `None` if any is missing.
    """

    prompt_type: str
    prompts: list[PromptSpec]
    images: list[Image.Image]
    base_images: list[Image.Image] | None


@dataclass(frozen=True)
class StudyAdapter:
    """One adapter of a study.

    Attributes:
        concept: the concept it was trained on.
        key: its cache key.
        header: metadata in the header of its file.
        folder: its generated images.
        prompts: prompts of the images by prompt type.
    """

    concept: str
    key: str
    header: Mapping[str, str]
    folder: Path
    prompts: Mapping[str, list[PromptSpec]]


@dataclass(frozen=True)
class StudyImages:
    """All adapters of a study, and the base model's images by prompt text and seed."""

    adapters: list[StudyAdapter]
    base: Mapping[tuple[str, int], Path]

    def image_sets(self, adapter: StudyAdapter) -> Iterator[ImageSet]:
        """Read the images of an adapter, one prompt type after another."""
        from lycoris.data.images import read_image

        for prompt_type, prompts in adapter.prompts.items():
            images = [read_image(adapter.folder / prompt_type / f"{n:03d}.png") for n in range(len(prompts))]
            keys = [(prompt.text, prompt.seed) for prompt in prompts]
            complete = all(key in self.base for key in keys)
            yield ImageSet(
                prompt_type, prompts, images, [read_image(self.base[key]) for key in keys] if complete else None
            )

    def true_scores(self, adapter: StudyAdapter, judge: ConceptJudge) -> dict[str, dict[str, float]]:
        """True scores of an adapter by prompt type; see `lycoris.pocket.models.ground_truth.true_scores`."""
        from lycoris.pocket.models.ground_truth import true_scores

        return {
            each.prompt_type: true_scores(
                judge, each.images, [prompt.text for prompt in each.prompts], each.base_images
            )
            for each in self.image_sets(adapter)
        }


def load_study_images(runs: Path) -> StudyImages:
    """Find the generated images in the cache of a finished study.

    Args:
        runs: output folder of a study on concepts of the pocket.

    Raises:
        InputError: the cache holds no images of adapters.
    """
    from lycoris.adapters.files.checkpoint_reader import read_metadata
    from lycoris.metrics import PromptSpec
    from lycoris.pocket.world.concepts import CONCEPTS
    from tasks.generate import PROMPTS_FILE
    from tasks.runtime.adapter_training import ADAPTER_FILE

    adapters: dict[str, StudyAdapter] = {}
    base: dict[tuple[str, int], Path] = {}
    records = sorted((runs / "store" / "images").glob("*/stage.json"), key=lambda path: path.stat().st_mtime)
    for record in records:
        key = json.loads(record.read_text())["inputs"]["adapter"]
        content = json.loads((record.parent / PROMPTS_FILE).read_text())
        prompts = {name: [PromptSpec(**each) for each in specs] for name, specs in content.items()}
        if key is None:
            for prompt_type, specs in prompts.items():
                for number, prompt in enumerate(specs):
                    base[prompt.text, prompt.seed] = record.parent / prompt_type / f"{number:03d}.png"
            continue
        file = runs / "store" / "adapter" / key / ADAPTER_FILE
        header = read_metadata(file) if file.is_file() else {}
        if header.get("concept") in CONCEPTS:
            adapters[key] = StudyAdapter(header["concept"], key, header, record.parent, prompts)
    if not adapters:
        raise InputError(f"The cache in `{runs / 'store'}` holds no images of adapters of the pocket's concepts.")
    return StudyImages(list(adapters.values()), base)
