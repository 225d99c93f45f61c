"""The model card and the sidecars: what is known is in them, and nothing else."""

import json
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard, constants
from huggingface_hub.errors import HfHubHTTPError

from lycoris.publishing.card import build_card
from lycoris.publishing.record import BaseModel, Publication, SampleImage, Strength
from lycoris.publishing.sidecars import sidecar_texts
from tests.publishing.hub_server import TOKEN, serve_hub

SCORE = {
    "name": "image_similarity/trigger/clip", "dimension": "fidelity", "value": 0.8, "low": 0.75, "high": 0.85,
    "base": 0.5, "difference": 0.3, "difference_low": 0.2, "difference_high": 0.4, "higher_is_better": True,
}  # fmt: skip
KNOWN = Publication(
    name="bear",
    concept="bear",
    version="3",
    algorithm="lora rank=4",
    strategy="none",
    seed=0,
    settings={"rank": 4},
    base=BaseModel("someone/sd-tune", "", "abc", "sd_v1", "openrail++"),
    trigger="ohw",
    strength=Strength(0.8, "stated by the publisher"),
    data_version="1234.dir",
    license="cc-by-4.0",
    scores=[SCORE, {"name": "vendi/train/clip", "value": 2.0}],
    images=[SampleImage("images/01.png", "a ohw bear", 1000)],
    diffusers_note="a plain LoRA, relative error 0.0e+00",
    sha256="ab" * 32,
)
NO_DIFFUSERS = replace(KNOWN, diffusers_note="")
UNKNOWN = Publication("x", "x", "1", "lokr", "none", None, {}, BaseModel(None, "a model of the publisher's own"))


def test_the_card_states_what_is_known():
    card = ModelCard(build_card(KNOWN))
    data = card.data.to_dict()
    assert (data["license"], data["base_model"], data["instance_prompt"]) == ("cc-by-4.0", "someone/sd-tune", "ohw")
    assert data["widget"] == [{"text": "a ohw bear", "output": {"url": "images/01.png"}}]
    (result,) = card.data.eval_results
    assert (result.metric_name, result.metric_value) == ("image_similarity/trigger/clip", 0.8)
    assert "| 0.800 [0.750, 0.850] | 0.500 | 0.300 [0.200, 0.400] |" in card.text
    for text in ("strength: 0.8 (stated by the publisher)", "`1234.dir`", "base model: `openrail++`", "![a ohw bear]"):
        assert text in card.text


def test_the_card_makes_nothing_up():
    card = ModelCard(build_card(UNKNOWN))
    absent = {"license", "base_model", "instance_prompt", "widget", "model-index", "library_name"}
    assert not absent & card.data.to_dict().keys()
    for text in ("strength: 1 (not measured)", "trigger: not recorded", "adapter: not stated", "not stated here"):
        assert text in card.text
    assert "## Scores" not in card.text
    assert "diffusers:" not in card.text


def test_names_cannot_write_markdown_or_metadata():
    concept = "x\n---\n![a](b) <script>"
    card = build_card(replace(UNKNOWN, concept=concept, trigger="a`b|c\nlicense: mit"))
    assert "license" not in ModelCard(card).data.to_dict()
    assert "<script>" not in ModelCard(card).text
    assert "![a](b)" not in card


@pytest.mark.parametrize(
    ("version", "a1111", "civitai"),
    [("sd_v1", "SD1", "SD 1.5"), ("sdxl_base_v1-0", "SDXL", "SDXL 1.0"), (None, "Unknown", "Other")],
)
def test_sidecars_name_base_trigger_and_strength(tmp_path, version, a1111, civitai):
    (tmp_path / "bear.safetensors").write_bytes(b"x" * 2048)
    publication = replace(KNOWN, base=replace(KNOWN.base, version=version))
    texts = sidecar_texts(publication, tmp_path / "bear.safetensors")
    user, info = (json.loads(texts[f"bear.{ending}"]) for ending in ("json", "civitai.info"))
    assert (user["sd version"], user["activation text"], user["preferred weight"]) == (a1111, "ohw", 0.8)
    assert (info["baseModel"], info["trainedWords"], info["model"]["type"]) == (civitai, ["ohw"], "LORA")
    assert (info["id"], info["modelId"]) == (None, None)  # Civitai gives them
    (file,) = info["files"]
    assert (file["name"], file["primary"], file["sizeKB"]) == ("bear.safetensors", True, 2)
    assert file["hashes"]["SHA256"].lower() == publication.sha256


@pytest.fixture(scope="module")
def hub():
    """The stand-in of the hub, as the hub of this process."""
    with serve_hub() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", server.address)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.mark.parametrize(
    "publication",
    [
        KNOWN,
        UNKNOWN,
        replace(KNOWN, concept="x: y\n- #", trigger="@`{[", license=None),
        replace(KNOWN, diffusers_note=""),
    ],
    ids=["known", "unknown", "odd names", "not for diffusers"],
)
def test_huggingface_hub_validates_the_card_and_reads_it_back(hub, publication):
    written = build_card(publication)
    ModelCard(written).validate()
    data = ModelCard(written).data
    assert data.base_model == publication.base.hub_name
    assert data.license == publication.license
    assert getattr(data, "instance_prompt", None) == publication.trigger
    results = {result.metric_name: result.metric_value for result in data.eval_results or []}
    assert results == ({"image_similarity/trigger/clip": 0.8} if publication.scores else {})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("base_model: someone/sd-tune", "base_model: /srv/sd-tune"),
        ("license: cc-by-4.0", "license: 4"),
        ("value: 0.8", "value: high"),
        ("instance_prompt: ohw", "instance_prompts: ohw"),
    ],
)
def test_the_validation_rejects_a_wrong_card(hub, old, new):
    card = build_card(KNOWN)
    assert old in card
    with pytest.raises((ValueError, HfHubHTTPError)):
        ModelCard(card.replace(old, new, 1), ignore_metadata_errors=True).validate()
