"""Files beside an adapter that A1111, Forge, Civitai's helpers and the LoRA managers of ComfyUI read.

``NAME.json`` is A1111's and Forge's user metadata; ``NAME.civitai.info`` a model version as Civitai's interface returns
it, without the numbers that only Civitai gives; ``NAME.preview.png`` the image that all of them show. ComfyUI's LoRA
Manager makes its own ``NAME.metadata.json``, which holds absolute paths, from ``NAME.civitai.info``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lycoris.publishing.record import Publication

A1111_VERSIONS = {"sd_v1": "SD1", "sd_v2": "SD2", "sdxl": "SDXL", "sd3": "SD3"}
"""Start of kohya's `ss_base_model_version` -> A1111's name; any other is ``Unknown``."""
CIVITAI_BASES = {
    "sd_v1": "SD 1.5",
    "sd_v2": "SD 2.1",
    "sdxl": "SDXL 1.0",
    "sd3m": "SD 3",
    "flux1": "Flux.1 D",
    "auraflow": "AuraFlow",
}
"""The same -> Civitai's name; any other is ``Other``."""


def sidecar_texts(publication: Publication, file: Path) -> dict[str, str]:
    """Name -> text of the sidecars of an adapter file.

    Args:
        file: the adapter file, whose size is recorded.
    """
    values = {"json": a1111_metadata(publication), "civitai.info": civitai_info(publication, file.stat().st_size)}
    return {
        f"{publication.name}.{ending}": f"{json.dumps(value, indent=2, ensure_ascii=False)}\n"
        for ending, value in values.items()
    }


def a1111_metadata(publication: Publication) -> dict[str, Any]:
    """User metadata as A1111's editor saves it."""
    return {
        "description": _description(publication),
        "sd version": _by_start(A1111_VERSIONS, publication, "Unknown"),
        "activation text": publication.trigger or "",
        "preferred weight": publication.strength.value,
        "negative text": "",
        "notes": f"Strength {publication.strength.value:g}: {publication.strength.origin}. See README.md.",
    }


def civitai_info(publication: Publication, size: int) -> dict[str, Any]:
    """A model version in the form of Civitai's interface.

    Args:
        size: bytes of the adapter file.
    """
    algorithm = publication.algorithm.partition(" ")[0]
    return {
        "id": None,
        "modelId": None,
        "name": f"version {publication.version}",
        "description": _description(publication),
        "baseModel": _by_start(CIVITAI_BASES, publication, "Other"),
        "trainedWords": [publication.trigger] if publication.trigger else [],
        "model": {
            "name": publication.concept,
            "type": "LORA" if algorithm == "lora" else "LoCon",  # Civitai's name of all other algorithms
            "description": _description(publication),
            "tags": [],
        },
        "files": [
            {
                "name": publication.file,
                "type": "Model",
                "primary": True,
                "sizeKB": size / 1024,
                "metadata": {"format": "SafeTensor"},
                "hashes": {"SHA256": publication.sha256.upper()},
            }
        ],
        "images": [{"url": image.path, "type": "image"} for image in publication.images],
    }


def _description(publication: Publication) -> str:
    base = publication.base.hub_name or publication.base.description
    return f"{publication.concept}: {publication.algorithm}, for {base}"


def _by_start(names: dict[str, str], publication: Publication, otherwise: str) -> str:
    version = publication.base.version or ""
    return next((name for start, name in names.items() if version.startswith(start)), otherwise)
