"""The table of PEFT's methods: the layers that each adapts here, or why it does not."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lycoris.adapters.files.peft.config import SAFE_INITIALIZATIONS
from lycoris.errors import InputError, unknown_name_error

PREFIX = "peft:"
"""Beginning of the name of an algorithm that is a method of PEFT."""
LayerKind = Literal["linear", "convolution", "norm"]


@dataclass(frozen=True)
class PeftMethod:
    """A method of PEFT.

    Attributes:
        layers: the layers that it adapts here; none where it does not work, for the reason in `note`.
        note: what a user should know.
        size_option: the field of its configuration that sets how many numbers it trains; None without such a field.
        size_values: values to try for an equal number of parameters; empty where any whole number will do.
        options: values of its configuration that differ from PEFT's defaults here.
    """

    layers: tuple[LayerKind, ...] = ("linear",)
    note: str = ""
    size_option: str | None = "r"
    size_values: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


_BOTH: tuple[LayerKind, ...] = ("linear", "convolution")
_BLOCK_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)
_PROMPTS = "it trains tokens of a language model's prompt"

METHODS: Mapping[str, PeftMethod] = {
    "adalora": PeftMethod((), "it needs a call after every step, which moves ranks between layers"),
    "adamss": PeftMethod(),
    "adaption_prompt": PeftMethod((), "it is for the attention of language models"),
    "beft": PeftMethod(note="trains biases alone", size_option=None),
    "boft": PeftMethod(
        _BOTH,
        size_option="boft_block_size",
        size_values=_BLOCK_SIZES,
    ),
    "c3a": PeftMethod(
        note="`block_size` must divide the inputs and outputs of every layer",
        size_option="block_size",
        size_values=_BLOCK_SIZES,
        options={"init_weights": True},
    ),
    "cartridge": PeftMethod((), _PROMPTS),
    "cpt": PeftMethod((), _PROMPTS),
    "deft": PeftMethod(),
    "delora": PeftMethod(),
    "fourierft": PeftMethod(
        note="`n_frequency` at most inputs times outputs",
        size_option="n_frequency",
        options={"init_weights": True},
    ),
    "frod": PeftMethod(note="layers of one name must have one size, which those of a UNet have not", size_option=None),
    "glora": PeftMethod(),
    "gralora": PeftMethod(note="`gralora_k` must divide the inputs and outputs of every layer, and `r`"),
    "hira": PeftMethod(_BOTH),
    "hra": PeftMethod(_BOTH),
    "ia3": PeftMethod(_BOTH, size_option=None, options={"feedforward_modules": []}),
    "lily": PeftMethod(),
    "ln_tuning": PeftMethod(("norm",), "trains the norm layers that the preset selects", size_option=None),
    "loha": PeftMethod(_BOTH),
    "lokr": PeftMethod(_BOTH),
    "lora": PeftMethod(_BOTH),
    "miss": PeftMethod(note="`r` at most the inputs of a layer"),
    "multitask_prompt_tuning": PeftMethod((), _PROMPTS),
    "oft": PeftMethod(
        note="without convolutions, which do not begin as the base (kernels over 1)",
        size_option="oft_block_size",
        size_values=_BLOCK_SIZES,
    ),
    "osf": PeftMethod(size_option="effective_rank"),
    "p_tuning": PeftMethod((), _PROMPTS),
    "peanut": PeftMethod(),
    "poly": PeftMethod((), "it needs a task's number with every batch"),
    "prefix_tuning": PeftMethod((), _PROMPTS),
    "prompt_tuning": PeftMethod((), _PROMPTS),
    "psoft": PeftMethod(note="`r` at most the inputs and outputs of a layer"),
    "pvera": PeftMethod(size_option="r"),
    "randlora": PeftMethod(options={"save_projection": False}),
    "road": PeftMethod(note="`group_size` must divide the outputs of every layer", size_option=None),
    "shadow": PeftMethod((), "it is a second language model beside the first"),
    "shira": PeftMethod(note="`r` so that a layer has more numbers than a LoRA of this rank"),
    "supertuning": PeftMethod(size_option=None),
    "tinylora": PeftMethod(size_option="u"),
    "trainable_tokens": PeftMethod((), "it trains rows of embeddings"),
    "unilora": PeftMethod(note="does not begin as the base, by `init_theta_d_bound`", size_option="theta_d_length"),
    "vblora": PeftMethod(
        note="`vector_length` must divide the inputs and outputs of every layer; does not begin as the base, by "
        "`init_vector_bank_bound`",
        size_option="num_vectors",
    ),
    "vera": PeftMethod(),
    "waveft": PeftMethod(note="`n_frequency` at most inputs times outputs", size_option="n_frequency"),
    "xlora": PeftMethod((), "it mixes LoRAs that are trained already"),
}
"""Name, PEFT's `peft_type` in lower case → method. `tests/adapters/peft_methods` tries each."""

FIXED_FIELDS = {
    **dict.fromkeys(("target_modules", "exclude_modules", "target_parameters"), "the preset selects the layers"),
    **dict.fromkeys(("layers_to_transform", "layers_pattern"), "the preset selects the layers"),
    **dict.fromkeys(("modules_to_save", "trainable_token_indices"), "only the selected layers are trained"),
    "layer_replication": "it adds layers to a language model",
    "bias": "it trains the base's own biases",
    **dict.fromkeys(("peft_type", "task_type", "inference_mode"), "the training sets it"),
    **dict.fromkeys(("auto_mapping", "peft_version", "base_model_name_or_path", "revision"), "PEFT writes it"),
    **dict.fromkeys(("megatron_config", "megatron_core"), "it is for Megatron"),
}
"""Field of a configuration → why it is no option here."""


def method_name(algorithm: str) -> str | None:
    """Return the method of an algorithm's name ``"peft:oft"``; None for the algorithms of this library.

    Raises:
        InputError: PEFT has no such method, or it does not work on the layers of a text-to-image model.
    """
    if not algorithm.startswith(PREFIX):
        return None
    name = algorithm.removeprefix(PREFIX)
    method = METHODS.get(name)
    if method is None:
        raise unknown_name_error("method of PEFT", name, working_methods())
    if not method.layers:
        raise InputError(f"Algorithm `{algorithm}` does not work on layers of a text-to-image model: {method.note}.")
    return name


def working_methods() -> list[str]:
    """Return the names of the methods that work here."""
    return [name for name, method in METHODS.items() if method.layers]


def config_class(name: str) -> Any:
    """Return PEFT's configuration class of a method.

    Raises:
        InputError: the package peft is not installed, or its version lacks the method.
    """
    if importlib.util.find_spec("peft") is None:
        raise InputError(f"Algorithm `{PREFIX}{name}` needs the package peft: `pip install 'lycoris-pipeline[peft]'`.")
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    types = {str(peft_type.value).lower(): each for peft_type, each in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if name not in types:
        import peft

        raise InputError(f"Algorithm `{PREFIX}{name}` is not in version {peft.__version__} of the package peft.")
    return types[name]


def option_names(name: str) -> list[str]:
    """Return the fields of a method's configuration that are options here.

    Raises:
        InputError: as for `config_class`.
    """
    return [each.name for each in dataclasses.fields(config_class(name)) if each.name not in FIXED_FIELDS]


def check_options(name: str, options: Mapping[str, object]) -> None:
    """Check that the options of a method are fields of its configuration.

    Raises:
        InputError: one is not, or is set by something else; or as for `config_class`.
    """
    known = option_names(name)
    start = str(options.get("init_lora_weights", True)).lower()
    if not start.startswith(SAFE_INITIALIZATIONS):
        raise InputError(f"Option `init_lora_weights` of `{PREFIX}{name}` cannot be {start!r}: it changes the base.")
    for option in options:
        if option in FIXED_FIELDS:
            raise InputError(f"Option `{option}` of `{PREFIX}{name}` cannot be set: {FIXED_FIELDS[option]}.")
        if option not in known:
            raise unknown_name_error(f"option of `{PREFIX}{name}`", option, known)


@contextlib.contextmanager
def without_projection_warning() -> Iterator[None]:
    """Ignore PEFT's warning that projections follow from a seed instead of the file, which is chosen in `METHODS`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Specified to not save")
        yield


def build_config(name: str, options: Mapping[str, object], target_modules: list[str]) -> Any:
    """Return PEFT's configuration of a method for layers given by their paths.

    Raises:
        InputError: an option is unknown or has a value that PEFT refuses; or as for `config_class`.
    """
    check_options(name, options)
    values = {**METHODS[name].options, **options, "target_modules": sorted(target_modules)}
    try:
        with without_projection_warning():
            return config_class(name)(**values)
    except (ValueError, TypeError, AssertionError) as error:
        raise InputError(f"Algorithm `{PREFIX}{name}` with {dict(options)}: {error}") from error
