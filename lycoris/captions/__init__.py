"""Captions and prompts: tags of images, the tags that define a concept, training captions, and prompts to generate."""

from lycoris.captions.concept_tags import ConceptTag, find_concept_tags
from lycoris.captions.default_templates import templates_for_base
from lycoris.captions.prompt_file import read_captioned_images, read_prompts
from lycoris.captions.prompts import build_prompts
from lycoris.captions.sidecar import read_sidecar_sentences, read_sidecar_tags
from lycoris.captions.strategies import STRATEGY_FUNCTIONS, build_captions
from lycoris.captions.taggers.captioner import (
    Captioner,
    captioner_digest,
    captioner_prompt,
    check_captioner,
    open_captioner,
)
from lycoris.captions.taggers.tagger import Tagger, open_tagger, tagger_digest
from lycoris.captions.templates import CategoryTemplates, Templates, read_templates
from lycoris.data.prompt_spec import PromptSpec

__all__ = [
    "STRATEGY_FUNCTIONS",
    "Captioner",
    "CategoryTemplates",
    "ConceptTag",
    "PromptSpec",
    "Tagger",
    "Templates",
    "build_captions",
    "build_prompts",
    "captioner_digest",
    "captioner_prompt",
    "check_captioner",
    "find_concept_tags",
    "open_captioner",
    "open_tagger",
    "read_captioned_images",
    "read_prompts",
    "read_sidecar_sentences",
    "read_sidecar_tags",
    "read_templates",
    "tagger_digest",
    "templates_for_base",
]
