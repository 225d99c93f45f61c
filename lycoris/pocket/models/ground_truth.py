"""What drawings of the pocket world truly show, in the eyes of the classifier that no metric, tagger or training uses.

The judge tells species, colour, accessory, background and style. Whether a picture shows one individual, place or look
is told by a linear reading of the judge's features, learned on the spot from pictures that the world draws: of the
concept in every place, style and accessory, and of everything else. So each metric can be held against the truth.
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
from lycoris.pocket.models.labels import ATTRIBUTE_TAGS
from lycoris.pocket.models.networks import CLASSIFIER_SPECS
from lycoris.pocket.training.classifiers import augment_images, resize_images
from lycoris.pocket.world.concepts import COLOUR_STYLES, CONCEPTS, PocketConcept, draw_concept_image
from lycoris.pocket.world.generator import sample_image
from lycoris.pocket.world.vocabulary import ACCESSORIES, BACKGROUNDS, COLOURS, SPECIES, Tags

PROBE_EXAMPLES = 400
"""Pictures of the concept, and as many of everything else, that a reading is learned from."""
PROBE_STEPS = 60
PROBE_WEIGHT_DECAY = 1e-3


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the judge says of pictures.

    Attributes:
        tags: attribute -> tag of each picture; ``None`` for no accessory.
        individual: how surely each is the concept, in [0, 1].
        certainty: how surely background and style of each can be told, in [0, 1].
    """

    tags: list[dict[str, str | None]]
    concept_probability: Float[np.ndarray, " images"]
    confidence: Float[np.ndarray, " images"]


class ConceptJudge:
    """The judge, and a reading of one concept.

    Args:
        name: of a concept of the pocket.
        seed: of the pictures that the reading is learned from.

    Attributes:
        called: the concept's trigger and noun.
        accuracy: of the reading on pictures that it did not learn from, chance 0.5.
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        from transformers import AutoModelForImageClassification

        self.judge = AutoModelForImageClassification.from_pretrained(JUDGE, dtype=torch.float32).eval()
        self.image_size = CLASSIFIER_SPECS["judge"].image_size
        self.concept_phrase = f"{CONCEPTS[name].trigger} {CONCEPTS[name].noun}"
        shown, other = _probe_images(name, PROBE_EXAMPLES + PROBE_EXAMPLES // 4, seed)
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.cat([augment_images(part, generator) for part in _to_tensor([*shown, *other]).split(25)])
        features, _ = self._features_and_logits(pixels)
        answers = torch.cat([torch.ones(len(shown)), torch.zeros(len(other))])
        learned = torch.cat([torch.arange(len(part)) < PROBE_EXAMPLES for part in (shown, other)])
        self.centre, self.scale = features[learned].mean(0), features[learned].std(0) + 1e-6
        self.probe = _fit_probe(self._standardized(features[learned]), answers[learned])
        guesses = self.probe(self._standardized(features[~learned]))[:, 0] > 0
        self.accuracy = float((guesses == (answers[~learned] > 0.5)).float().mean())

    def predict(self, images: Sequence[Image.Image]) -> Predictions:
        """What each picture shows."""
        features, logits = self._features_and_logits(_to_tensor(images))
        with torch.no_grad():
            individual = self.probe(self._standardized(features))[:, 0].sigmoid().double().numpy()
        sure = torch.stack([logits[:, _label_columns(name)].softmax(1).amax(1) for name in ("background", "style")])
        return Predictions([_predicted_tags(row) for row in logits], individual, sure.mean(0).double().numpy())

    @torch.inference_mode()
    def _features_and_logits(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = [], []
        for part in pixels.split(100):
            found = self.judge(pixel_values=resize_images(part, self.image_size), output_hidden_states=True)
            features.append(found.hidden_states[-1].mean((2, 3)))
            logits.append(found.logits)
        return torch.cat(features).clone(), torch.cat(logits)

    def _standardized(self, features: Tensor) -> Tensor:
        return (features - self.centre) / self.scale


def true_scores(
    judge: ConceptJudge,
    images: Sequence[Image.Image],
    prompts: Sequence[str],
    base_images: Sequence[Image.Image] | None = None,
) -> dict[str, float]:
    """What a set of drawings is truly worth, one number a dimension and one an attribute, each higher for better.

    Args:
        oracle: of the concept.
        images: drawings.
        prompts: what each was drawn from; what they name beside the concept is asked for.
        base: the base's drawings of the same prompts and seeds.

    Returns:
        ``fidelity``: mean certainty that it is the concept. ``controllability``: part of the named tags that are there,
        and the same of each attribute under its name. ``diversity``: effective number of tags an attribute, averaged.
        ``quality``: mean certainty of background and style. ``preservation``: part of the attributes that are as in the
        base's drawing. What cannot be told is left out.
    """
    seen = judge.predict(images)
    result = {"fidelity": float(seen.concept_probability.mean()), "quality": float(seen.confidence.mean())}
    wanted = [tags_in_prompt(text.replace(judge.concept_phrase, "")) for text in prompts]
    pairs = list(zip(seen.tags, wanted, strict=True))
    for attribute in ATTRIBUTE_TAGS:
        right = [one[attribute] == tags[attribute] for one, tags in pairs if attribute in tags]
        if right:
            result[attribute] = float(np.mean(right))
    every = [one[name] == tag for one, tags in pairs for name, tag in tags.items()]
    if every:
        result["controllability"] = float(np.mean(every))
    result["diversity"] = float(
        np.mean([_effective_count([one[attribute] for one in seen.tags]) for attribute in ATTRIBUTE_TAGS])
    )
    if base_images is not None:
        before = judge.predict(base_images).tags
        same = [
            one[name] == other[name] for one, other in zip(seen.tags, before, strict=True) for name in ATTRIBUTE_TAGS
        ]
        result["preservation"] = float(np.mean(same))
    return result


def tags_in_prompt(text: str) -> dict[str, str]:
    """The tags that a text names, by attribute; of an attribute that is named twice the first."""
    words = f" {' '.join(''.join(c if c.isalnum() else ' ' for c in text.casefold()).split())} "
    places = {
        attribute: [(words.find(f" {tag} "), tag) for tag in tags if f" {tag} " in words]
        for attribute, tags in ATTRIBUTE_TAGS.items()
    }
    return {attribute: min(found)[1] for attribute, found in places.items() if found}


def _predicted_tags(logits: Tensor) -> dict[str, str | None]:
    """The tag of each attribute; no accessory where none is likelier than not."""
    result: dict[str, str | None] = {}
    for attribute, tags in ATTRIBUTE_TAGS.items():
        part = logits[_label_columns(attribute)]
        best = int(part.argmax())
        result[attribute] = None if attribute == "accessory" and part[best] < 0 else tags[best]
    return result


def _label_columns(attribute: str) -> slice:
    """Where the judge's labels of an attribute are."""
    names = list(ATTRIBUTE_TAGS)
    start = sum(len(ATTRIBUTE_TAGS[name]) for name in names[: names.index(attribute)])
    return slice(start, start + len(ATTRIBUTE_TAGS[attribute]))


def _effective_count(tags: Sequence[str | None]) -> float:
    _, counts = np.unique([str(tag) for tag in tags], return_counts=True)
    shares = counts / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _probe_images(name: str, count: int, seed: int) -> tuple[list[Image.Image], list[Image.Image]]:
    """Pictures of a concept, and of the other concepts and the plain and detailed world."""
    generator = random.Random(f"{name}/{seed}")
    others = [other for other in CONCEPTS if other != name]
    rest = [
        _random_concept_image(CONCEPTS[generator.choice(others)], generator)
        if number % 4 == 0
        else sample_image(generator.randrange(10**9), detailed_fraction=0.5)[0]
        for number in range(count)
    ]
    return [_random_concept_image(CONCEPTS[name], generator) for _ in range(count)], rest


def _random_concept_image(concept: PocketConcept, generator: random.Random) -> Image.Image:
    """One picture of a concept with everything that it leaves open at random."""
    figure = concept.characters[generator.choice(sorted(concept.characters))] if concept.characters else None
    inhabited = figure is None and (concept.style is not None or generator.random() < 0.5)
    tags = Tags(
        generator.choice(SPECIES) if inhabited else None,
        generator.choice(COLOURS) if inhabited else None,
        generator.choice((None, *ACCESSORIES)) if inhabited or figure else None,
        None if concept.scene else generator.choice(BACKGROUNDS),
        None if concept.style else generator.choice(COLOUR_STYLES),
    )
    return draw_concept_image(concept, figure, tags, generator)


def _to_tensor(images: Sequence[Image.Image]) -> Float[Tensor, "images 3 64 64"]:
    arrays = [np.asarray(image.convert("RGB"), dtype=np.float32) / 127.5 - 1 for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def _fit_probe(features: Tensor, targets: Tensor) -> nn.Linear:
    """Logistic regression with weight decay, to its end."""
    reading = nn.Linear(features.shape[1], 1)
    nn.init.zeros_(reading.weight)
    nn.init.zeros_(reading.bias)
    optimizer = torch.optim.LBFGS(reading.parameters(), max_iter=PROBE_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.binary_cross_entropy_with_logits(reading(features)[:, 0], targets)
        value = value + PROBE_WEIGHT_DECAY * reading.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return reading.requires_grad_(False)
