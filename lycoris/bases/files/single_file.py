"""One safetensors file in the original layout, opened as if it were a folder, without network access."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.files.checkpoint_layouts import CheckpointLayout, detect_layout
from lycoris.bases.files.clip_vocabulary import find_vocabulary
from lycoris.bases.files.diffusers_folder import cached_file_digest
from lycoris.bases.files.model_loading import import_class
from lycoris.bases.files.stored_rows import StoredRows, find_stored_rows
from lycoris.bases.files.stored_weights import StoredWeights
from lycoris.bases.noise import PREDICTION_TYPES
from lycoris.errors import InputError, unknown_name_error
from lycoris.pretrained import silence_transformers
from lycoris.safety.yaml_loading import read_yaml

if TYPE_CHECKING:
    from torch import nn

V_PREDICTION_KEYS = frozenset({"v_pred", "ztsnr"})
"""Empty tensors that mark a file as predicting v, and its schedule as ending in pure noise."""
PARAMETERIZATIONS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
"""Prediction types by their names in the original configurations."""
CONVERT_COMMAND = (
    "python -c \"from lycoris.bases import open_base as o; o('{file}', prediction_type='v_prediction')"
    ".pipeline().save_pretrained('{folder}')\""
)


class SingleFile:
    """A base model in one file.

    Args:
        path: the file.
        layouts: the known layouts by name.
        tokenizer: where CLIP's vocabulary is; see `lycoris.bases.files.clip_vocabulary.find_vocabulary`.
        prediction_type: `epsilon`, `v_prediction` or `sample`, if the file does not state it. The default of SD 1.x
            and SDXL is `epsilon`; SD 2.x exists in both kinds and has no default.
        needs_vae: whether the file must hold a VAE.

    Raises:
        InputError: the file is damaged or of no known family, or its prediction type is unknown or contradicted.
    """

    def __init__(
        self,
        path: Path,
        layouts: Mapping[str, CheckpointLayout],
        *,
        tokenizer: str | Path | None = None,
        prediction_type: str | None = None,
        needs_vae: bool = True,
    ) -> None:
        self.path, self._tokenizer_source = path, tokenizer
        self._weights = StoredWeights(path)
        self._metadata, self._shapes = self._weights.metadata, self._weights.shapes
        self._layout_name = detect_layout(self._shapes, path, layouts, optional=() if needs_vae else ("vae",))
        self._layout = layouts[self._layout_name]
        self._prediction_type = self._resolve_prediction_type(prediction_type)

    def model_index(self) -> Mapping[str, Any]:
        """The index of the pipeline that the file would be."""
        return {"_class_name": self._layout.pipeline}

    def has_part(self, part: str) -> bool:
        """Whether the part is in the file."""
        return part in self._layout.parts

    def check_parts(self, parts: Mapping[str, str]) -> None:
        """Check that there is a vocabulary; the file would not have matched without the other parts.

        Raises:
            InputError: there is no vocabulary.
        """
        find_vocabulary(self.path, self._tokenizer_source)

    def empty_module(self, part: str, model_class: Any, device: str = "meta") -> nn.Module:
        """Build a part's module from the shapes of its weights, without values; parameters are on the meta device.

        Raises:
            InputError: the shapes are not those of such a part.
        """
        from accelerate import init_empty_weights

        try:
            with silence_transformers(), init_empty_weights():
                config = self._config(part)
                if hasattr(model_class, "from_config"):
                    return model_class.from_config(config)
                return model_class(model_class.config_class(**config))
        except (KeyError, IndexError, StopIteration, RuntimeError, ValueError) as error:
            raise self._part_error(part, error) from error

    def load_module(self, part: str, model_class: Any, dtype: torch.dtype) -> nn.Module:
        """Build a part's module from the shapes of its weights, and load them.

        Raises:
            InputError: a weight is missing, has the wrong shape or is not finite.
        """
        layout = self._layout.parts[part]
        module = self.empty_module(part, model_class)
        weights = self._weights.read(name for name in self._shapes if name.startswith(layout.prefix))
        try:
            converted = layout.convert(module, weights, self._config(part))
            converted = {name: weight.to(dtype) for name, weight in converted.items()}
            loaded = module.load_state_dict(converted, strict=False, assign=True)
        except (KeyError, IndexError, StopIteration, RuntimeError, ValueError) as error:
            raise self._part_error(part, error) from error
        if loaded.missing_keys:
            raise InputError(
                f"The weights of `{part}` in `{self.path}` lack {len(loaded.missing_keys)} tensors, "
                f"among them {', '.join(loaded.missing_keys[:3])}."
            )
        return module

    def unused_tensors(self, classes: Mapping[str, str]) -> list[str]:
        """Names of the tensors that no part is loaded from, under the names of the original layout.

        Each tensor is converted as one number in its shape, and those whose numbers reach a module are used.

        Args:
            classes: part -> the path of its model class, imported here.

        Raises:
            InputError: the shapes are not those of such parts.
        """
        names = list(self._shapes)
        numbers = {name: torch.tensor(float(at), dtype=torch.float64) for at, name in enumerate(names, start=2)}
        used = {name for name in names if name in V_PREDICTION_KEYS}
        for part, path in classes.items():
            layout, module = self._layout.parts[part], self.empty_module(part, import_class(path))
            stored = {n: numbers[n].expand(self._shapes[n]) for n in names if n.startswith(layout.prefix)}
            try:
                converted = layout.convert(module, stored, self._config(part))
            except (KeyError, IndexError, StopIteration, RuntimeError, ValueError) as error:
                raise self._part_error(part, error) from error
            own = module.state_dict().keys()
            values = [int(value.flatten()[0]) for name, value in converted.items() if name in own and value.numel()]
            used |= {names[value - 2] for value in values if value >= 2}  # a conversion may add ones of its own
        return [name for name in names if name not in used]

    @property
    def stored_weights(self) -> StoredWeights:
        """The tensors of the file."""
        return self._weights

    def stored_rows(self, part: str, module: nn.Module) -> dict[str, list[StoredRows]]:
        """Find where a part's parameters are in the file.

        Args:
            part: its name in a diffusers pipeline.
            module: of the part.

        Returns:
            Name of a stored tensor → the rows of parameters that it holds.
        """
        layout = self._layout.parts[part]
        shapes = {name: shape for name, shape in self._shapes.items() if name.startswith(layout.prefix)}
        config = self._config(part)
        return find_stored_rows(shapes, lambda numbers: layout.convert(module, numbers, config))

    def _config(self, part: str) -> dict[str, Any]:
        layout = self._layout.parts[part]
        shapes = {
            name.removeprefix(layout.prefix): shape
            for name, shape in self._shapes.items()
            if name.startswith(layout.prefix)
        }
        config = layout.config(shapes)
        if part in ("unet", "transformer"):
            config["sample_size"] = self._latent_size()
        return config

    def _part_error(self, part: str, error: Exception) -> InputError:
        return InputError(f"Part `{part}` of base `{self.path}` could not be opened: {error!r}.")

    def load_tokenizer(self, part: str, tokenizer_class: Any) -> Any:
        """Load CLIP's tokenizer, with the padding that the part's encoder was trained with.

        Raises:
            InputError: there is no vocabulary, or its size is not the text encoder's.
        """
        pad = self._layout.tokenizers[part]
        tokenizer = tokenizer_class.from_pretrained(
            find_vocabulary(self.path, self._tokenizer_source), pad_token=pad, local_files_only=True
        )
        encoder = self._layout.parts[part.replace("tokenizer", "text_encoder")]
        names = ("text_model.embeddings.token_embedding.weight", "token_embedding.weight")
        size = next(self._shapes[encoder.prefix + name][0] for name in names if encoder.prefix + name in self._shapes)
        if len(tokenizer) != size:
            raise InputError(
                f"Argument `tokenizer` must have the {size} tokens of the text encoder in `{self.path}`, "
                f"but has {len(tokenizer)}."
            )
        return tokenizer

    def scheduler_config(self) -> Mapping[str, Any]:
        """The family's noise schedule, with the prediction type that the file or the caller states."""
        config = dict(self._layout.scheduler)
        if self._prediction_type is not None:
            config["prediction_type"] = self._prediction_type
        if "ztsnr" in self._shapes:
            config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return config

    def latent_scale(self) -> tuple[float, float | None]:
        """Scale and shift of the family's latents."""
        return self._layout.latent_scale

    def digest(self, parts: Iterable[str]) -> str:
        """SHA-256 over the file, the vocabulary and the prediction type."""
        vocabulary = sorted(
            file for file in find_vocabulary(self.path, self._tokenizer_source).iterdir() if file.is_file()
        )
        content = [cached_file_digest(self.path), str(self._prediction_type)]
        content += [f"{file.name} {cached_file_digest(file)}" for file in vocabulary]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    def _latent_size(self) -> int:
        """Side of the latents that the model was trained on, in cells: as the file states it, else the family's."""
        resolution = self._metadata.get("modelspec.resolution", "").split("x")[0]
        cell = 2 ** (sum(name.endswith(".downsample.conv.weight") for name in self._shapes) or 3)
        if resolution.isdigit() and int(resolution) % cell == 0:
            return int(resolution) // cell
        if self._layout_name == "sd2" and self._prediction_type == "v_prediction":
            return 96
        return self._layout.latent_size

    def _resolve_prediction_type(self, requested: str | None) -> str | None:
        if requested is not None and requested not in PREDICTION_TYPES:
            raise unknown_name_error("prediction_type", requested, PREDICTION_TYPES)
        stated = self._stated_prediction_type()
        if "beta_schedule" not in self._layout.scheduler:
            if requested is not None:
                raise InputError(
                    f"Argument `prediction_type` must be left out for a base trained by flow matching, such as SD 3, "
                    f"but got {requested!r}."
                )
            return None
        if requested is not None and stated is not None and requested != stated:
            raise InputError(f"Argument `prediction_type` is {requested!r}, but base `{self.path}` states {stated!r}.")
        if requested is None and stated is None and self._layout_name == "sd2":
            raise InputError(
                f"Base `{self.path}` does not state its prediction type, and SD 2.x exists in both kinds: pass "
                f"`prediction_type=` 'epsilon' (512 pixels) or 'v_prediction' (768 pixels), or put its original "
                f"configuration beside it as `{self.path.with_suffix('.yaml').name}`, or write a folder once: "
                f"{CONVERT_COMMAND.format(file=self.path, folder=self.path.with_suffix(''))}"
            )
        return requested or stated or "epsilon"

    def _stated_prediction_type(self) -> str | None:
        stated = self._metadata.get("modelspec.prediction_type", "").lower()
        architecture = self._metadata.get("modelspec.architecture", "").lower()
        if any(key in self._shapes for key in V_PREDICTION_KEYS):
            return "v_prediction"
        if stated in ("v", "v_prediction", "v-prediction") or "768-v" in architecture:
            return "v_prediction"
        if stated == "epsilon" or "v2-512" in architecture:
            return "epsilon"
        return self._prediction_type_from_yaml()

    def _prediction_type_from_yaml(self) -> str | None:
        """Read the original configuration beside the file, where web interfaces keep it.

        Raises:
            InputError: it exists and cannot be read.
        """
        file = self.path.with_suffix(".yaml")
        if not file.is_file():
            return None
        try:
            entry = read_yaml(file.read_text(encoding="utf-8"), f"The configuration `{file}`")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The configuration `{file}` could not be read: {error}.") from error
        for name in ("model", "params"):
            entry = entry.get(name) if isinstance(entry, Mapping) else None
        stated = entry.get("parameterization", "eps") if isinstance(entry, Mapping) else None
        if stated not in PARAMETERIZATIONS:
            raise InputError(
                f"The configuration `{file}` must have under `model`, `params`, `parameterization` one of "
                f"{', '.join(PARAMETERIZATIONS)}, but has {stated!r}."
            )
        return PARAMETERIZATIONS[stated]
