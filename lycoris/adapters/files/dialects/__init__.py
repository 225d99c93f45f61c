"""The dialects of adapter files: one table of who writes what."""

from __future__ import annotations

from lycoris.adapters.files.dialects.ai_toolkit import AI_TOOLKIT
from lycoris.adapters.files.dialects.comfyui import COMFYUI
from lycoris.adapters.files.dialects.dialect import Dialect
from lycoris.adapters.files.dialects.diffusers import DIFFUSERS, OLD_DIFFUSERS
from lycoris.adapters.files.dialects.flux_authors import BFL, XLABS
from lycoris.adapters.files.dialects.kohya import KOHYA
from lycoris.adapters.files.dialects.lycoris import LYCORIS
from lycoris.adapters.files.dialects.onetrainer import ONETRAINER
from lycoris.adapters.files.dialects.peft import PEFT

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (*(KOHYA, LYCORIS, XLABS, BFL, OLD_DIFFUSERS, PEFT, COMFYUI, ONETRAINER, DIFFUSERS, AI_TOOLKIT),)
}
"""Every dialect, by name. A key that several could have written is of the first."""
