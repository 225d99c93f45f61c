"""The table of base model families."""

from lycoris.bases.families.auraflow import AURAFLOW
from lycoris.bases.families.chroma import CHROMA
from lycoris.bases.families.ernie_image import ERNIE_IMAGE
from lycoris.bases.families.family import Family
from lycoris.bases.families.flux_1 import FLUX_1
from lycoris.bases.families.flux_2 import FLUX_2_DEV, FLUX_2_KLEIN
from lycoris.bases.families.hidream import HIDREAM
from lycoris.bases.families.ideogram_4 import IDEOGRAM_4
from lycoris.bases.families.krea_2 import KREA_2
from lycoris.bases.families.lumina_2 import LUMINA_2
from lycoris.bases.families.qwen_image import QWEN_IMAGE
from lycoris.bases.families.sana import SANA
from lycoris.bases.families.stable_diffusion import STABLE_DIFFUSION
from lycoris.bases.families.stable_diffusion_3 import STABLE_DIFFUSION_3
from lycoris.bases.families.stable_diffusion_xl import STABLE_DIFFUSION_XL
from lycoris.bases.families.wan import WAN
from lycoris.bases.families.z_image import Z_IMAGE

BASES: dict[str, Family] = {
    family.name: family
    for family in (
        STABLE_DIFFUSION,
        STABLE_DIFFUSION_XL,
        STABLE_DIFFUSION_3,
        FLUX_2_KLEIN,
        FLUX_2_DEV,
        Z_IMAGE,
        QWEN_IMAGE,
        FLUX_1,
        CHROMA,
        KREA_2,
        ERNIE_IMAGE,
        IDEOGRAM_4,
        LUMINA_2,
        HIDREAM,
        SANA,
        AURAFLOW,
        WAN,
    )
}
"""Families by name; the first that matches a base's files opens it."""
