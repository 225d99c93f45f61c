"""Published protocols, read from a local copy of their data: the prompts of a concept, and how images are scored.

A protocol's file names the concept by a placeholder or by its class; here it is ``{concept}``, as in a prompt file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lycoris.errors import InputError, unknown_name_error

CONCEPT = "{concept}"
_TOKENS = ("{0} {1}", "{0}", "{}")
_LIVE_CLASSES = frozenset({"cat", "dog"})
"""Classes of DreamBench whose subjects live, so that they get the prompts for these."""


@dataclass(frozen=True)
class ProtocolConcept:
    """A concept of a protocol.

    Attributes:
        class_noun: what kind of thing it is.
        prompts: prompt type -> prompts with ``{concept}``.
    """

    class_noun: str
    prompts: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Protocol:
    """A published way to score customized models.

    Attributes:
        title: its name in the literature.
        source: where it was published.
        layout: what the folder must hold.
        read: folder -> name of a concept -> the concept.
        images_per_prompt: how many images are generated for each prompt.
        metrics: the metrics that it reports and that we have; the encoders are the user's choice.
        encoders: the encoders that it was published with.
    """

    title: str
    source: str
    layout: str
    read: Callable[[Path], dict[str, ProtocolConcept]]
    images_per_prompt: int
    metrics: tuple[str, ...]
    encoders: tuple[str, ...]


def read_protocol(name: str, folder: Path) -> dict[str, ProtocolConcept]:
    """Read the concepts of a protocol.

    Args:
        name: a key of `PROTOCOLS`.
        folder: the local copy of its data.

    Raises:
        InputError: the protocol is unknown, or the folder does not have its layout.
    """
    if name not in PROTOCOLS:
        raise unknown_name_error("protocol", name, PROTOCOLS)
    protocol = PROTOCOLS[name]
    try:
        concepts = protocol.read(folder)
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The data of protocol `{name}` in `{folder}` must have {protocol.layout}: {error}") from error
    if not concepts:
        raise InputError(f"The data of protocol `{name}` in `{folder}` must have {protocol.layout}, but names none.")
    return concepts


def protocol_prompts(name: str, folder: Path, concept: str) -> Mapping[str, tuple[str, ...]]:
    """The prompts of one concept, by prompt type.

    Raises:
        InputError: as for `read_protocol`, or the protocol has no such concept.
    """
    concepts = read_protocol(name, folder)
    if concept not in concepts:
        raise unknown_name_error(f"concept of protocol `{name}`", concept, concepts)
    return concepts[concept].prompts


def _read_dreambench(folder: Path) -> dict[str, ProtocolConcept]:
    text = (folder / "prompts_and_classes.txt").read_text(encoding="utf-8")
    classes, objects, live = re.split(r"(?:Object|Live Subject) Prompts", text)
    prompts = {
        is_live: tuple(_with_concept(each) for each in re.findall(r"^\s*'(.+?)'\.format", part, re.MULTILINE))
        for is_live, part in ((False, objects), (True, live))
    }
    pairs = re.findall(r"^([\w-]+),([\w -]+)$", classes, re.MULTILINE)
    return {
        name: ProtocolConcept(noun.strip(), {"alter": prompts[noun.strip() in _LIVE_CLASSES]})
        for name, noun in pairs
        if name != "subject_name"
    }


def _read_dreambench_plus(folder: Path) -> dict[str, ProtocolConcept]:
    concepts = {}
    for file in sorted((folder / "captions").glob("*/*.txt")):
        noun, *captions = (line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
        kind = file.parent.name
        category = f"live_subject_{kind}" if kind in ("animal", "human") else kind
        name = f"{category}_{file.stem}_{noun.lower().replace(' ', '_')}"
        pattern = re.compile(rf"\b{re.escape(noun)}\b", re.IGNORECASE)
        prompts = tuple(pattern.sub(CONCEPT, caption, count=1) for caption in captions)
        missing = [caption for caption in prompts if CONCEPT not in caption]
        if missing and kind != "style":
            raise ValueError(f"caption `{missing[0]}` of `{file}` does not name `{noun}`")
        styled = tuple(each if CONCEPT in each else f"{each}, {CONCEPT}" for each in prompts)
        concepts[name] = ProtocolConcept(noun, {"alter": styled})
    return concepts


def _read_customconcept101(folder: Path) -> dict[str, ProtocolConcept]:
    concepts = {}
    for entry in json.loads((folder / "dataset.json").read_text(encoding="utf-8")):
        lines = (folder / entry["prompt_filename"]).read_text(encoding="utf-8").splitlines()
        prompts = tuple(_with_concept(line.strip().rstrip(".")) for line in lines if line.strip())
        name = Path(entry["instance_data_dir"]).name
        concepts[name] = ProtocolConcept(entry["class_prompt"], {"alter": prompts})
    return concepts


def _read_peft(folder: Path) -> dict[str, ProtocolConcept]:
    settings: dict[str, Any] = json.loads((folder / "default_training_params.json").read_text(encoding="utf-8"))
    trigger = re.search(r"\b(sks \w+)", " ".join(settings["sample_image_prompts"]))
    if trigger is None:
        raise ValueError("no prompt of `sample_image_prompts` names `sks` and a class")
    noun = trigger[1].split()[1]
    kinds = {"instance_prompts": "train", "sample_image_prompts": "alter", "drift_image_prompts": "neighbour"}
    prompts = {
        kind: tuple(each.replace(trigger[1], CONCEPT) for each in settings[field]) for field, kind in kinds.items()
    }
    return {noun: ProtocolConcept(noun, prompts)}


def _with_concept(text: str) -> str:
    """Replace the placeholder of a published prompt."""
    for token in _TOKENS:
        if token in text:
            return text.replace(token, CONCEPT)
    raise ValueError(f"prompt `{text}` has no place for the concept")


PROTOCOLS: Mapping[str, Protocol] = {
    "dreambench": Protocol(
        "DreamBench", "arXiv 2208.12242", "`prompts_and_classes.txt`", _read_dreambench, 4,
        ("image_similarity", "text_similarity", "lpips"), ("openai/clip-vit-base-patch32", "facebook/dino-vits16"),
    ),
    "dreambench_plus": Protocol(
        "DreamBench++", "arXiv 2406.16855", "`captions/<category>/<number>.txt`", _read_dreambench_plus, 4,
        ("image_similarity", "text_similarity", "rubric_concept", "rubric_prompt"),
        ("openai/clip-vit-base-patch32", "facebook/dinov2-base"),
    ),
    "customconcept101": Protocol(
        "CustomConcept101", "arXiv 2212.04488", "`dataset.json` and `prompts/`", _read_customconcept101, 10,
        ("image_similarity", "text_similarity"), ("openai/clip-vit-base-patch32", "facebook/dino-vits16"),
    ),
    "peft": Protocol(
        "PEFT's comparison of methods for image generation", "github.com/huggingface/peft, method_comparison/image-gen",
        "`default_training_params.json`", _read_peft, 1, ("image_similarity", "feature_drift"),
        ("facebook/dinov2-base",),
    ),
}  # fmt: skip
"""Name -> protocol. A new one is a function and one line here."""
