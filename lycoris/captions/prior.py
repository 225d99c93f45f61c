"""Captions of prior images, which show a concept's class in general: "a dog" beside "a sks dog"."""

from __future__ import annotations

from dataclasses import replace

from lycoris.captions.sidecar import Sidecars
from lycoris.captions.templates import Templates
from lycoris.captions.trigger_text import fill_trigger, with_description
from lycoris.data.concepts import Concept
from lycoris.errors import InputError


def prior_captions(concept: Concept, templates: Templates) -> list[str]:
    """Build the captions of a concept's prior images: that in a file beside one, or else the words for its class.

    Raises:
        InputError: a caption has the concept's trigger, so that it would not preserve anything.
    """
    if not concept.prior_images:
        return []
    own = templates.for_concept(concept)
    sidecars = Sidecars.read([image.path for image in concept.prior_images], concept.images[0].root)
    captions = []
    for image in concept.prior_images:
        written = sidecars.sentences(image.path)
        named = replace(concept, description=image.words, subclasses=())
        caption = fill_trigger(concept, written[0]) if written else with_description(named, None, own.opening, own)
        if concept.trigger.casefold() in caption.casefold().split():
            raise InputError(
                f"The caption of the prior image `{image.path}` must not have the trigger `{concept.trigger}`, but is "
                f"`{caption}`."
            )
        captions.append(caption)
    return captions
