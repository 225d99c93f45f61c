"""The default sentences of captions and prompts: for the pocket's small vocabulary, and for full-size bases.

They cover the five categories of arXiv 2309.14859; any other category uses the sentences for objects.
"""

from __future__ import annotations

from lycoris.captions.templates import STYLE_CATEGORY, CategoryTemplates, Templates
from lycoris.pocket import EMBEDDED_BASES

_FIGURE_CATEGORIES = ("anime_characters", "movie_characters", "stuffed_toys")


def _concept_first(*settings: str) -> tuple[str, ...]:
    return tuple(f"{{concept}} {setting}" for setting in settings)


def _templates(
    figure: tuple[str, ...],
    thing: tuple[str, ...],
    place: tuple[str, ...],
    content: tuple[str, ...],
    styles: tuple[str, ...],
) -> Templates:
    """Build the templates of every category; ``{}`` in `styles` stands for the subject."""
    in_styles = tuple(style.format("{concept}") for style in styles)
    figures = CategoryTemplates(situations=figure, styles=in_styles)
    style_concepts = CategoryTemplates(
        subject="{name}",
        description="{description}",
        opening="a picture in {concept}",
        situations=tuple(f"{subject}, {{concept}}" for subject in content),
        styles=tuple(f"{style.format(subject)}, {{concept}}" for style, subject in zip(styles, content, strict=False)),
    )
    return Templates(
        default=CategoryTemplates(situations=thing, styles=in_styles),
        categories={
            **dict.fromkeys(_FIGURE_CATEGORIES, figures),
            "scenes": CategoryTemplates(situations=place, styles=in_styles),
            STYLE_CATEGORY: style_concepts,
        },
    )


POCKET_TEMPLATES = _templates(
    figure=_concept_first(
        "wearing a hat on a beach",
        "wearing a scarf in the snow",
        "wearing glasses in a city",
        "under a night sky",
        "wearing a bow in a forest",
        "wearing glasses in a meadow",
        "wearing a hat in a room",
        "in the snow",
        "wearing a bow on a beach",
        "wearing a scarf under a night sky",
    ),
    thing=_concept_first(
        "on a beach",
        "in the snow",
        "in a city",
        "under a night sky",
        "in a forest",
        "in a meadow",
        "in a room",
        "on a plain background",
        "with a hat in the snow",
        "with a bow on a beach",
    ),
    place=(
        "a red cat in front of {concept}",
        "{concept} in the snow",
        "a white bunny wearing a scarf in front of {concept}",
        "{concept} under a night sky",
        "a blue robot in front of {concept}",
        "a yellow bird wearing a hat in front of {concept}",
        "{concept}, pixel style",
        "a green frog wearing glasses in front of {concept}",
        "a purple bear in front of {concept}",
        "a pink penguin in front of {concept}, comic style",
    ),
    content=(
        "a red cat on a beach",
        "a blue robot wearing a hat in a city",
        "a white bunny in the snow",
        "a yellow car under a night sky",
        "a green frog wearing glasses in a forest",
        "a pink flower in a meadow",
        "a purple bear wearing a scarf in a room",
        "an orange fish on a plain background",
        "a blue bird wearing a bow in a forest",
        "a red house in the snow",
    ),
    styles=("{}, flat style", "{}, comic style", "{}, pixel style", "{}, pencil style", "{}, pastel style"),
)

FULL_SIZE_TEMPLATES = _templates(
    figure=_concept_first(
        "walking on a beach at sunset",
        "wearing a red scarf in a snowy mountain village",
        "reading a book in a library",
        "riding a bicycle through a busy city street",
        "in a space suit on the moon",
        "holding an umbrella in the rain",
        "sitting at a table in a cafe",
        "wearing a straw hat in a field of sunflowers",
        "swimming under water among fish",
        "standing in front of the Eiffel Tower",
    ),
    thing=_concept_first(
        "on a sandy beach",
        "in the snow",
        "on a wooden table in a kitchen",
        "in a busy city street at night",
        "on a rock in a forest",
        "in a field of sunflowers",
        "floating on a lake",
        "on a bed with white sheets",
        "in front of the Eiffel Tower",
        "with mountains in the background",
    ),
    place=(
        "{concept} in heavy snow",
        "{concept} at night under the stars",
        "a dog running in front of {concept}",
        "{concept} in a thunderstorm",
        "a red sports car parked at {concept}",
        "{concept} in autumn, orange leaves",
        "a couple with an umbrella at {concept}",
        "{concept} at sunrise in the fog",
        "a hot air balloon above {concept}",
        "{concept} crowded with people at a festival",
    ),
    content=(
        "a cat sleeping on a sofa",
        "a lighthouse in a storm",
        "a woman in a red dress",
        "a city street at night",
        "a bowl of fruit on a table",
        "a horse galloping over a field",
        "a sailing boat at sunset",
        "an old man with a beard",
        "a robot in a garden",
        "a mountain lake in winter",
    ),
    styles=(
        "an oil painting of {}",
        "a watercolor painting of {}",
        "a pencil sketch of {}",
        "a pixel art picture of {}",
        "a comic book panel of {}",
    ),
)


def templates_for_base(base: str = "pocket") -> Templates:
    """Return the templates that a base understands: the small vocabulary of an embedded one, or full-size sentences."""
    return POCKET_TEMPLATES if str(base) in EMBEDDED_BASES else FULL_SIZE_TEMPLATES
