"""Preflight: every setting that cannot work is an error before a model is opened."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from flows.config.loading import load_experiment, parse_experiment
from flows.config.preflight import validate_experiment, validate_scoring
from flows.config.preflight_training import validate_adapters
from flows.config.scoring import ScoringConfig
from flows.studies.estimate import describe_estimate
from lycoris import bases, encoders, pocket
from lycoris.bases import quantization
from lycoris.errors import InputError
from lycoris.terms import TRACKERS
from tests.bases.small_base import save_small_base
from tests.captions.taggers.small_captioners import MODELS

IMAGES = 3


@pytest.fixture(autouse=True)
def no_model_is_opened(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a model was opened")

    monkeypatch.setattr(bases.Base, "__init__", refuse)
    monkeypatch.setattr(encoders.TransformersEncoder, "__init__", refuse)


@pytest.fixture
def options(tmp_path):
    """An experiment on three images that passes."""
    folder = tmp_path / "data" / "toys" / "bear"
    folder.mkdir(parents=True)
    for number in range(IMAGES):
        shutil.copy(pocket.IMAGES / "stuffed_toys" / "biscuit" / f"{number:02d}.png", folder)
    return {"data": str(tmp_path / "data"), "output": str(tmp_path / "runs"), "algorithms": "lora", "encoders": "clip"}


def test_a_valid_experiment_passes(options):
    validate_experiment(parse_experiment({**options, "training": {"compile": "eager"}, "hold_out": 1}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"compile": "indcutor"}}, r"Adapter `lora.*Did you mean `inductor`"),
        ({"training": {"optimizer": "adamw-8bit"}}, "needs a base on a CUDA device and the package bitsandbytes"),
        ({"training": {"optimizer_options": {"eps": -1.0}}}, "`adamw` rejects its settings"),
        ({"training": {"warmup_steps": 500}}, "`warmup_steps` must be at most the run's 120 steps"),
        ({"algorithms": "loha", "training": {"loraplus_ratio": 4.0}}, "`ratio` needs `lora` or `dylora`"),
        (
            {"preset": "unet-only", "training": {"text_encoder_learning_rate": 1e-4}},
            "`text_encoder_learning_rate` must be None where no layer of a text encoder is adapted",
        ),
        ({"algorithms": [{"algorithm": "boft", "factor": 7}]}, "Adapter `boft factor=7`: .*`factor`"),
        ({"hold_out": IMAGES}, "must leave an image to train on, but got 3 and `bear` has 3"),
        ({"validation": IMAGES}, "must leave an image to train on, but got 3 and `bear` has 3"),
        ({"hold_out": 1, "validation": 2}, "must leave an image to train on, but got 2 and `bear` has 2"),
        ({"algorithms": [{"algorithm": "lora", "images": 4}]}, "must be at most the 3 images that `bear`"),
        ({"encoders": "clpi"}, "Did you mean `clip`"),
        ({"sampling": {"scheduler": "flow-euler"}}, "one for noise prediction"),
        ({"artifact_store": "s4://bucket"}, "s4"),
        ({"captioner": "pocket"}, "`captioner` has no effect without the strategy `sentence`"),
        ({"captions": "sentence", "instruction": "hats"}, "`instruction` must be None for captioner `pocket`"),
    ],
)
def test_what_cannot_work_is_an_error_before_a_model_is_opened(options, changes, words):
    with pytest.raises(InputError, match=words):
        validate_experiment(parse_experiment({**options, **changes}))


def test_a_captioner_without_a_chat_template_is_an_error(options, tmp_path):
    model = MODELS["qwen2_5_vl"](tmp_path / "model")
    sentences = {**options, "captions": "sentence", "captioner": str(model)}
    validate_experiment(parse_experiment(sentences))
    (model / "chat_template.json").unlink()
    with pytest.raises(InputError, match="must hold a chat template"):
        validate_experiment(parse_experiment(sentences))


def test_a_tracker_that_is_not_installed_is_an_error(options, monkeypatch):
    monkeypatch.setitem(TRACKERS, "wandb", "no_such_package")
    with pytest.raises(InputError, match="`no_such_package` is not installed"):
        validate_experiment(parse_experiment({**options, "trackers": "wandb"}))


def test_pure_noise_is_refused_on_a_base_that_predicts_noise(options, tmp_path):
    base = save_small_base(tmp_path / "base")
    training = {"zero_terminal_snr": True, "warmup_steps": 0}
    with pytest.raises(InputError, match="`zero_terminal_snr` needs a base that predicts `v_prediction`"):
        validate_experiment(parse_experiment({**options, "base": str(base), "captions": "none", "training": training}))


def test_two_encoders_of_one_name_are_an_error(options, tmp_path):
    shutil.copytree(pocket.CLIP, tmp_path / "clip")
    with pytest.raises(InputError, match="distinct short names, but they are clip, clip"):
        validate_experiment(parse_experiment({**options, "encoders": ["clip", str(tmp_path / "clip")]}))


def test_a_package_that_is_missing_is_named(options, tmp_path, monkeypatch):
    folder = tmp_path / "wd"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs onnxruntime: pip install"):
        validate_experiment(parse_experiment({**options, "tagger": str(folder)}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quality_predictors": ("clip_iqua",)}, "Did you mean `clip_iqa`"),
        ({"quality_predictors": ("aesthetics=none.pth",)}, "needs the file `none.pth`"),
        ({"concept": "beer"}, "Did you mean `bear`"),
    ],
)
def test_a_scoring_request_is_checked_as_well(options, tmp_path, changes, words):
    request = {"files": (tmp_path / "data",), "experiment": parse_experiment(options)}
    validate_scoring(ScoringConfig(**request))
    with pytest.raises(InputError, match=words):
        validate_scoring(ScoringConfig(**request, **changes))


def test_the_estimate_counts_adapters_steps_and_bytes_without_opening_a_model(options, tmp_path):
    experiment = parse_experiment({**options, "seeds": [0, 1], "captions": "none", "steps": 7})
    first, second = describe_estimate(experiment, tmp_path / "data")
    assert first.startswith("2 adapters, 14 training steps, ")
    assert "not known" in second
    assert "9.81 MB" in second  # two adapters of 613,376 numbers, two copies each


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_small_base(folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos" / "teapot"
    folder.mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (32, 32), (99, number, 9)).save(folder / f"{number}.png")
    return folder


def check(base: Path | str, photos: Path, *options: str) -> None:
    validate_experiment(load_experiment(None, (f"base={base}", f"data={photos.parent}", "encoders=clip", *options)))


def test_photographs_need_captions_or_a_tagger_of_their_own_on_any_base_but_the_pocket(
    base: Path, photos: Path
) -> None:
    with pytest.raises(InputError, match=r"2 of 2 images of `teapot` have no caption.*`tagger`"):
        check(base, photos)
    check("pocket", photos)
    check(base, photos, "captions=none")
    check(base, photos, "tagger=pocket")
    for number in range(2):
        (photos / f"{number}.txt").write_text("teapot, table")
    check(base, photos)
    check(base, photos, "captions=sentence")


def test_options_of_a_tagger_without_a_tagger_are_an_error(base: Path, photos: Path) -> None:
    with pytest.raises(InputError, match=r"`thresholds`.*`tagger`"):
        check(base, photos, "captions=none", "thresholds={general: 0.2}")


def test_a_weight_of_prior_images_needs_prior_images(photos: Path) -> None:
    with pytest.raises(InputError, match=r"`prior_weight` needs prior images.*`teapot`"):
        check("pocket", photos, "training.prior_weight=0.1")
    with pytest.raises(InputError, match="`prior_weight` needs prior images"):
        check("pocket", photos, "algorithms=[{algorithm: lora, training: {prior_weight: 0.5}}]")
    prior = photos.parent / "prior" / "teapot"
    prior.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(prior / "0.png")
    entry = "{category: mugs, trigger: hxv, class_noun: teapot, folders: teapot, prior: prior}"
    (photos.parent / "concepts.yaml").write_text(f"concepts: {{teapot: {entry}}}")
    check("pocket", photos, "training.prior_weight=0.1")


def test_masks_from_files_need_a_mask(photos: Path) -> None:
    with pytest.raises(InputError, match=r"`mask` is `file`.*`teapot`"):
        check("pocket", photos, "training.mask=file")
    Image.new("L", (32, 32), "white").save(photos / "0.mask.png")
    check("pocket", photos, "training.mask=file")


def test_a_prior_caption_with_the_trigger_is_an_error_before_anything_starts(photos: Path) -> None:
    root = photos.parent.parent / "kohya"
    for number, name in enumerate(("img/2_sks cup", "reg/1_cup")):
        (root / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (number, 0, 0)).save(root / name / "0.png")
    check("pocket", root / "img", "captions=none")
    (root / "reg/1_cup/0.txt").write_text("sks cup")
    with pytest.raises(InputError, match="must not have the trigger `sks`"):
        check("pocket", root / "img", "captions=none")


def test_masks_from_transparency_need_an_image_with_some(photos: Path) -> None:
    with pytest.raises(InputError, match=r"`mask` is `alpha`, but no image of `teapot` has a transparent area"):
        check("pocket", photos, "training.mask=alpha")
    opaque = Image.new("RGBA", (32, 32), "red")
    opaque.save(photos / "opaque.png")
    with pytest.raises(InputError, match="`mask` is `alpha`"):
        check("pocket", photos, "training.mask=alpha")
    opaque.putpixel((3, 3), (0, 0, 0, 9))
    opaque.save(photos / "clear.png")
    check("pocket", photos, "training.mask=alpha")


@pytest.mark.parametrize("value", [30, 65])
def test_a_resolution_must_fit_the_base(photos: Path, value: int) -> None:
    with pytest.raises(InputError, match=rf"`resolution` must be a multiple of \d+ for this base, but got {value}"):
        check("pocket", photos, f"resolution={value}")


@pytest.mark.parametrize(("base", "value", "words"), [("pocket", 75, "a multiple of 30"), ("pocket", 60, None)])
def test_a_token_length_must_fit_the_base(photos: Path, base: str, value: int, words: str | None) -> None:
    if words is None:
        check(base, photos, f"max_token_length={value}")
        return
    with pytest.raises(InputError, match=words):
        check(base, photos, f"max_token_length={value}")


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [
        ({"algorithm": "full", "preset": "attn-only"}, "`full` must not be used where `precision` quantises the weig"),
        ({"algorithm": "boft"}, "BOFT needs the weight itself, but layer .* has a quantised one"),
    ],
)
def test_adapters_that_need_the_weights_themselves_are_refused_on_quantised_bases(
    options, algorithm, words, monkeypatch
):
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: object())
    experiment = {**options, "algorithms": [algorithm, "lora"]}
    with pytest.raises(InputError, match=rf"Adapter `{algorithm['algorithm']}.*{words}"):
        validate_adapters(parse_experiment({**experiment, "precision": "nf4"}))
    validate_adapters(
        parse_experiment({**experiment, "algorithms": ["lora", "loha", "lokr", "t-lora"], "precision": "nf4"})
    )
    validate_adapters(parse_experiment({**experiment, "precision": {"denoiser": "bf16", "text_encoders": "fp32"}}))


def test_a_precision_without_its_package_is_one_sentence(options, monkeypatch):
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: None)
    experiment = parse_experiment({**options, "precision": {"denoiser": "int8"}})
    with pytest.raises(
        InputError, match="`precision` is `int8`, which needs the package torchao: `pip install torchao`"
    ):
        validate_experiment(experiment)
