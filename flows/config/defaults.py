"""Default hyperparameters, by base model and algorithm.

Those of the pocket base were found by experiment (docs/pocket.md). Those of SD 1.x and 2.x are the defaults of arXiv
2309.14859, table of hyperparameters; other families have a public recipe, `lycoris.bases.families.family.Recipe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.analysis.text.formatting import counted, join_names
from lycoris.data.folders import absolute_path
from lycoris.errors import InputError
from lycoris.pocket import EMBEDDED_BASES
from lycoris.safety.file_names import check_folder_name
from tasks.trainings import AdapterSettings

if TYPE_CHECKING:
    from lycoris.bases.families.family import Family, Recipe

_POCKET_NETWORKS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 8, "alpha": 8.0, "learning_rate": 5e-3},
    "loha": {"rank": 4, "alpha": 4.0, "learning_rate": 5e-3},
    "lokr": {"factor": 8, "learning_rate": 7e-3},
    "full": {"learning_rate": 1e-3},
}
_NETWORK_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "pocket": _POCKET_NETWORKS,
    "pocket-flow": _POCKET_NETWORKS,  # not compared with others on this base
    "paper": {
        "lora": {"rank": 8, "alpha": 4.0, "learning_rate": 5e-4},
        "loha": {"rank": 4, "alpha": 2.0, "learning_rate": 5e-4},
        "lokr": {"factor": 8, "learning_rate": 5e-4},
        "full": {"learning_rate": 1e-6},
    },
}
_PEFT_ON_POCKET: dict[str, dict[str, Any]] = {
    "peft:c3a": {"options": {"block_size": 8}, "learning_rate": 5e-3},
    "peft:fourierft": {"options": {"n_frequency": 100}, "learning_rate": 5e-3},
    "peft:gralora": {"options": {"r": 8}, "learning_rate": 5e-3},
    "peft:miss": {"options": {"r": 8}, "learning_rate": 5e-3},
    "peft:psoft": {"options": {"r": 8}, "learning_rate": 5e-3},
    "peft:road": {"options": {"group_size": 8}, "learning_rate": 5e-3},
    "peft:shira": {"options": {"r": 4}, "learning_rate": 5e-3},
    "peft:vblora": {"options": {"vector_length": 8}, "learning_rate": 5e-3},
    "peft:waveft": {"options": {"n_frequency": 100}, "learning_rate": 5e-3},
}
_OTHER_ALGORITHMS: dict[str, Any] = {"learning_rate": 5e-4}
_POCKET_TRAINING: dict[str, Any] = {
    "steps": 120,
    "batch_size": 6,
    "schedule": "cosine",
    "warmup_steps": 10,
    "caption_dropout": 0.05,
}
_TRAINING_DEFAULTS: dict[str, dict[str, Any]] = {
    "pocket": {**_POCKET_TRAINING, "min_snr": 5.0},
    "pocket-flow": _POCKET_TRAINING,
    "paper": {"epochs": 50, "batch_size": 8, "warmup_steps": 100, "caption_dropout": 0.05},
}
_ACCUMULATION = "gradient_accumulation_steps"
_DEFAULT_PRESET = {"pocket": "full", "pocket-flow": "full", "paper": "attn-mlp"}
_SAMPLING_DEFAULTS: dict[str, dict[str, Any]] = {
    "pocket": {"scheduler": "dpm++-2m", "steps": 14, "guidance": 7.0},
    "pocket-flow": {"scheduler": "flow-euler", "steps": 14, "guidance": 5.0},
    "paper": {"scheduler": None, "steps": 25, "guidance": None},
}
EXECUTION_FIELDS = frozenset(
    ["data", "data_rev", "output", "workers", "co_train", "runner", "gpus", "artifact_store", "gpu_limit", "trackers",
     "fit", "offload"]
)  # fmt: skip
"""Options that say where and how work is done; results do not depend on them."""
RESERVED_NAMES = ("store", "mlflow", "prefect", "data")
"""Folders of the output folder that hold no results (docs/runs.md)."""
MAX_NAME_LENGTH = 80
_CO_TRAIN = {"pocket": 4, "pocket-flow": 4, "paper": 1}


def default_settings(base: str, algorithm: str, components: str | None = None) -> AdapterSettings:
    """Return the default settings of an algorithm on a base model; None for those that it does not use.

    Args:
        base: the base model.
        algorithm: of the adapter.
        components: the other parts of a base whose transformer is one file.
    """
    name = _defaults_name(base)
    network = dict(_NETWORK_DEFAULTS[name].get(algorithm, _OTHER_ALGORITHMS))
    network = dict(_PEFT_ON_POCKET.get(algorithm, network)) if name == "pocket" else network
    training = {**_TRAINING_DEFAULTS[name], "learning_rate": network.pop("learning_rate")}
    family = _family_with_recipe(base, components)
    if family is not None:
        assert family.recipe is not None
        network, training = _apply_recipe(family.recipe, algorithm, network, training)
    return AdapterSettings(algorithm, _DEFAULT_PRESET[name], training=training, **network)


def _apply_recipe(
    recipe: Recipe, algorithm: str, network: dict[str, Any], training: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Put a recipe in place of the paper's defaults; native fine-tuning keeps its own learning rate."""
    if algorithm == "lora":
        network = {**network, "rank": recipe.rank, "alpha": float(recipe.alpha or recipe.rank)}
    training = {
        "steps": recipe.steps,
        "batch_size": 1,
        _ACCUMULATION: recipe.accumulation,
        "warmup_steps": 0,
        "caption_dropout": training["caption_dropout"],
        "learning_rate": training["learning_rate"] if algorithm == "full" else recipe.learning_rate,
        **recipe.times,
    }
    return network, {name: value for name, value in training.items() if (name, value) != (_ACCUMULATION, 1)}


def recipe_note(base: str, components: str | None = None) -> str | None:
    """Return what the family of a base has as defaults and where they are from; None where it has none."""
    family = _family_with_recipe(base, components)
    if family is None:
        return None
    recipe = family.recipe
    assert recipe is not None
    times = [f"{name} {_describe_value(value)}" for name, value in recipe.times.items()]
    settings = [
        f"learning rate {recipe.learning_rate:g}",
        f"LoRA rank {recipe.rank}, alpha {recipe.alpha or recipe.rank:g}",
        f"{recipe.steps} steps of {counted(recipe.accumulation, 'image')}",
        *times,
    ]
    return f"defaults of the family {family.name}: {', '.join(settings)} ({recipe.source}); docs/bases.md, Recipes"


def _describe_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one:g}" for name, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _family_with_recipe(base: str, components: str | None) -> Family | None:
    if base in EMBEDDED_BASES:
        return None
    from lycoris.bases.family_matching import find_family

    family = find_family(base, components)
    return None if family is None or family.recipe is None else family


def default_sampling(base: str) -> dict[str, Any]:
    """Return the default scheduler, steps and guidance of a base model; None is that of its family."""
    return dict(_SAMPLING_DEFAULTS[_defaults_name(base)])


def default_co_train(base: str) -> int:
    """Return how many adapters one process trains together: several where one batch does not occupy the machine."""
    return _CO_TRAIN[_defaults_name(base)]


def default_annotator(base: str) -> str | None:
    """Return the default tagger and captioner of a base model; None where they are to be chosen.

    The embedded ones know the drawn world only: of photographs they give its words, not what is there.
    """
    return "pocket" if base in EMBEDDED_BASES else None


def embedded_encoders_note(base: str, encoders: Sequence[str], style_encoder: str) -> str | None:
    """Return what to set where images of a real base are scored by embedded encoders; None where they are not."""
    from lycoris.encoders.model_sources import EMBEDDED_ENCODERS

    own = [name for name in (*encoders, style_encoder) if name in EMBEDDED_ENCODERS]
    if base in EMBEDDED_BASES or not own:
        return None
    settings = []
    if any(name in EMBEDDED_ENCODERS for name in encoders):
        settings.append("`--set encoders=openai/clip-vit-large-patch14,facebook/dinov2-large`")
    if style_encoder in EMBEDDED_ENCODERS:
        settings.append("`--set style_encoder=FILE` for style losses, torchvision's vgg19-dcbf8b6a.pth")
    return (
        f"the embedded encoders ({join_names(own)}) know the drawn world only, so their scores say little of "
        f"photographs: {', '.join(settings)} (docs/metrics.md)"
    )


def default_name(data: Path) -> str:
    """Return the name of an experiment on a data folder: that of the folder, or of one around it if it cannot be."""
    for folder in (absolute_path(data), *absolute_path(data).parents):
        name = folder.name[:MAX_NAME_LENGTH]
        try:
            check_folder_name("name", name)
        except InputError:
            continue
        if name not in RESERVED_NAMES:
            return name
    return "images"


def _defaults_name(base: str) -> str:
    return base if base in _TRAINING_DEFAULTS else "paper"
