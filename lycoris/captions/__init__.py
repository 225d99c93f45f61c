"""From pictures to texts: tags, what of them belongs to the concept, captions, and prompts that follow."""

from lycoris.captions.concept_tags import Inherent, inherent_tags
from lycoris.captions.default_templates import default_templates
from lycoris.captions.prompt_file import read_pictures, read_prompts
from lycoris.captions.prompts import PROMPT_TYPES, Prompt, prompts
from lycoris.captions.sidecar import sidecar_sentences, sidecar_tags
from lycoris.captions.strategies import STRATEGIES, caption
from lycoris.captions.taggers.captioner import Captioner, captioner_digest, open_captioner
from lycoris.captions.taggers.tagger import Tagger, open_tagger, tagger_digest
from lycoris.captions.templates import Templates, Wording, read_templates

__all__ = [
    "PROMPT_TYPES",
    "STRATEGIES",
    "Captioner",
    "Inherent",
    "Prompt",
    "Tagger",
    "Templates",
    "Wording",
    "caption",
    "captioner_digest",
    "default_templates",
    "inherent_tags",
    "open_captioner",
    "open_tagger",
    "prompts",
    "read_pictures",
    "read_prompts",
    "read_templates",
    "sidecar_sentences",
    "sidecar_tags",
    "tagger_digest",
]
