"""What a registered model carries, so that it loads in an environment of its own: pinned requirements, code."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import lycoris
from lycoris.pocket import EMBEDDED_BASES

REQUIRED_PACKAGES = (
    "accelerate", "diffusers", "fsspec", "filelock", "huggingface-hub", "jaxtyping", "mlflow", "numpy", "pandas",
    "pillow", "pyyaml", "safetensors", "scipy", "tokenizers", "torch", "transformers",
)  # fmt: skip
"""Distributions that loading an adapter and generating with it need."""
EXCLUDED_FOLDERS = ("report", "pocket/training", "pocket/weights", "pocket/images")
"""Parts of the library that a registered model does not need; the embedded base comes with the package only."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


@lru_cache
def pinned_requirements(names: Sequence[str] = REQUIRED_PACKAGES) -> tuple[str, ...]:
    """Distributions with the versions of this environment, as pip installs them.

    A local version, such as ``+cpu``, is left out: no index has it.
    """
    pinned = []
    for name in names:
        try:
            pinned.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError:  # not needed by what is installed here
            continue
    return tuple(pinned)


def required_packages(precision: Mapping[str, str]) -> tuple[str, ...]:
    """`REQUIRED_PACKAGES`, and those that compute with the base's weights.

    Args:
        precision: as `lycoris.bases.open_base` takes it.
    """
    from lycoris.bases.quantization import Precisions

    return (*REQUIRED_PACKAGES, *Precisions.of(precision).packages)


@lru_cache
def code_archive() -> bytes:
    """The library's code as a ZIP file that Python imports from; the same code gives the same bytes."""
    root = Path(lycoris.__file__).parent
    excluded = tuple(root / folder for folder in EXCLUDED_FOLDERS)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*.py")):
            if not any(file.is_relative_to(folder) for folder in excluded):
                name = file.relative_to(root.parent).as_posix()
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), file.read_bytes(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def absolute_base(source: str) -> str:
    """A base's source that means the same in every working folder: paths are absolute, names stay as they are."""
    path = Path(source).expanduser()
    return str(path.resolve()) if source not in EMBEDDED_BASES and path.exists() else source
