"""Protocols from local copies of their data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lycoris.data.protocols import CONCEPT, PROTOCOLS, protocol_prompts, read_protocol
from lycoris.errors import InputError

DREAMBENCH = Path(__file__).parents[3] / "shared" / "data" / "dreambooth"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def dreambench(folder: Path) -> None:
    lines = ["Classes", "", "subject_name,class", "toy_car,toy", "rex,dog", "", "Prompts", "", "Object Prompts", ""]
    lines += ["prompt_list = [", "'a {0} {1} in the jungle'.format(unique_token, class_token),", "]", ""]
    lines += [
        "Live Subject Prompts",
        "",
        "prompt_list = [",
        "'a {0} {1} in a hat'.format(unique_token, class_token)",
        "]",
    ]
    write(folder / "prompts_and_classes.txt", "\n".join(lines))


def dreambench_plus(folder: Path) -> None:
    write(folder / "captions" / "animal" / "00.txt", "Dog\na dog on a beach\nA photo of the Dog, a second dog\n")
    write(folder / "captions" / "style" / "01.txt", "ink\na ship\n")


def customconcept101(folder: Path) -> None:
    entry = {"instance_prompt": "photo of a <new1> barn", "class_prompt": "barn", "prompt_filename": "prompts/barn.txt",
             "instance_data_dir": "./benchmark_dataset/scene_barn"}  # fmt: skip
    write(folder / "dataset.json", json.dumps([entry]))
    write(folder / "prompts" / "barn.txt", "photo of a {}.\n{} in snowy ice.\n")


def peft(folder: Path) -> None:
    settings = {"instance_prompts": ["sks cat sits"], "sample_image_prompts": ["a photo of sks cat"],
                "drift_image_prompts": ["a photo of cat", "an astronaut"]}  # fmt: skip
    write(folder / "default_training_params.json", json.dumps(settings))


EXPECTED = {
    "dreambench": (dreambench, {"toy_car": {"alter": ("a {concept} in the jungle",)},
                                "rex": {"alter": ("a {concept} in a hat",)}}),
    "dreambench_plus": (dreambench_plus, {
        "live_subject_animal_00_dog": {"alter": ("a {concept} on a beach", "A photo of the {concept}, a second dog")},
        "style_01_ink": {"alter": ("a ship, {concept}",)}}),
    "customconcept101": (customconcept101, {
        "scene_barn": {"alter": ("photo of a {concept}", "{concept} in snowy ice")}}),
    "peft": (peft, {"cat": {"train": ("{concept} sits",), "alter": ("a photo of {concept}",),
                            "neighbour": ("a photo of cat", "an astronaut")}}),
}  # fmt: skip


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_layout_of_a_protocol_is_read(name: str, tmp_path: Path) -> None:
    write_data, expected = EXPECTED[name]
    write_data(tmp_path)
    concepts = read_protocol(name, tmp_path)
    assert {each: concept.prompts for each, concept in concepts.items()} == expected
    assert protocol_prompts(name, tmp_path, next(iter(expected))) == next(iter(expected.values()))
    with pytest.raises(InputError, match="concept of protocol"):
        protocol_prompts(name, tmp_path, "beer")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_another_folder_is_an_error_that_names_the_layout(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must have"):
        read_protocol(name, tmp_path)
    with pytest.raises(InputError, match="Did you mean `dreambench`"):
        read_protocol("dreambensh", tmp_path)


@pytest.mark.skipif(not DREAMBENCH.is_dir(), reason="no copy of DreamBench")
def test_the_published_data_of_dreambench_is_read() -> None:
    concepts = read_protocol("dreambench", DREAMBENCH)
    assert len(concepts) == 30
    assert concepts["bear_plushie"].class_noun == "stuffed animal"
    assert {len(concept.prompts["alter"]) for concept in concepts.values()} == {25}
    assert f"a {CONCEPT} in a chef outfit" in concepts["dog"].prompts["alter"]
    assert f"a {CONCEPT} floating on top of water" in concepts["teapot"].prompts["alter"]
