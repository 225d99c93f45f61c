"""The files of a base model whose VAE is another one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.files.checkpoint_layouts import VAE_PREFIX, convert_vae
from lycoris.bases.files.config_inference import vae_config
from lycoris.bases.files.diffusers_folder import cached_file_digest, check_parts, folder_digest
from lycoris.bases.files.file_kinds import is_weights_file, wrong_kind
from lycoris.bases.files.model_files import DiffusersFolder
from lycoris.bases.files.model_loading import load_part
from lycoris.bases.files.stored_weights import StoredWeights
from lycoris.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from lycoris.bases.files.model_files import ModelFiles


class ReplacedVae:
    """The files of a base, with the VAE from elsewhere; see `lycoris.bases.files.model_files.ModelFiles`.

    Args:
        files: the base's.
        vae: a folder with ``config.json`` and safetensors files, a base's folder with such a folder ``vae``, or a
            safetensors file in the original layout, whose latents are scaled as those of the base's own VAE.

    Raises:
        InputError: there is no such folder or file, or it is no VAE.
    """

    def __init__(self, files: ModelFiles, vae: str | Path) -> None:
        self.path, self._files = files.path, files
        path = Path(vae).expanduser()
        if not path.exists():
            raise InputError(f"Argument `vae` must be a folder or a safetensors file, but there is no `{vae}`.")
        self._folder = None if path.is_file() else path / "vae" if (path / "vae").is_dir() else path
        self._file = path
        if self._folder is not None:
            check_parts(self._folder.parent, {self._folder.name: "weights"})
            return
        if not is_weights_file(path):
            raise InputError(f"VAE `{path}` {wrong_kind(path) or 'must be a safetensors file, but is another file.'}")
        self._weights = StoredWeights(path)
        names = {name.removeprefix(VAE_PREFIX): name for name in self._weights.shapes}
        self._names = {name: stored for name, stored in names.items() if name.startswith(_VAE_ROOTS)}
        if "encoder.down.0.block.0.conv1.weight" not in self._names or "decoder.conv_in.weight" not in self._names:
            raise InputError(
                f"VAE `{path}` must have the original layout, `encoder.down.*` and `decoder.up.*`, but has "
                f"{', '.join(sorted(names)[:3]) or 'nothing'}."
            )

    def model_index(self) -> Mapping[str, Any]:
        """That of the base."""
        return self._files.model_index()

    def has_part(self, part: str) -> bool:
        """Whether the part is present."""
        return part == "vae" or self._files.has_part(part)

    def check_parts(self, parts: Mapping[str, str]) -> None:
        """Check the base's parts without its VAE, which it need not have."""
        self._files.check_parts({part: required for part, required in parts.items() if part != "vae"})

    def empty_module(self, part: str, model_class: Any, device: str = "meta") -> nn.Module:
        """A part of the base, or the VAE, without values."""
        if part != "vae":
            return self._files.empty_module(part, model_class, device)
        if self._folder is not None:
            return DiffusersFolder(self._folder.parent).empty_module(self._folder.name, model_class, device)
        with torch.device(device):
            return model_class.from_config(self._config())

    def load_module(self, part: str, model_class: Any, dtype: torch.dtype) -> nn.Module:
        """Load a part of the base, or the VAE."""
        if part != "vae":
            return self._files.load_module(part, model_class, dtype)
        if self._folder is not None:
            return load_part(self._folder, model_class, dtype)
        config = self._config()
        module = model_class.from_config(config)
        weights = {f"{VAE_PREFIX}{name}": value for name, value in self._read().items()}
        loaded = module.load_state_dict(convert_vae(module, weights, config), strict=False)
        if loaded.missing_keys:
            raise InputError(
                f"VAE `{self._file}` lacks {len(loaded.missing_keys)} tensors, among them "
                f"{', '.join(loaded.missing_keys[:3])}."
            )
        return module.to(dtype)

    def unused_tensors(self, classes: Mapping[str, str]) -> list[str]:
        """Those of the base's file, its own VAE among them."""
        return self._files.unused_tensors({part: each for part, each in classes.items() if part != "vae"})

    def load_tokenizer(self, part: str, tokenizer_class: Any) -> Any:
        """That of the base."""
        return self._files.load_tokenizer(part, tokenizer_class)

    def scheduler_config(self) -> Mapping[str, Any]:
        """That of the base."""
        return self._files.scheduler_config()

    def latent_scale(self) -> tuple[float, float | None]:
        """That of the base's own VAE."""
        return self._files.latent_scale()

    def digest(self, parts: Iterable[str]) -> str:
        """SHA-256 over the base's other files and the VAE's."""
        own = self._files.digest([part for part in parts if part != "vae"])
        if self._folder is None:
            vae = cached_file_digest(self._file)
        else:
            vae = folder_digest(self._folder.parent, [self._folder.name])
        return hashlib.sha256(f"{own} vae {vae}".encode()).hexdigest()

    def _config(self) -> dict[str, Any]:
        """The configuration of a VAE in one file, with the scale of the base's latents."""
        scale, shift = self._files.latent_scale()
        shapes = {name: self._weights.shapes[stored] for name, stored in self._names.items()}
        return vae_config(shapes, scale=scale, shift=shift)

    def _read(self) -> dict[str, torch.Tensor]:
        stored = self._weights.read(self._names.values())
        return {name: stored[original] for name, original in self._names.items()}


_VAE_ROOTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
