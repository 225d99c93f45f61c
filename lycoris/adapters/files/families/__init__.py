"""Families of denoisers, as files know them."""

from __future__ import annotations

from lycoris.adapters.files.families.family import Family
from lycoris.adapters.files.families.family import OriginalRows as OriginalRows
from lycoris.adapters.files.families.flux import CHROMA, FLUX_1, FLUX_2
from lycoris.adapters.files.families.krea2 import KREA_2
from lycoris.adapters.files.families.others import AURAFLOW, ERNIE_IMAGE, HIDREAM, IDEOGRAM_4, QWEN_IMAGE, SANA, WAN
from lycoris.adapters.files.families.sd3 import SD_3
from lycoris.adapters.files.families.unet import SD_1, SD_2, SD_XL
from lycoris.adapters.files.families.z_image import LUMINA_2, Z_IMAGE

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        *(SD_1, SD_2, SD_XL, SD_3, FLUX_1, FLUX_2, CHROMA, QWEN_IMAGE, Z_IMAGE, LUMINA_2, KREA_2),
        *(HIDREAM, IDEOGRAM_4, ERNIE_IMAGE, SANA, AURAFLOW, WAN),
    )
}
"""Every family, by name."""


def family_of_class(name: str) -> Family | None:
    """Return the family of a transformer class of diffusers; None where it is not in the table."""
    return next((family for family in FAMILIES.values() if name in family.class_names), None)


def family_of_architecture(architecture: str) -> Family | None:
    """Return the family that a header names in `modelspec.architecture`; None where it is not in the table."""
    name = architecture.partition("/")[0].lower()
    return next((family for family in FAMILIES.values() if family.architecture.lower() == name), None)
