"""The files of a base model: the interface that families load their parts through, and diffusers folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lycoris.bases.files.diffusers_folder import check_parts, folder_digest, read_json
from lycoris.bases.files.model_loading import load_part

if TYPE_CHECKING:
    import torch
    from torch import nn


@runtime_checkable
class ModelFiles(Protocol):
    """The files of one base model.

    Attributes:
        path: the folder or file.
    """

    path: Path

    def model_index(self) -> Mapping[str, Any]:
        """The pipeline's ``model_index.json``; empty if there is none."""

    def has_part(self, part: str) -> bool:
        """Whether a part is present."""

    def check_parts(self, parts: Mapping[str, str]) -> None:
        """Check that every part is present.

        Args:
            parts: part to the file that its folder must hold, or to ``"weights"``.

        Raises:
            InputError: parts are missing; the message lists them all.
        """

    def empty_module(self, part: str, model_class: Any, device: str = "meta") -> nn.Module:
        """Build one part without its weights, on the meta device or another (for fake tensors); see `load_module`."""

    def load_module(self, part: str, model_class: Any, dtype: torch.dtype) -> nn.Module:
        """Load one part with its weights.

        Args:
            part: its name in a diffusers pipeline.
            model_class: a model class of diffusers or transformers.
            dtype: to convert the weights to.

        Raises:
            InputError: it cannot be opened or is incomplete.
        """

    def unused_tensors(self, classes: Mapping[str, str]) -> list[str]:
        """Names of the tensors that none of some parts, with the paths of their model classes, is loaded from."""

    def load_tokenizer(self, part: str, tokenizer_class: Any) -> Any:
        """Load one tokenizer, of a class of transformers.

        Raises:
            InputError: there is none.
        """

    def scheduler_config(self) -> Mapping[str, Any]:
        """The noise schedule's configuration."""

    def latent_scale(self) -> tuple[float, float | None]:
        """Scale and shift of the latents of its VAE."""

    def digest(self, parts: Iterable[str]) -> str:
        """SHA-256 over everything the parts are loaded from, in hexadecimal."""


class DiffusersFolder:
    """A folder in the diffusers layout."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def model_index(self) -> Mapping[str, Any]:
        """The folder's ``model_index.json``; empty if there is none."""
        file = self.path / "model_index.json"
        return read_json(file) if file.is_file() else {}

    def has_part(self, part: str) -> bool:
        """Whether the part has a folder."""
        return (self.path / part).is_dir()

    def check_parts(self, parts: Mapping[str, str]) -> None:
        """See that every part has its files; `lycoris.bases.files.diffusers_folder.check_parts` says how."""
        check_parts(self.path, parts)

    def empty_module(self, part: str, model_class: Any, device: str = "meta") -> nn.Module:
        """Build the part's module from its configuration, without values."""
        import torch

        config = read_json(self.path / part / "config.json")
        with torch.device(device):
            if hasattr(model_class, "from_config"):
                return model_class.from_config(config)
            return model_class(model_class.config_class.from_dict(config))

    def load_module(self, part: str, model_class: Any, dtype: torch.dtype) -> nn.Module:
        """Load the part's module from its configuration and safetensors files."""
        return load_part(self.path / part, model_class, dtype)

    def unused_tensors(self, classes: Mapping[str, str]) -> list[str]:
        """None: the files of a part are that part's."""
        return []

    def load_tokenizer(self, part: str, tokenizer_class: Any) -> Any:
        """Load the part's tokenizer."""
        return tokenizer_class.from_pretrained(self.path / part, local_files_only=True)

    def scheduler_config(self) -> Mapping[str, Any]:
        """The folder's ``scheduler/scheduler_config.json``."""
        return read_json(self.path / "scheduler" / "scheduler_config.json")

    def latent_scale(self) -> tuple[float, float | None]:
        """Scale and shift in ``vae/config.json``."""
        config = read_json(self.path / "vae" / "config.json")
        return config["scaling_factor"], config.get("shift_factor")

    def digest(self, parts: Iterable[str]) -> str:
        """SHA-256 over names and contents of the parts' files."""
        return folder_digest(self.path, parts)
