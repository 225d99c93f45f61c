"""Find the files of a base, and the family that opens them."""

from __future__ import annotations

import functools
from pathlib import Path

from lycoris.bases.families import BASES
from lycoris.bases.families.family import Family
from lycoris.bases.files.checkpoint_layouts import UnknownLayoutError, detect_layout
from lycoris.bases.files.diffusers_folder import find_base, find_components
from lycoris.bases.files.hub import download_snapshot, is_hub_name
from lycoris.bases.files.model_files import DiffusersFolder, ModelFiles
from lycoris.bases.files.replaced_vae import ReplacedVae
from lycoris.bases.files.single_file import SingleFile
from lycoris.bases.files.stored_weights import StoredWeights
from lycoris.bases.files.transformer_file import TransformerFile
from lycoris.bases.files.transformer_layouts import transformer_prefix
from lycoris.errors import InputError


def resolve_family(
    source: str | Path,
    tokenizer: str | Path | None = None,
    prediction_type: str | None = None,
    vae: str | Path | None = None,
    components: str | Path | None = None,
) -> tuple[ModelFiles, Family]:
    """Find the files of a base, and the family that matches them.

    Args:
        source, tokenizer, prediction_type, vae, components: as for `lycoris.bases.open_base`.

    Raises:
        InputError: nothing is there, no family matches, or an argument does not go with the files.
    """
    path = find_base(source)
    options = {"tokenizer": tokenizer, "prediction_type": prediction_type, "components": components}
    given = [name for name, value in options.items() if value is not None]
    if path.is_dir():
        if given:
            raise InputError(f"Argument `{given[0]}` is for single files; the folder `{path}` has its own.")
        files: ModelFiles = DiffusersFolder(path)
        family = _match_family(files, source)
    elif components is not None:
        if len(given) > 1:
            raise InputError(f"Argument `{given[0]}` must be left out with `components`, which have their own.")
        files, family = _open_transformer_file(path, components)
    else:
        files = _open_whole_file(path, tokenizer, prediction_type, needs_vae=vae is None)
        family = _match_family(files, source)
    return files if vae is None else ReplacedVae(files, vae), family


def find_family(source: str | Path, components: str | Path | None = None) -> Family | None:
    """The family of a base by its index or the names of its weights; None where it cannot be found.

    Of a hub model that is not in the cache, only the index is fetched.

    Args:
        source, components: as for `lycoris.bases.open_base`.
    """
    try:
        indexed = source if components is None else components
        path = Path(indexed).expanduser()
        if not path.exists() and is_hub_name(str(indexed)):
            path = _index_folder(str(indexed))
        if path.is_dir():
            return _match_family(DiffusersFolder(path), source)
        layouts = {name: layout for family in BASES.values() for name, layout in family.layouts.items()}
        layout = detect_layout(StoredWeights(path).shapes, path, layouts, optional=("vae",))
        return next(family for family in BASES.values() if layout in family.layouts)
    except InputError:
        return None


@functools.lru_cache(maxsize=64)
def _index_folder(name: str) -> Path:
    return download_snapshot(name, ["model_index.json"], f"Base `{name}` is not on this machine.")


def _match_family(files: ModelFiles, source: str | Path) -> Family:
    for family in BASES.values():
        if family.matches(files):
            return family
    pipeline = files.model_index().get("_class_name")
    raise InputError(f"Base `{source}` is a {pipeline}, which no family opens; known: {', '.join(BASES)}.")


def _open_whole_file(
    path: Path, tokenizer: str | Path | None, prediction_type: str | None, *, needs_vae: bool
) -> ModelFiles:
    """Open a file that has all parts.

    Raises:
        InputError: it has a transformer of a family whose other parts come from elsewhere, or no known layout.
    """
    layouts = {name: layout for family in BASES.values() for name, layout in family.layouts.items()}
    try:
        return SingleFile(path, layouts, tokenizer=tokenizer, prediction_type=prediction_type, needs_vae=needs_vae)
    except UnknownLayoutError as error:
        families = _families_of_transformer(StoredWeights(path))
        if not families:
            known = ", ".join(name for name, family in BASES.items() if family.denoiser == "transformer")
            raise InputError(f"{error} A transformer alone is read with `components`, of {known}.") from error
    layout = families[0].transformer_file
    assert layout is not None
    raise InputError(
        f"Base `{path}` has a transformer of {families[0].models} and not all other parts. Pass `components`, a folder "
        f"in the diffusers layout or a hub name that has them, such as `{layout.published}`."
    )


def _open_transformer_file(path: Path, components: str | Path) -> tuple[ModelFiles, Family]:
    """Open a file with a transformer.

    Raises:
        InputError: the components are of a family without one, or of another than the file.
    """
    folder = find_components(components)
    family = _match_family(DiffusersFolder(folder), components)
    if family.denoiser != "transformer":
        raise InputError(
            f"Argument `components` must be a model with a transformer, but `{components}` is a {family.name}, whose "
            "single files have all parts."
        )
    weights = StoredWeights(path)
    own = _families_of_transformer(weights)
    if own and family not in own:
        raise InputError(f"Base `{path}` has a transformer of {own[0].name}, but `{components}` is a {family.name}.")
    return TransformerFile(weights, folder, family.transformer_file, family.name), family


def _families_of_transformer(weights: StoredWeights) -> list[Family]:
    """The families whose names a file's transformer has, the most particular first."""
    prefix = transformer_prefix(weights.shapes)
    names = {name.removeprefix(prefix) for name in weights.shapes}
    layouts = {each: each.transformer_file for each in BASES.values() if each.transformer_file is not None}
    matching = [family for family, layout in layouts.items() if layout.matches(names)]
    return sorted(matching, key=lambda family: len(layouts[family].marks), reverse=True)
