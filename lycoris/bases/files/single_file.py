"""One safetensors file in the original layout, opened as if it were a folder: nothing is asked of the network."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.files.checkpoint_layouts import LAYOUTS, detect_layout
from lycoris.bases.files.clip_vocabulary import find_vocabulary
from lycoris.bases.files.diffusers_folder import file_digest
from lycoris.bases.files.model_loading import silence_transformers
from lycoris.bases.noise import PREDICTION_TYPES
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.yaml_loading import read_yaml

if TYPE_CHECKING:
    from torch import nn

T5_PREFIX = "text_encoders.t5xxl."
V_PREDICTION_KEYS = ("v_pred", "ztsnr")
"""Empty weights by which files say that they predict v, and that their schedule ends in pure noise."""
PARAMETERIZATIONS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
"""What is predicted, in the words of the original configurations."""
CONVERT_COMMAND = (
    "python -c \"from lycoris.bases import open_base as o; o('{file}', prediction_type='v_prediction')"
    ".pipeline().save_pretrained('{folder}')\""
)


class SingleFile:
    """A Stable Diffusion 1.x, 2.x, XL or 3 in one file.

    Args:
        path: of the file.
        tokenizer: where CLIP's vocabulary is; see `lycoris.bases.files.clip_vocabulary.find_vocabulary`.
        prediction_type: `epsilon`, `v_prediction` or `sample`, where the file does not tell. SD 1.x and SDXL predict
            `epsilon` when nothing is told; SD 2.x exists in both kinds and must be told.

    Raises:
        InputError: it is damaged, of no family, not told what it predicts, or told otherwise than it says.
    """

    def __init__(self, path: Path, *, tokenizer: str | Path | None = None, prediction_type: str | None = None) -> None:
        from safetensors import SafetensorError, safe_open

        self.path, self._tokenizer_source = path, tokenizer
        try:
            with safe_open(path, framework="pt") as file:
                self._metadata = file.metadata() or {}
                self._shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(f"Base `{path}` could not be read: {error}.") from error
        self._layout_name = detect_layout(self._shapes, path)
        self._layout = LAYOUTS[self._layout_name]
        self._prediction_type = self._resolve_prediction_type(prediction_type)
        if any(name.startswith(T5_PREFIX) for name in self._shapes):
            warnings.warn(f"T5 is in {path} and is left out: its states are zeros.", stacklevel=4)

    def model_index(self) -> Mapping[str, Any]:
        """The pipeline that it would be."""
        return {"_class_name": self._layout.pipeline}

    def has_part(self, part: str) -> bool:
        """Whether the part is in the file."""
        return part in self._layout.parts

    def check_parts(self, parts: Mapping[str, str]) -> None:
        """See that there is a vocabulary; every part is there, or the file would not have been recognised.

        Raises:
            InputError: there is none.
        """
        find_vocabulary(self.path, self._tokenizer_source)

    def load_module(self, part: str, model_class: Any, dtype: torch.dtype) -> nn.Module:
        """The part's module, built from what its weights' shapes tell.

        Raises:
            InputError: a weight is missing or of the wrong shape.
        """
        from accelerate import init_empty_weights
        from safetensors import safe_open

        place = self._layout.parts[part]
        shapes = {
            name.removeprefix(place.prefix): shape
            for name, shape in self._shapes.items()
            if name.startswith(place.prefix)
        }
        try:
            config = place.config(shapes)
            if part in ("unet", "transformer"):
                config["sample_size"] = self._latent_size()
            with silence_transformers(), init_empty_weights():
                module = (
                    model_class.from_config(config)
                    if hasattr(model_class, "from_config")
                    else model_class(model_class.config_class(**config))
                )
            with safe_open(self.path, framework="pt") as file:
                weights = {place.prefix + name: file.get_tensor(place.prefix + name) for name in shapes}
            converted = place.convert(module, weights, config)
            converted = {name: weight.to(dtype) for name, weight in converted.items()}
            loaded = module.load_state_dict(converted, strict=False, assign=True)
        except (KeyError, IndexError, StopIteration, RuntimeError, ValueError) as error:
            raise InputError(f"Part `{part}` of base `{self.path}` could not be opened: {error!r}.") from error
        if loaded.missing_keys:
            raise InputError(
                f"The weights of `{part}` in `{self.path}` lack {len(loaded.missing_keys)} tensors, "
                f"among them {', '.join(loaded.missing_keys[:3])}."
            )
        return module

    def load_tokenizer(self, part: str, tokenizer_class: Any) -> Any:
        """CLIP's tokenizer, padding as the part's encoder was trained with.

        Raises:
            InputError: no vocabulary is found, or it has another number of words than the text encoder.
        """
        pad = self._layout.tokenizers[part]
        found = tokenizer_class.from_pretrained(
            find_vocabulary(self.path, self._tokenizer_source), pad_token=pad, local_files_only=True
        )
        encoder = self._layout.parts[part.replace("tokenizer", "text_encoder")]
        names = ("text_model.embeddings.token_embedding.weight", "token_embedding.weight")
        words = next(self._shapes[encoder.prefix + name][0] for name in names if encoder.prefix + name in self._shapes)
        if len(found) != words:
            raise InputError(
                f"Argument `tokenizer` must have the {words} words of the text encoder in `{self.path}`, "
                f"but has {len(found)}."
            )
        return found

    def scheduler_config(self) -> Mapping[str, Any]:
        """The family's noise schedule, with what the file or the caller says of its prediction."""
        config = dict(self._layout.scheduler)
        if self._prediction_type is not None:
            config["prediction_type"] = self._prediction_type
        if "ztsnr" in self._shapes:
            config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return config

    def digest(self, parts: Iterable[str]) -> str:
        """SHA-256 over the file, the vocabulary and what is predicted."""
        vocabulary = sorted(
            file for file in find_vocabulary(self.path, self._tokenizer_source).iterdir() if file.is_file()
        )
        told = [file_digest(self.path), str(self._prediction_type), *(f"{f.name} {file_digest(f)}" for f in vocabulary)]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def _latent_size(self) -> int:
        """Side of the latents that the model was trained on, in cells: what it says, else the family's."""
        said = self._metadata.get("modelspec.resolution", "").split("x")[0]
        cell = 2 ** sum(name.endswith(".downsample.conv.weight") for name in self._shapes)
        if said.isdigit() and int(said) % cell == 0:
            return int(said) // cell
        return (
            96 if self._layout_name == "sd2" and self._prediction_type == "v_prediction" else self._layout.latent_size
        )

    def _resolve_prediction_type(self, requested: str | None) -> str | None:
        if requested is not None and requested not in PREDICTION_TYPES:
            raise unknown_name_error("prediction_type", requested, PREDICTION_TYPES)
        told = self._stated_prediction_type()
        if self._layout_name == "sd3":
            if requested is not None:
                raise InputError(f"Argument `prediction_type` must be left out for SD 3, but got {requested!r}.")
            return None
        if requested is not None and told is not None and requested != told:
            raise InputError(f"Argument `prediction_type` is {requested!r}, but base `{self.path}` says {told!r}.")
        if requested is None and told is None and self._layout_name == "sd2":
            raise InputError(
                f"Base `{self.path}` does not tell what it predicts, and SD 2.x exists in both kinds: give "
                f"`prediction_type=` 'epsilon' (512 pixels) or 'v_prediction' (768 pixels), or put its original "
                f"configuration beside it as `{self.path.with_suffix('.yaml').name}`, or write a folder once: "
                f"{CONVERT_COMMAND.format(file=self.path, folder=self.path.with_suffix(''))}"
            )
        return requested or told or "epsilon"

    def _stated_prediction_type(self) -> str | None:
        said = self._metadata.get("modelspec.prediction_type", "").lower()
        kind = self._metadata.get("modelspec.architecture", "").lower()
        if any(mark in self._shapes for mark in V_PREDICTION_KEYS):
            return "v_prediction"
        if said in ("v", "v_prediction", "v-prediction") or "768-v" in kind:
            return "v_prediction"
        return "epsilon" if said == "epsilon" or "v2-512" in kind else self._prediction_type_from_yaml()

    def _prediction_type_from_yaml(self) -> str | None:
        """What the original configuration says that stands beside the file, as web interfaces keep it.

        Raises:
            InputError: it is there and cannot be read.
        """
        beside = self.path.with_suffix(".yaml")
        if not beside.is_file():
            return None
        try:
            place = read_yaml(beside.read_text(encoding="utf-8"), f"The configuration `{beside}`")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The configuration `{beside}` could not be read: {error}.") from error
        for name in ("model", "params"):
            place = place.get(name) if isinstance(place, Mapping) else None
        said = place.get("parameterization", "eps") if isinstance(place, Mapping) else None
        if said not in PARAMETERIZATIONS:
            raise InputError(
                f"The configuration `{beside}` must say under `model`, `params`, `parameterization` one of "
                f"{', '.join(PARAMETERIZATIONS)}, but says {said!r}."
            )
        return PARAMETERIZATIONS[said]
