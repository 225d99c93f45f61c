"""A registered adapter is published: both files are the same adapter, and the folder says what is known of it."""

import json
from dataclasses import replace

import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

import lycoris
from flows.cli.main import main
from lycoris.analysis.decisions.strength import StrengthChoice, StrengthScore
from lycoris.cache.integrity import file_digest
from lycoris.publishing.record import DIFFUSERS_FILE, Strength
from lycoris.safety.machine_paths import find_machine_path
from tasks.publish import _strength
from tasks.tracking.adapter_runs import log_adapter
from tasks.tracking.client import tracking_server
from tasks.tracking.promotion import promote_to_champion
from tasks.tracking.registry import get_version, set_strength
from tests.tasks.tracking.small_study import adapter_run, open_small_study

POINTS = tuple(
    StrengthScore(strength, score, {"fidelity": score}) for strength, score in ((0.0, 0.1), (0.8, 0.6), (1.0, 0.5))
)


@pytest.fixture(scope="module")
def pocket():
    return lycoris.open_base("pocket", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, pocket):
    """A registry whose champion is a LoKr of the pocket, with an update that is not zero."""
    root = tmp_path_factory.mktemp("publish")
    network = lycoris.attach(pocket.parts, algorithm="lokr", preset="attn-mlp", factor=4, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    network.save(root / "bear.safetensors", metadata={"where": str(root)})
    network.detach()
    lineage = {"base.digest": "abc", "commit": "c0ffee", "trigger": "ohw", "prompts": json.dumps(["a ohw bear"])}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.setenv(name, "")
            patch.delenv(name)
        study = open_small_study(root)
        run = adapter_run(root, 1, "bear", root / "bear.safetensors", lineage=lineage)
        version = log_adapter(study, run).version
        promote_to_champion(tracking_server(root), "bear", version, "the best")
        set_strength(tracking_server(root), "bear", version, StrengthChoice(0.8, 0.6, 1.0, 16, POINTS))
    return root


@pytest.fixture(scope="module")
def published(runs, tmp_path_factory):
    """What the command wrote."""
    folder = tmp_path_factory.mktemp("published") / "bear"
    arguments = ("--images", "1", "--steps", "2", "--base-license", "mit")
    assert main(["publish", "bear", "--to", str(folder), "--output", str(runs), *arguments]) == 0
    return folder


def deltas(file, base):
    """Layer -> the update that a file makes to it."""
    before = {name: weight.clone() for part in base.parts.values() for name, weight in part.named_parameters()}
    network = lycoris.load(file, base.parts)
    network.merge()
    network_deltas = {
        name.replace(".base_layer", ""): weight - before[name]
        for part in base.parts.values()
        for name, weight in part.named_parameters()
        if name in before
    }
    network.unmerge()
    network.detach()
    return {name: delta for name, delta in network_deltas.items() if delta.any()}


def test_both_files_are_the_registered_adapter(published, runs, pocket):
    expected = deltas(runs / "bear.safetensors", pocket)
    assert expected
    for name, tolerance in (("bear.safetensors", 0), (DIFFUSERS_FILE, 1e-5)):
        found = deltas(published / name, pocket)
        assert found.keys() == expected.keys()
        for layer, delta in expected.items():
            torch.testing.assert_close(found[layer], delta, atol=tolerance, rtol=0)


def test_the_folder_has_card_sidecars_and_images(published):
    card = ModelCard.load(published / "README.md")
    assert card.data.to_dict()["instance_prompt"] == "ohw"
    assert "license" not in card.data.to_dict()
    assert "`mit`" in card.text
    measured = "0.8 (measured: best in fidelity of 0.8 and 1, 16 images each; 95 % interval 0.6 to 1;"
    assert f"recommended strength: {measured}" in card.text
    assert f"`{1:032x}.dir`" in card.text
    user = json.loads((published / "bear.json").read_text())
    assert (user["activation text"], user["preferred weight"], user["sd version"]) == ("ohw", 0.8, "Unknown")
    (file,) = json.loads((published / "bear.civitai.info").read_text())["files"]
    assert file["hashes"]["SHA256"].lower() == file_digest(published / "bear.safetensors")
    assert lycoris.read_metadata(published / "bear.safetensors")["modelspec.trigger_phrase"] == "ohw"
    with Image.open(published / "bear.preview.png") as preview, Image.open(published / "images" / "01.png") as image:
        assert preview.tobytes() == image.tobytes()
        assert image.size == (64, 64)


def test_images_are_of_the_recommended_strength(published, pocket):
    network = lycoris.load(published / "bear.safetensors", pocket.parts)
    network.scale = 0.8
    (expected,) = lycoris.generate(pocket, ["a ohw bear"], [1000], lycoris.GenerationSettings(steps=2))
    network.detach()
    with Image.open(published / "images" / "01.png") as image:
        assert image.tobytes() == expected.tobytes()


def test_a_strength_that_the_publisher_states_comes_before_the_measured_one(runs):
    version = get_version(tracking_server(runs), "bear")
    assert _strength(version, 0.7) == Strength(0.7, "stated by the publisher")
    assert _strength(version, None).value == 0.8
    assert _strength(replace(version, strength={}), None) == Strength(1, "not measured")


def test_nothing_names_a_path_of_this_machine(published, runs):
    assert str(runs) not in json.dumps(lycoris.read_metadata(published / "bear.safetensors"))
    for file in published.rglob("*"):
        if file.suffix in (".md", ".json", ".info"):
            assert find_machine_path(file.read_text()) is None


def test_publishing_again_changes_nothing_and_other_folders_are_refused(published, runs, tmp_path, capsys):
    before = {file.relative_to(published): file_digest(file) for file in published.rglob("*") if file.is_file()}
    arguments = ("--images", "1", "--steps", "2", "--base-license", "mit", "--output", str(runs))
    assert main(["publish", "bear@1", "--to", str(published), *arguments]) == 0
    assert {file.relative_to(published): file_digest(file) for file in published.rglob("*") if file.is_file()} == before
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["publish", "bear", "--to", str(tmp_path), *arguments]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--strength", "3"), ("--images", "-1"), ("--steps", "0"), ("--base-model", "/srv/x"), ("--to", "hub:bear")],
)
def test_wrong_options_are_named(runs, tmp_path, capsys, option, value):
    arguments = {"--to": str(tmp_path / "x"), "--output": str(runs), option: value}
    assert main(["publish", "bear", *(word for pair in arguments.items() for word in pair)]) == 2
    assert option in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
