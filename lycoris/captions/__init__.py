"""From pictures to texts: tags, what of them belongs to the concept, captions, and prompts that follow."""

from lycoris.captions.concept_tags import ConceptTag, find_concept_tags
from lycoris.captions.default_templates import templates_for_base
from lycoris.captions.prompt_file import read_captioned_images, read_prompts
from lycoris.captions.prompts import PromptSpec, build_prompts
from lycoris.captions.sidecar import read_sidecar_sentences, read_sidecar_tags
from lycoris.captions.strategies import STRATEGY_FUNCTIONS, build_captions
from lycoris.captions.taggers.captioner import Captioner, captioner_digest, open_captioner
from lycoris.captions.taggers.tagger import Tagger, open_tagger, tagger_digest
from lycoris.captions.templates import CategoryTemplates, Templates, read_templates
from lycoris.terms import PROMPT_TYPES

__all__ = [
    "PROMPT_TYPES",
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
