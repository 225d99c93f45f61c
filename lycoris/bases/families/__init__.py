"""The table of base model families."""

from lycoris.bases.families.auraflow import AuraFlow
from lycoris.bases.families.family import Family
from lycoris.bases.families.stable_diffusion import StableDiffusion
from lycoris.bases.families.stable_diffusion_3 import StableDiffusion3
from lycoris.bases.families.stable_diffusion_xl import StableDiffusionXL

BASES: dict[str, type[Family]] = {
    StableDiffusion.name: StableDiffusion,
    StableDiffusionXL.name: StableDiffusionXL,
    StableDiffusion3.name: StableDiffusion3,
    AuraFlow.name: AuraFlow,
}
"""Families by name; the first that matches a base's files opens it."""
