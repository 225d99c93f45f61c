"""From images to scores next to the base."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lycoris.encoders.batch_encoding import NonFiniteFeaturesError
from lycoris.errors import InputError
from lycoris.metrics import (
    METRICS,
    FeatureSet,
    GeneratedImages,
    PromptSpec,
    compare,
    compare_models,
    describe_metrics,
    encode,
    encode_references,
    encoding,
    load_features,
    save_features,
    score_images,
)
from lycoris.metrics.encoding import requested_tags
from lycoris.terms import DIMENSIONS

TESTED_PROMPT_TYPES = ("train", "trigger", "alter", "style")
IMAGE_COUNT = 12


class FakeEncoder:
    """An encoder of the mean colours of four quarters, and of the letters of a text."""

    def __init__(self, name: str, *, reads_text: bool = False) -> None:
        self.name = name
        self.digest = name
        self.reads_text = reads_text
        self.seen = 0

    def image_features(self, images, mode: str = "resize", batch_size: int = 32) -> torch.Tensor:
        self.seen += len(images)
        small = [np.asarray(image.resize((2, 2), Image.Resampling.BOX)).ravel() for image in images]
        return torch.tensor(np.array(small), dtype=torch.float32) / 255 - 0.4

    def text_features(self, texts, batch_size: int = 32) -> torch.Tensor:
        return torch.tensor([[1 + text.count(letter) for letter in "abcdefghijkl"] for text in texts]).float()


class FakeStyleEncoder(FakeEncoder):
    def style_features(self, images, mode: str = "resize", batch_size: int = 16) -> torch.Tensor:
        return self.image_features(images) ** 2


class FakeTagger:
    name = "namer"
    categories = {"red": "colour", "blue": "colour", "bear": "thing", "on_a_beach": "place"}  # noqa: RUF012

    def tags(self, images):
        return [{"red": 0.9, "on_a_beach": 0.8} for _ in images]


def noise_images(count: int, seed: int, mean: float = 128) -> list[Image.Image]:
    generator = np.random.default_rng(seed)
    noise = np.clip(generator.normal(mean, 50, (count, 4, 4, 3)), 0, 255).astype(np.uint8)
    return [Image.fromarray(each).resize((16, 16)) for each in noise]


def generated_images(seed: int, mean: float = 128, count: int = IMAGE_COUNT) -> dict[str, GeneratedImages]:
    result = {}
    for index, prompt_type in enumerate(TESTED_PROMPT_TYPES):
        prompts = [PromptSpec(f"sks {n}, a red bear", "a red bear", 1000 + n, n % 4) for n in range(count)]
        result[prompt_type] = GeneratedImages(prompt_type, noise_images(count, seed + index, mean), prompts)
    return result


@pytest.fixture
def encoders() -> list[FakeEncoder]:
    return [FakeEncoder("clip", reads_text=True), FakeEncoder("dinov2")]


@pytest.fixture
def style() -> FakeStyleEncoder:
    return FakeStyleEncoder("vgg")


def by_name(scores) -> dict:
    assert len({each.name for each in scores}) == len(scores)
    return {each.name: each for each in scores}


def test_scores_have_the_names_of_the_table_and_cover_five_dimensions(encoders, style) -> None:
    scores = by_name(
        score_images(noise_images(6, 9), generated_images(0), generated_images(0), encoders, style, category="scenes")
    )
    assert {each.dimension for each in scores.values()} == set(DIMENSIONS)
    expected = {
        "image_similarity/trigger/clip",
        "squared_centroid_distance/alter/dinov2",
        "text_similarity/alter/clip",
        "vendi/alter/dinov2",
        "style_loss/style/vgg",
        "frechet_distance/train/dinov2",
        "kernel_distance/train/clip",
    }
    assert expected <= scores.keys()
    for name, each in scores.items():
        metric, prompt_type, encoder = name.split("/")
        assert prompt_type in METRICS[metric].prompt_types
        assert each.higher_is_better is METRICS[metric].higher_is_better
        assert each.count == IMAGE_COUNT
        assert "texts" not in METRICS[metric].inputs or encoder == "clip"
        assert not METRICS[metric].styles_only


def test_scores_and_the_table_are_json_without_nan(encoders, style) -> None:
    scores = score_images(
        noise_images(6, 9), generated_images(0), generated_images(4), encoders, style, category="styles"
    )
    text = json.dumps([dataclasses.asdict(each) for each in scores], allow_nan=False)
    assert len(json.loads(text)) == len(scores)
    assert json.loads(json.dumps(describe_metrics(), allow_nan=False))["vendi"]["range"] == [1, None]


def test_the_base_against_itself_shows_no_difference_anywhere(encoders, style) -> None:
    for each in score_images(
        noise_images(6, 9), generated_images(0), generated_images(0), encoders, style, category="styles"
    ):
        assert each.difference == 0
        assert (each.difference_low, each.difference_high) == (0, 0)
        assert each.verdict == "no difference shown"
        assert (each.value, each.low, each.high) == (each.base, each.base_low, each.base_high)


def test_a_score_of_exactly_zero_is_reported(encoders, style) -> None:
    scores = by_name(
        score_images(noise_images(6, 9), generated_images(0), generated_images(0), encoders, style, category="scenes")
    )
    for name in ("style_loss/style/vgg", "feature_drift/style/clip", "text_preservation/style/clip"):
        assert (scores[name].value, scores[name].low, scores[name].high) == (0, 0, 0)
        assert not scores[name].note


def test_images_like_the_references_are_better_and_their_distance_to_the_base_is_worse(encoders, style) -> None:
    references = noise_images(8, 9, mean=210)
    scores = by_name(
        score_images(references, generated_images(0, 210), generated_images(0, 90), encoders, style, category="scenes")
    )
    for name in ("image_similarity", "squared_centroid_distance", "cmmd"):
        each = scores[f"{name}/trigger/dinov2"]
        assert each.verdict == "better", name
        assert each.difference == pytest.approx(each.value - each.base)
        assert each.difference_low <= each.difference <= each.difference_high
        assert each.low <= each.value <= each.high
        assert each.base_low <= each.base <= each.base_high
        assert METRICS[name].range[0] <= each.low
    assert scores["style_loss/style/vgg"].verdict == "worse"
    assert scores["style_loss/style/vgg"].base == 0


def test_the_style_loss_against_the_dataset_applies_to_styles_only(encoders, style) -> None:
    def losses(category: str) -> set[str]:
        scores = score_images(noise_images(6, 9), generated_images(0), None, encoders, style, category=category)
        return {each.name for each in scores if each.name.startswith("dataset_style_loss")}

    assert losses("scenes") == set()
    assert losses("styles") == {f"dataset_style_loss/{prompt_type}/vgg" for prompt_type in TESTED_PROMPT_TYPES}


def test_without_a_base_there_is_no_difference_and_no_preservation(encoders, style) -> None:
    scores = score_images(noise_images(6, 9), generated_images(0), None, encoders, style, category="scenes")
    assert {each.dimension for each in scores} == set(DIMENSIONS) - {"preservation"}
    for each in scores:
        assert each.value is not None
        assert (each.base, each.difference, each.verdict) == (None, None, None)


def test_images_are_paired_by_prompt_and_seed_and_not_by_index(encoders, style) -> None:
    base = generated_images(4)
    turned = {
        prompt_type: GeneratedImages(
            prompt_type, each.images[::-1], [dataclasses.replace(p, group=0) for p in each.prompts[::-1]]
        )
        for prompt_type, each in base.items()
    }
    references = noise_images(6, 9)
    first = score_images(references, generated_images(0), base, encoders, style, category="scenes")
    second = score_images(references, generated_images(0), turned, encoders, style, category="scenes")
    for one, other in zip(first, second, strict=True):
        assert one.difference_low == pytest.approx(other.difference_low, abs=1e-9)
        assert one.base == pytest.approx(other.base, abs=1e-9)


def test_images_with_a_repeated_prompt_and_seed_have_no_pairs() -> None:
    once = FeatureSet(
        {"image/clip": np.ones((2, 3))}, (PromptSpec("a cat", "a cat", 1), PromptSpec("a dog", "a dog", 1))
    )
    twice = FeatureSet({"image/clip": np.ones((3, 3))}, (*once.prompts, once.prompts[0]))
    assert once.aligned_with(once) is not None
    assert twice.aligned_with(once) is None


def test_a_larger_base_is_compared_on_the_common_prompts_and_seeds(encoders, style) -> None:
    base = generated_images(4, count=20)
    common = {
        prompt_type: GeneratedImages(prompt_type, each.images[:IMAGE_COUNT], each.prompts[:IMAGE_COUNT])
        for prompt_type, each in base.items()
    }
    references = noise_images(6, 9)
    first = score_images(references, generated_images(0), base, encoders, style, category="scenes")
    second = score_images(references, generated_images(0), common, encoders, style, category="scenes")
    assert first == second


def test_other_seeds_are_compared_unpaired_with_a_note(encoders, style) -> None:
    base = {
        prompt_type: GeneratedImages(
            prompt_type, each.images, [dataclasses.replace(p, seed=p.seed + 500) for p in each.prompts]
        )
        for prompt_type, each in generated_images(4).items()
    }
    scores = by_name(score_images(noise_images(6, 9), generated_images(0), base, encoders, style, category="scenes"))
    each = scores["image_similarity/trigger/clip"]
    assert "not paired" in each.note
    assert each.difference_low < each.difference < each.difference_high
    lost = scores["style_loss/style/vgg"]
    assert lost.value is None
    assert "same prompts and seeds" in lost.note


def test_a_base_without_the_features_of_a_metric_leaves_its_scores_without_a_base(encoders, style) -> None:
    dataset = encode_references(noise_images(6, 9), encoders, style, category="scenes")
    tuned = encode(generated_images(0), encoders, style, category="scenes", tagger=FakeTagger())
    scores = by_name(
        compare(
            dataset,
            tuned,
            encode(generated_images(4), encoders[:1], None, category="scenes"),
            category="scenes",
        )
    )
    assert scores["image_similarity/alter/clip"].base is not None
    for name in ("attribute_recall/alter/namer", "image_similarity/alter/dinov2"):
        assert (scores[name].base, scores[name].verdict) == (None, None)
        assert scores[name].value is not None


def test_two_models_are_compared_on_common_prompts_and_seeds(encoders, style) -> None:
    def features(images):
        return encode(images, encoders, style, category="styles")

    dataset = encode_references(noise_images(6, 9, mean=210), encoders, style, category="styles")
    near, far, base = (features(generated_images(seed, mean)) for seed, mean in ((0, 205), (20, 120), (40, 90)))
    scores = by_name(compare_models(dataset, near, far, base, category="styles"))
    alone = [by_name(compare(dataset, each, base, category="styles")) for each in (near, far)]
    assert scores.keys() == alone[0].keys()
    for name, each in scores.items():
        assert each.value == alone[0][name].value
        assert each.base == alone[1][name].value
    assert scores["image_similarity/trigger/clip"].verdict == "better"
    assert scores["style_loss/style/vgg"].verdict == "worse"
    assert not scores["style_loss/style/vgg"].note
    for each in compare_models(dataset, near, near, base, category="styles"):
        assert each.difference == (None if each.value is None else 0)
        assert each.verdict == (None if each.difference_low is None else "no difference shown")


def test_models_with_some_prompts_in_common_are_compared_on_those(encoders, style) -> None:
    def features(images):
        return encode(images, encoders, style, category="scenes")

    dataset = encode_references(noise_images(6, 9), encoders, style, category="scenes")
    first, second = generated_images(0), generated_images(4)
    moved = {
        prompt_type: GeneratedImages(
            prompt_type,
            each.images,
            [p if n < 8 else dataclasses.replace(p, seed=1) for n, p in enumerate(each.prompts)],
        )
        for prompt_type, each in second.items()
    }
    common = [
        {prompt_type: GeneratedImages(prompt_type, e.images[:8], e.prompts[:8]) for prompt_type, e in each.items()}
        for each in (first, second)
    ]
    some = compare_models(
        dataset, features(first), features(moved), category="scenes", metrics=["vendi", "image_similarity"]
    )
    same = compare_models(dataset, *map(features, common), category="scenes", metrics=["vendi", "image_similarity"])
    assert some == same
    apart = {
        prompt_type: GeneratedImages(
            prompt_type, each.images, [dataclasses.replace(p, seed=p.seed + 99) for p in each.prompts]
        )
        for prompt_type, each in second.items()
    }
    for each in compare_models(
        dataset, features(first), features(apart), category="scenes", metrics=["image_similarity"]
    ):
        assert each.count == IMAGE_COUNT
        assert "the other has other prompts or seeds" in each.note


def test_one_image_has_values_and_a_reason_for_no_interval(encoders, style) -> None:
    scores = by_name(
        score_images(
            noise_images(6, 9),
            generated_images(0, count=1),
            generated_images(4, count=1),
            encoders,
            style,
            category="scenes",
        )
    )
    each = scores["image_similarity/trigger/clip"]
    assert each.value is not None
    assert each.difference == pytest.approx(each.value - each.base)
    assert (each.low, each.difference_low, each.verdict) == (None, None, None)
    assert "needs 2 images, got 1" in each.note
    assert scores["frechet_distance/train/clip"].value is None
    assert scores["frechet_distance/train/clip"].note == "needs 2 images, got 1"


def test_one_reference_suffices_except_for_distributions(encoders, style) -> None:
    scores = by_name(
        score_images(noise_images(1, 9), generated_images(0), generated_images(4), encoders, style, category="styles")
    )
    for name, each in scores.items():
        if METRICS[name.split("/")[0]].min_references == 2:
            assert each.value is None
            assert each.note == "needs 2 references, got 1"
        else:
            assert math.isfinite(each.value)
            assert each.note == ""


def test_every_image_is_encoded_once_and_feature_sets_are_used_unchanged(encoders, style) -> None:
    references, images, base = noise_images(6, 9), generated_images(0), generated_images(4)
    expected = score_images(references, images, base, encoders, style, category="scenes")
    assert [eye.seen for eye in encoders] == [6 + 8 * IMAGE_COUNT] * 2
    assert style.seen == 2 * IMAGE_COUNT
    encoded = [encode(each, encoders, style, category="scenes") for each in (images, base)]
    dataset = encode_references(references, encoders, style, category="scenes")
    for eye in encoders:
        eye.seen = 0
    assert score_images(dataset, *encoded, encoders, style, category="scenes") == expected
    assert compare(dataset, *encoded, category="scenes") == expected
    assert [eye.seen for eye in encoders] == [0, 0]


def test_features_are_read_back_from_their_file(encoders, style, tmp_path: Path) -> None:
    features = encode(generated_images(0), encoders, style, category="styles", tagger=FakeTagger())
    dataset = encode_references(noise_images(6, 9), encoders, style, category="styles")
    save_features(tmp_path / "drawings.safetensors", features)
    save_features(tmp_path / "known.safetensors", {"references": dataset})
    again = load_features(tmp_path / "drawings.safetensors")
    assert list(again) == list(features)
    assert again["alter"].prompts == features["alter"].prompts
    back = load_features(tmp_path / "known.safetensors")["references"]
    first = compare(dataset, features, category="styles")
    second = by_name(compare(back, again, category="styles"))
    assert {each.name: each for each in first} == second
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match=r"broken\.safetensors"):
        load_features(tmp_path / "broken.safetensors")


def test_the_order_of_images_changes_no_value(encoders, style) -> None:
    references, images = noise_images(6, 9), generated_images(0)
    order = np.random.default_rng(0).permutation(IMAGE_COUNT)
    mixed = {
        prompt_type: GeneratedImages(prompt_type, [each.images[i] for i in order], [each.prompts[i] for i in order])
        for prompt_type, each in images.items()
    }
    first = score_images(references, images, generated_images(4), encoders, style, category="scenes")
    second = score_images(references[::-1], mixed, generated_images(4), encoders, style, category="scenes")
    for one, other in zip(first, second, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-9, abs=1e-9)
        assert one.difference == pytest.approx(other.difference, rel=1e-9, abs=1e-9)


def test_vendi_of_new_situations_is_the_mean_over_situations(encoders, style) -> None:
    images = generated_images(0)
    scores = by_name(score_images(noise_images(6, 9), images, None, encoders, style, category="scenes"))
    features = encoders[0].image_features(images["alter"].images).numpy()
    apart = [METRICS["vendi"].function(features[group::4]) for group in range(4)]
    assert scores["vendi/alter/clip"].value == pytest.approx(np.mean(apart))
    features = encoders[0].image_features(images["trigger"].images).numpy()
    assert scores["vendi/trigger/clip"].value == pytest.approx(METRICS["vendi"].function(features))


def test_words_that_describe_the_concept_are_not_requested(encoders) -> None:
    """A sks bear on a beach requests a beach; whether it is a blue bear is fidelity."""
    prompts = [PromptSpec("a sks bear on a beach", "a blue bear on a beach", n, 0) for n in range(4)]
    images = {"alter": GeneratedImages("alter", noise_images(4, 1), prompts)}
    features = encode(images, encoders, category="toys", tagger=FakeTagger(), concept_names=["sks bear", "sks"])[
        "alter"
    ]
    names = sorted(FakeTagger.categories)
    wanted, found = features.arrays["requested/namer"], features.arrays["detected/namer"]
    assert [names[place] for place in wanted[0].nonzero()[0]] == ["on_a_beach"]
    assert [names[place] for place in found[0].nonzero()[0]] == ["on_a_beach"]  # "red" was not spoken of


def test_a_tagger_gives_recall_and_precision_of_the_tags_in_the_prompts(encoders) -> None:
    def scores(**names) -> dict:
        own, base = (
            encode(generated_images(seed), encoders, category="scenes", tagger=FakeTagger(), **names) for seed in (0, 4)
        )
        references = encode_references(noise_images(6, 9), encoders, category="scenes")
        return by_name(compare(references, own, base, category="scenes"))

    assert scores()["attribute_recall/alter/namer"].value == 0.5
    assert scores()["attribute_precision/alter/namer"].value == 1
    assert scores(concept_names=["red bear"])["attribute_recall/alter/namer"].value is None
    assert requested_tags("A blue bear, on a beach", FakeTagger.categories) == {"blue", "bear", "on_a_beach"}
    assert requested_tags("reddish bearing", FakeTagger.categories) == set()
    assert requested_tags("a sks bear, on a beach", FakeTagger.categories, ["sks bear"]) == {"on_a_beach"}
    assert requested_tags("a SKS bear, bear", FakeTagger.categories, ["sks bear", "sks"]) == {"bear"}


def test_selected_metrics_are_computed_alone_and_errors_name_unknown_ones(encoders, style) -> None:
    features = encode(generated_images(0), encoders, style, category="scenes")
    dataset = encode_references(noise_images(6, 9), encoders, style, category="scenes")
    scores = compare(dataset, features, category="scenes", metrics=["vendi"])
    assert {each.name.split("/")[0] for each in scores} == {"vendi"}
    with pytest.raises(InputError, match="Did you mean `vendi`"):
        compare(dataset, features, category="scenes", metrics=["wendi"])


def test_metrics_that_are_not_by_default_are_computed_on_request(encoders, style) -> None:
    features = encode(generated_images(0), encoders, style, category="scenes")
    dataset = encode_references(noise_images(6, 9), encoders, style, category="scenes")
    optional = {name for name, metric in METRICS.items() if not metric.by_default}
    assert not optional & {each.name.split("/")[0] for each in compare(dataset, features, category="scenes")}
    without = compare(dataset, features, category="scenes", metrics=sorted(optional))
    assert {each.name.split("/")[0] for each in without} == optional - {"retrieval_precision"}
    gallery = encode_references(noise_images(4, 3), encoders, category="scenes")
    scores = compare(dataset, features, category="scenes", metrics=sorted(optional), look_alikes=gallery)
    assert {each.name.split("/")[0] for each in scores} == optional


def test_errors_name_invalid_sets(encoders, style) -> None:
    images = generated_images(0)["trigger"]
    short = {"trigger": dataclasses.replace(images, prompts=images.prompts[:-1])}
    with pytest.raises(InputError, match="got 11 for 12 images"):
        encode(short, encoders, style, category="scenes")
    with pytest.raises(InputError, match="distinct names, but got clip, clip"):
        encode({"trigger": images}, [encoders[0], encoders[0]], style, category="scenes")


def test_progress_is_reported_set_by_set(encoders, style) -> None:
    calls: list[tuple[int, int]] = []
    encode(generated_images(0), encoders, style, category="scenes", progress=lambda *now: calls.append(now))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_an_empty_feature_set_has_length_zero() -> None:
    assert len(FeatureSet({})) == 0


def test_every_metric_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    rows = {line.split("|")[1].split(" (")[0].strip() for line in text.splitlines() if line.startswith("| `")}
    assert {f"`{name}`" for name in METRICS} <= {name for row in rows for name in row.split(", ")}


def test_the_number_of_prefetched_images_changes_no_feature(encoders, style, monkeypatch) -> None:
    def features() -> dict[str, FeatureSet]:
        return encode(generated_images(3), encoders, style, category="styles", tagger=FakeTagger())

    expected = features()
    monkeypatch.setattr(encoding, "PREFETCH_IMAGES", 5)
    for prompt_type, each in features().items():
        assert list(each.arrays) == list(expected[prompt_type].arrays)
        for key, array in each.arrays.items():
            np.testing.assert_array_equal(array, expected[prompt_type].arrays[key])


def test_an_error_names_the_image_with_non_finite_features(style, monkeypatch) -> None:
    class Blind(FakeEncoder):
        def image_features(self, images, mode: str = "resize", batch_size: int = 32) -> torch.Tensor:
            bad = [place for place, image in enumerate(images) if image.width == 17]
            if bad:
                raise NonFiniteFeaturesError(bad[0])
            return super().image_features(images)

    monkeypatch.setattr(encoding, "PREFETCH_IMAGES", 5)
    images = [*noise_images(8, 0), Image.new("RGB", (17, 16))]
    with pytest.raises(InputError, match="image 8 "):
        encode_references(images, [Blind("blind")], style, category="scenes")
