"""The files of a base written again with some of its weights changed; everything else keeps its bits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lycoris.adapters.files.safetensors_io import DTYPES, FLOAT8, HASH_KEY, KOHYA_HASH_KEY, write_streamed
from lycoris.bases.files.diffusers_folder import file_variant, weights_variant
from lycoris.bases.files.file_kinds import WEIGHTS_SUFFIX
from lycoris.bases.files.model_files import DiffusersFolder
from lycoris.bases.files.single_file import SingleFile
from lycoris.bases.files.stored_rows import StoredRows, require_rows
from lycoris.bases.files.transformer_file import TransformerFile
from lycoris.cache.atomic import atomic_dir
from lycoris.errors import InputError

_COPIED_SUFFIXES = frozenset({".json", ".txt", ".model", ".jinja"})

Changes = Mapping[str, Callable[[], Tensor]]
"""Name of a parameter in its module → the sum of the changes, in float64, computed when called."""


@dataclass(frozen=True)
class ChangedFiles:
    """The files of a base with changed tensors.

    Attributes:
        changes: of each part.
        precision: of all weights; None for that of each tensor.
        origin: entries for the header of a single file.
        squares: gets the squared norm of the change of each tensor.
    """

    changes: Mapping[str, Changes]
    precision: torch.dtype | None
    origin: Mapping[str, str]
    squares: list[float]

    def write_single_file(
        self, files: SingleFile | TransformerFile, parts: Mapping[str, nn.Module], target: Path
    ) -> None:
        """Write a single file in the layout of the base's."""
        places: dict[str, list[tuple[str, StoredRows]]] = {}
        for part, changes in self.changes.items():
            found = files.stored_rows(part, parts[part])
            shapes = parts[part].state_dict()
            require_rows(found, {name: shapes[name].shape[0] for name in changes}, files.path)
            for stored, rows in found.items():
                places.setdefault(stored, []).extend((part, each) for each in rows if each.parameter in changes)
        stored_weights = files.stored_weights
        dtypes = stored_weights.dtypes
        if self.precision is None and (eight_bit := [name for name, each in dtypes.items() if each in FLOAT8]):
            raise eight_bit_error(files.path, eight_bit[0])

        def read(name: str) -> Tensor:
            values = stored_weights.read([name])[name]
            sums: dict[tuple[str, str], Tensor] = {}
            for part, rows in places.get(name, ()):
                sums[part, rows.parameter] = self.changes[part][rows.parameter]()
            return self.change(name, values, lambda wide: _add_rows(wide, places.get(name, ()), sums), bool(sums))

        entries = {name: (self.dtype_of(dtypes[name]), shape) for name, shape in stored_weights.shapes.items()}
        kept = {key: value for key, value in stored_weights.metadata.items() if key not in (HASH_KEY, KOHYA_HASH_KEY)}
        write_streamed(target, entries, read, {**kept, **self.origin})

    def write_folder(self, files: DiffusersFolder, classes: Mapping[str, str], target: Path) -> None:
        """Write a folder with the parts of the base's."""
        index = files.model_index()
        names = {*classes, "scheduler", *(name for name, entry in index.items() if isinstance(entry, list))}
        lost = {part: set(changes) for part, changes in self.changes.items()}
        with atomic_dir(target) as folder:
            for file in sorted(files.path.iterdir()):
                if file.is_file() and (file.name == "model_index.json" or file.name.upper().startswith("LICENSE")):
                    shutil.copyfile(file, folder / file.name)
                elif file.is_dir() and file.name in names:
                    lost.get(file.name, set()).difference_update(self._write_part(file, folder / file.name))
            for part, missing in lost.items():
                if missing:
                    raise InputError(
                        f"Base `{files.path}` has no tensor in `{part}` for {len(missing)} changed weights, such as "
                        f"`{min(missing)}`."
                    )

    def _write_part(self, part: Path, target: Path) -> set[str]:
        """Write a part's folder, and return the names of the parameters that were changed."""
        target.mkdir()
        variant, written = weights_variant(part), set()
        for file in sorted(part.iterdir()):
            if not file.is_file():
                continue
            if file.suffix == WEIGHTS_SUFFIX:
                if file_variant(file) == variant:
                    written |= self._write_weights(part.name, file, target / file.name)
            elif file.suffix in _COPIED_SUFFIXES and (
                not file.name.endswith(".index.json") or (f".{variant}." in file.name) == (variant is not None)
            ):
                shutil.copyfile(file, target / file.name)
        return written

    def _write_weights(self, part: str, file: Path, target: Path) -> set[str]:
        """Write one file of a part's weights, and return the names of the parameters in it that were changed."""
        from safetensors import safe_open

        changes, written = self.changes.get(part, {}), set()
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            parameters = {}
            entries = {}
            for name in stored.keys():  # noqa: SIM118 - not a mapping
                piece = stored.get_slice(name)
                dtype = DTYPES[piece.get_dtype()]
                if self.precision is None and dtype in FLOAT8:
                    raise eight_bit_error(file, name)
                entries[name] = (self.dtype_of(dtype), tuple(piece.get_shape()))
                parameter = next((each for each in _spellings(name) if each in changes), None)
                if parameter is not None:
                    parameters[name] = parameter
                    written.add(parameter)

            def read(name: str) -> Tensor:
                def add(wide: Tensor) -> None:
                    wide += changes[parameters[name]]().reshape(wide.shape)

                return self.change(name, stored.get_tensor(name), add, name in parameters)

            kept = {key: value for key, value in metadata.items() if key not in (HASH_KEY, KOHYA_HASH_KEY)}
            write_streamed(target, entries, read, kept)
        return written

    def dtype_of(self, stored: torch.dtype) -> torch.dtype:
        """Return the dtype that a tensor is written in."""
        return stored if self.precision is None or not stored.is_floating_point else self.precision

    def change(self, name: str, values: Tensor, add: Callable[[Tensor], None], changes: bool) -> Tensor:
        """Return a tensor as it is written, and note the squared norm of its change."""
        dtype = self.dtype_of(values.dtype)
        if changes:
            wide = values.double()
            before = wide.clone()
            with torch.no_grad():
                add(wide)
            self.squares.append((wide - before).square().sum().item())
            values = wide
        cast = values.to(dtype)
        if not torch.isfinite(cast).all():
            raise InputError(f"Tensor `{name}` has values that are not finite in {str(dtype).removeprefix('torch.')}.")
        return cast


def _add_rows(wide: Tensor, places: Sequence[tuple[str, StoredRows]], sums: Mapping[tuple[str, str], Tensor]) -> None:
    for part, rows in places:
        rows.add(wide, sums[part, rows.parameter])


def _spellings(name: str) -> Iterator[str]:
    """Yield a tensor's name, with and without `text_model.`, which versions of transformers differ in."""
    bare = name.removeprefix("text_model.")
    yield from (name, bare, f"text_model.{bare}")


def eight_bit_error(source: Path, name: str) -> InputError:
    """Build the error for a base whose weights cannot take a small change."""
    return InputError(
        f"Base `{source}` has 8-bit weights, such as `{name}`, in which a small change is lost. Give argument `dtype`, "
        "such as `bfloat16`."
    )
