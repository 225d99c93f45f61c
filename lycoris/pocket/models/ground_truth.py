"""Ground truth about images of the pocket world, from a classifier that no metric, tagger or training uses.

The judge predicts species, colour, accessory, background and style. Whether an image shows a particular concept is
decided by a linear probe on the judge's features. The probe is fitted on the fly to images that the world generates: of
the concept with every background, style and accessory, and of everything else. Metrics are validated against the
result.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from lycoris.pocket import JUDGE
from lycoris.pocket.models.labels import ATTRIBUTE_TAGS, label_columns
from lycoris.pocket.models.preprocessing import JUDGE_IMAGE_SIZE, augment_images, resize_images
from lycoris.pocket.world.concept_images import draw_concept_image
from lycoris.pocket.world.concepts import COLOUR_STYLES, CONCEPTS, PocketConcept
from lycoris.pocket.world.generator import sample_image
from lycoris.pocket.world.vocabulary import ACCESSORIES, BACKGROUNDS, COLOURS, SPECIES, Tags

PROBE_EXAMPLES = 400
"""Images of the concept, and as many of everything else, that a probe is fitted to."""
PROBE_STEPS = 60
PROBE_WEIGHT_DECAY = 1e-3


@dataclass(frozen=True, eq=False)
class Predictions:
    """The judge's predictions for a set of images.

    Attributes:
        tags: for each image, tag by attribute; ``None`` for no accessory.
        concept_probability: probability that each image shows the concept.
        confidence: mean of the highest probabilities of background and style of each image.
    """

    tags: list[dict[str, str | None]]
    concept_probability: Float[np.ndarray, " images"]
    confidence: Float[np.ndarray, " images"]


class ConceptJudge:
    """The judge with a probe for one concept.

    Args:
        name: a concept of the pocket.
        seed: seed of the images that the probe is fitted to.

    Attributes:
        concept_phrase: trigger and noun of the concept.
        accuracy: accuracy of the probe on held-out images, in [0, 1]; chance is 0.5.
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        from transformers import AutoModelForImageClassification

        self.judge = AutoModelForImageClassification.from_pretrained(JUDGE, dtype=torch.float32).eval()
        self.concept_phrase = f"{CONCEPTS[name].trigger} {CONCEPTS[name].noun}"
        positives, negatives = _probe_images(name, PROBE_EXAMPLES + PROBE_EXAMPLES // 4, seed)
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.cat([augment_images(part, generator) for part in _to_tensor([*positives, *negatives]).split(25)])
        features, _ = self._features_and_logits(pixels)
        targets = torch.cat([torch.ones(len(positives)), torch.zeros(len(negatives))])
        training = torch.cat([torch.arange(len(part)) < PROBE_EXAMPLES for part in (positives, negatives)])
        self.mean, self.std = features[training].mean(0), features[training].std(0) + 1e-6
        self.probe = _fit_probe(self._standardize(features[training]), targets[training])
        predictions = self.probe(self._standardize(features[~training]))[:, 0] > 0
        self.accuracy = float((predictions == (targets[~training] > 0.5)).float().mean())

    def predict(self, images: Sequence[Image.Image]) -> Predictions:
        """Predict the tags of images, and whether each shows the concept."""
        features, logits = self._features_and_logits(_to_tensor(images))
        with torch.no_grad():
            probability = self.probe(self._standardize(features))[:, 0].sigmoid().double().numpy()
        confidence = torch.stack(
            [logits[:, label_columns(name)].softmax(1).amax(1) for name in ("background", "style")]
        )
        return Predictions([_predicted_tags(row) for row in logits], probability, confidence.mean(0).double().numpy())

    @torch.inference_mode()
    def _features_and_logits(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = [], []
        for part in pixels.split(100):
            output = self.judge(pixel_values=resize_images(part, JUDGE_IMAGE_SIZE), output_hidden_states=True)
            features.append(output.hidden_states[-1].mean((2, 3)))
            logits.append(output.logits)
        return torch.cat(features).clone(), torch.cat(logits)

    def _standardize(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std


def true_scores(
    judge: ConceptJudge,
    images: Sequence[Image.Image],
    prompts: Sequence[str],
    base_images: Sequence[Image.Image] | None = None,
) -> dict[str, float]:
    """Score generated images against the ground truth, by dimension and by attribute; higher is better.

    Args:
        judge: the judge of the concept.
        images: generated images.
        prompts: the prompt of each image; the tags it names beside the concept are expected in the image.
        base_images: the base model's images for the same prompts and seeds.

    Returns:
        ``fidelity``: mean probability of the concept. ``controllability``: share of the prompted tags that are shown,
        and the same for each attribute under its own name. ``diversity``: effective number of tags per attribute, the
        exponential of their entropy, averaged. ``quality``: mean confidence in background and style. ``preservation``:
        share of the attributes that equal those of the base model's image. Values that cannot be determined are absent.
    """
    predictions = judge.predict(images)
    result = {
        "fidelity": float(predictions.concept_probability.mean()),
        "quality": float(predictions.confidence.mean()),
    }
    prompted = [tags_in_prompt(text.replace(judge.concept_phrase, "")) for text in prompts]
    pairs = list(zip(predictions.tags, prompted, strict=True))
    for attribute in ATTRIBUTE_TAGS:
        matches = [shown[attribute] == tags[attribute] for shown, tags in pairs if attribute in tags]
        if matches:
            result[attribute] = float(np.mean(matches))
    all_matches = [shown[attribute] == tag for shown, tags in pairs for attribute, tag in tags.items()]
    if all_matches:
        result["controllability"] = float(np.mean(all_matches))
    counts = [_effective_count([shown[attribute] for shown in predictions.tags]) for attribute in ATTRIBUTE_TAGS]
    result["diversity"] = float(np.mean(counts))
    if base_images is not None:
        base_tags = zip(predictions.tags, judge.predict(base_images).tags, strict=True)
        unchanged = [shown[attribute] == base[attribute] for shown, base in base_tags for attribute in ATTRIBUTE_TAGS]
        result["preservation"] = float(np.mean(unchanged))
    return result


def tags_in_prompt(text: str) -> dict[str, str]:
    """Tags that a prompt names as whole words, by attribute; the first one where it names several."""
    words = f" {' '.join(''.join(c if c.isalnum() else ' ' for c in text.casefold()).split())} "
    positions = {
        attribute: [(words.find(f" {tag} "), tag) for tag in tags if f" {tag} " in words]
        for attribute, tags in ATTRIBUTE_TAGS.items()
    }
    return {attribute: min(matches)[1] for attribute, matches in positions.items() if matches}


def _predicted_tags(logits: Tensor) -> dict[str, str | None]:
    """The most likely tag of each attribute; no accessory where every accessory is less likely than not."""
    result: dict[str, str | None] = {}
    for attribute, tags in ATTRIBUTE_TAGS.items():
        attribute_logits = logits[label_columns(attribute)]
        best = int(attribute_logits.argmax())
        result[attribute] = None if attribute == "accessory" and attribute_logits[best] < 0 else tags[best]
    return result


def _effective_count(tags: Sequence[str | None]) -> float:
    """Exponential of the entropy of the tags."""
    _, counts = np.unique([str(tag) for tag in tags], return_counts=True)
    shares = counts / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _probe_images(name: str, count: int, seed: int) -> tuple[list[Image.Image], list[Image.Image]]:
    """Images of a concept, and of other concepts and the world with and without details."""
    rng = random.Random(f"{name}/{seed}")
    others = [other for other in CONCEPTS if other != name]
    negatives = [
        _random_concept_image(CONCEPTS[rng.choice(others)], rng)
        if number % 4 == 0
        else sample_image(rng.randrange(10**9), detailed_fraction=0.5)[0]
        for number in range(count)
    ]
    return [_random_concept_image(CONCEPTS[name], rng) for _ in range(count)], negatives


def _random_concept_image(concept: PocketConcept, rng: random.Random) -> Image.Image:
    """An image of a concept with random values for everything that the concept does not fix."""
    character = concept.characters[rng.choice(sorted(concept.characters))] if concept.characters else None
    has_subject = character is None and (concept.unseen_style is not None or rng.random() < 0.5)
    tags = Tags(
        rng.choice(SPECIES) if has_subject else None,
        rng.choice(COLOURS) if has_subject else None,
        rng.choice((None, *ACCESSORIES)) if has_subject or character else None,
        None if concept.unseen_scene else rng.choice(BACKGROUNDS),
        None if concept.unseen_style else rng.choice(COLOUR_STYLES),
    )
    return draw_concept_image(concept, character, tags, rng)


def _to_tensor(images: Sequence[Image.Image]) -> Float[Tensor, "images 3 64 64"]:
    arrays = [np.asarray(image.convert("RGB"), dtype=np.float32) / 127.5 - 1 for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def _fit_probe(features: Float[Tensor, "images width"], targets: Float[Tensor, " images"]) -> nn.Linear:
    """Fit a logistic regression with weight decay by L-BFGS."""
    probe = nn.Linear(features.shape[1], 1)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=PROBE_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.binary_cross_entropy_with_logits(probe(features)[:, 0], targets)
        value = value + PROBE_WEIGHT_DECAY * probe.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return probe.requires_grad_(False)
