"""A base whose transformer is in one file, and whose other parts are those of another model of its family."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.files.checkpoint_layouts import convert_vae, match_text_model_prefix
from lycoris.bases.files.diffusers_folder import cached_file_digest, check_parts, folder_digest, read_json
from lycoris.bases.files.model_files import DiffusersFolder
from lycoris.bases.files.model_loading import import_class
from lycoris.bases.files.stored_rows import StoredRows, find_stored_rows
from lycoris.bases.files.transformer_layouts import TransformerLayout, fit_config, transformer_prefix
from lycoris.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from lycoris.bases.files.stored_weights import StoredWeights

VAE_PREFIXES = ("vae.", "first_stage_model.")
_VAE_MARK = "encoder.down.0.block.0.conv1.weight"
_CONVERSION_ERRORS = (KeyError, IndexError, StopIteration, RuntimeError, ValueError)


class TransformerFile:
    """The files of such a base; see `lycoris.bases.files.model_files.ModelFiles`.

    A VAE and text encoders in the file are used where diffusers or transformers can read them.

    Args:
        weights: of the file, which has a transformer alone or a whole model.
        components: a folder in the diffusers layout; of its transformer, only the configuration is read.
        layout: how the family's transformer is named in such files; None for diffusers' names only.
        family: name of the family, for messages.

    Raises:
        InputError: the file has no transformer of the family, or the folder no configuration of one.
    """

    def __init__(self, weights: StoredWeights, components: Path, layout: TransformerLayout | None, family: str) -> None:
        self.path, self.components = weights.path, DiffusersFolder(components)
        self._weights, self._layout, self._family = weights, layout, family
        self._prefixes = {"transformer": transformer_prefix(weights.shapes), **self._other_parts()}

    def _other_parts(self) -> dict[str, str]:
        """Parts beside the transformer that are read from the file → the prefix of their weights."""
        encoders = {} if self._layout is None else self._layout.text_encoders
        found = {part: f"text_encoders.{name}.transformer." for name, part in encoders.items()}
        found = {part: start for part, start in found.items() if any(n.startswith(start) for n in self._weights.shapes)}
        vae = next((start for start in VAE_PREFIXES if f"{start}{_VAE_MARK}" in self._weights.shapes), None)
        return found if vae is None else {**found, "vae": vae}

    @property
    def stored_weights(self) -> StoredWeights:
        """The tensors of the file."""
        return self._weights

    def stored_rows(self, part: str, module: nn.Module) -> dict[str, list[StoredRows]]:
        """Find where a part's parameters are in the file; as `SingleFile.stored_rows`.

        Raises:
            InputError: the part is not in the file.
        """
        if part not in self._prefixes:
            raise InputError(
                f"Part `{part}` is among the components of base `{self.path}` and not in the file, so that a single "
                "file cannot hold its changed weights: write a folder."
            )
        stored = self._stored(part)
        shapes = {name: self._weights.shapes[key] for name, key in stored.items()}
        found = find_stored_rows(shapes, lambda numbers: self._convert(part, module, numbers))
        return {stored[name]: rows for name, rows in found.items()}

    def model_index(self) -> Mapping[str, Any]:
        """That of the components."""
        return self.components.model_index()

    def has_part(self, part: str) -> bool:
        """Whether the part is in the file or among the components."""
        return part in self._prefixes or self.components.has_part(part)

    def check_parts(self, parts: Mapping[str, str]) -> None:
        """Check the components' configuration of the transformer, and their parts that are not in the file."""
        rest = {part: "config.json" if part in self._prefixes else required for part, required in parts.items()}
        check_parts(self.components.path, rest)

    def empty_module(self, part: str, model_class: Any, device: str = "meta") -> nn.Module:
        """Build a part's module without values, the transformer's with as many blocks as the file has."""
        if part != "transformer":
            return self.components.empty_module(part, model_class, device)
        with torch.device(device):
            return model_class.from_config(self._config)

    def load_module(self, part: str, model_class: Any, dtype: torch.dtype) -> nn.Module:
        """Load a part from the file if it is in there, else from the components.

        Raises:
            InputError: a weight is missing, has the wrong shape or is not finite.
        """
        if part not in self._prefixes:
            return self.components.load_module(part, model_class, dtype)
        from accelerate import init_empty_weights

        with init_empty_weights():
            module: Any = self._build(part, model_class)
        float32_modules = _float32_modules(module, dtype)
        stored = self._stored(part)
        values = self._weights.read(stored.values(), dtype if not float32_modules else None)
        try:
            converted = self._convert(part, module, {name: values[key] for name, key in stored.items()})
            for name, value in converted.items():
                is_float32 = any(module_name in name.split(".") for module_name in float32_modules)
                converted[name] = value.to(torch.float32 if is_float32 else dtype)
            loaded = module.load_state_dict(converted, strict=False, assign=True)
        except _CONVERSION_ERRORS as error:
            raise self._part_error(part, error) from error
        missing = [name for name in loaded.missing_keys if name in dict(module.named_parameters())]
        missing = [name for name in missing if name not in _tied_names(module, converted)]
        if missing:
            raise InputError(
                f"The weights of `{part}` in `{self.path}` lack {len(missing)} tensors that the configuration in "
                f"`{self.components.path}` requires, among them {', '.join(missing[:3])}. Pass as `components` a "
                "model of the same kind and size."
            )
        if hasattr(module, "tie_weights") and hasattr(module, "get_input_embeddings"):
            module.tie_weights()
        return module

    def unused_tensors(self, classes: Mapping[str, str]) -> list[str]:
        """Names of the file's tensors that no part is loaded from."""
        used: set[str] = set()
        for part in self._prefixes:
            stored = self._stored(part)
            numbers = {name: torch.tensor(float(at)) for at, name in enumerate(stored, start=2)}
            shapes = {name: self._weights.shapes[key] for name, key in stored.items()}
            module = self.empty_module(part, import_class(classes[part]))
            try:
                converted = self._convert(part, module, {n: numbers[n].expand(shapes[n]) for n in stored})
            except _CONVERSION_ERRORS as error:
                raise self._part_error(part, error) from error
            own, names = module.state_dict().keys(), list(stored)
            values = [int(value.flatten()[0]) for name, value in converted.items() if name in own and value.numel()]
            used |= {stored[names[value - 2]] for value in values if 2 <= value < len(names) + 2}
        return [name for name in self._weights.shapes if name not in used]

    def load_tokenizer(self, part: str, tokenizer_class: Any) -> Any:
        """That of the components."""
        return self.components.load_tokenizer(part, tokenizer_class)

    def scheduler_config(self) -> Mapping[str, Any]:
        """That of the components."""
        return self.components.scheduler_config()

    def latent_scale(self) -> tuple[float, float | None]:
        """That of the components' VAE."""
        return self.components.latent_scale()

    def digest(self, parts: Iterable[str]) -> str:
        """SHA-256 over the file, the components' other parts and the configurations of those in the file."""
        parts = list(parts)
        content = [cached_file_digest(self.path)]
        content += [cached_file_digest(self.components.path / part / "config.json") for part in sorted(self._prefixes)]
        content.append(folder_digest(self.components.path, [part for part in parts if part not in self._prefixes]))
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    @cached_property
    def _config(self) -> dict[str, Any]:
        """The transformer's configuration: that of the components, with the blocks that the file has."""
        config = read_json(self.components.path / "transformer" / "config.json")
        stored = self._stored("transformer")
        shapes = {name: torch.empty(self._weights.shapes[key], device="meta") for name, key in stored.items()}
        try:
            return fit_config(config, self._convert_transformer(shapes, config))
        except _CONVERSION_ERRORS as error:
            raise self._part_error("transformer", error) from error

    def _stored(self, part: str) -> dict[str, str]:
        """Names of a part's weights without prefix → names in the file."""
        prefix = self._prefixes[part]
        others = tuple(start for other, start in self._prefixes.items() if other != part)
        return {
            name.removeprefix(prefix): name
            for name in self._weights.shapes
            if name.startswith(prefix) and not name.startswith(others)
        }

    def _build(self, part: str, model_class: Any) -> nn.Module:
        config = self._config if part == "transformer" else read_json(self.components.path / part / "config.json")
        if hasattr(model_class, "from_config"):
            return model_class.from_config(config)
        return model_class(model_class.config_class.from_dict(config))

    def _convert(self, part: str, module: Any, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if part == "transformer":
            return self._convert_transformer(weights, self._config)
        if part == "vae":
            named = {f"first_stage_model.{name}": value for name, value in weights.items()}
            return convert_vae(module, named, dict(module.config))
        return match_text_model_prefix(module, weights)

    def _convert_transformer(self, weights: dict[str, torch.Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
        if self._layout is not None and self._layout.matches(weights):
            return self._layout.convert(weights, config)
        return weights

    def _part_error(self, part: str, error: Exception) -> InputError:
        return InputError(
            f"Part `{part}` of base `{self.path}` does not fit the {self._family} in `{self.components.path}`: {error}."
        )


def _float32_modules(module: Any, dtype: torch.dtype) -> tuple[str, ...]:
    """Names of the modules that keep float32 where a folder is opened in a precision."""
    is_transformers = type(module).__module__.startswith("transformers")
    if dtype is torch.float32 or (is_transformers and dtype is not torch.float16):
        return ()
    return tuple(getattr(module, "_keep_in_fp32_modules", None) or ())


def _tied_names(module: Any, weights: Mapping[str, Any]) -> set[str]:
    """Names of parameters that share their values with one of the weights, such as T5's two embeddings."""
    return {"encoder.embed_tokens.weight"} if "shared.weight" in weights else set()
