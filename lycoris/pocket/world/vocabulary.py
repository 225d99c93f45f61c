"""Attributes and tags of the pocket world, its captions, and a tokenizer for its words."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

SPECIES = (
    "cat", "bear", "bunny", "robot", "fish", "bird", "penguin", "frog", "car", "house", "flower", "mushroom",
)  # fmt: skip
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
ACCESSORIES = ("hat", "scarf", "glasses", "bow")
BACKGROUNDS = ("meadow", "beach", "night", "city", "room", "snow", "forest", "plain")
STYLES = ("flat", "comic", "pixel", "pencil", "pastel")
DETAILS = (
    "horns", "droopy ears", "antenna", "wings", "spotted", "striped", "heart", "star", "mask", "patch",
    "two colored",
)  # fmt: skip

BACKGROUND_PHRASES = {
    "meadow": "in a meadow",
    "beach": "on a beach",
    "night": "under a night sky",
    "city": "in a city",
    "room": "in a room",
    "snow": "in the snow",
    "forest": "in a forest",
    "plain": "on a plain background",
}
ACCESSORY_PHRASES = {
    "hat": "wearing a hat",
    "scarf": "wearing a scarf",
    "glasses": "wearing glasses",
    "bow": "wearing a bow",
}

TRIGGERS = (
    "sks", "zwx", "ohw", "qtv", "vjk", "xbp", "fyq", "wzu", "kqj", "pvx", "bqz", "cvx",
    "dzk",
)  # fmt: skip
"""Rare tokens used by the embedded concepts."""
SPARE_TRIGGERS = (
    "gqp", "hxv", "kzw", "lqx", "nvz", "pqk", "rzx", "tqj", "uvq", "vwx", "wqz", "xkq", "yzv", "zqb", "qxg", "jzp",
    "vqd", "fxk", "bvj", "zkq", "mxz", "jqw",
)  # fmt: skip
"""Rare tokens reserved for a user's own concepts."""

_GRAMMAR_WORDS = "a an the of in on under at with wearing and to by from near its is , . - !"
_TEMPLATE_WORDS = """style photo image picture drawing painting illustration sketch art portrait view scene
background sky jumping sleeping standing sitting running walking dancing swimming flying eating reading
playing happy sad smiling garden mountain desert cave river lake street park kitchen bed grass sunset
sunrise rain winter summer spring autumn watercolor oil neon mosaic stained glass cartoon anime movie
minimal sticker poster line ink realistic cute beautiful colorful dark bright big small little large left
right top front behind two one three many close up holding"""
_OBJECT_WORDS = """toy plush character place creature animal person girl boy monster alien doll stuffed
castle lighthouse volcano island moon tower tent bridge water sea fire tree sun cloud star heart hair
eyes eye ears ear tail wings horns antenna nose trunk tentacles face belly patch mask cape dress uniform
armor shirt coat robe outfit wand sword crown helmet red white droopy long round pointy spiky twin tails
striped stripes spotted spots colored half black gray brown teal gold silver cyan candy tiles lines blue
pink octopus elephant fox dog duck dragon ghost wizard knight princess ninja pirate backpack teapot can
vase clock boots candle berry bowl sneaker sunglasses school magic uniform dots frosting"""

WORDS = tuple(
    dict.fromkeys(
        [
            *_GRAMMAR_WORDS.split(),
            *SPECIES,
            *COLOURS,
            "none",
            *ACCESSORIES,
            *BACKGROUNDS,
            *STYLES,
            *_TEMPLATE_WORDS.split(),
            *_OBJECT_WORDS.split(),
            *TRIGGERS,
            *SPARE_TRIGGERS,
        ]
    )
)
"""Words that are single tokens; other text is split into parts of these words and into letters."""

MAX_TOKENS = 32


@dataclass(frozen=True)
class Tags:
    """Attributes of one image; `None` where an attribute does not apply or is not visible."""

    species: str | None
    colour: str | None
    accessory: str | None
    background: str | None
    style: str | None

    def to_list(self) -> list[str]:
        """The tags as a tagger writes them, species first."""
        style = f"{self.style} style" if self.style else None
        return [tag for tag in (self.species, self.colour, self.accessory, self.background, style) if tag]


def to_sentence(
    tags: Tags, rng: random.Random | None = None, drop_rate: float = 0.0, subject: str | None = None
) -> str:
    """Describe an image in one sentence.

    Args:
        tags: attributes of the image.
        rng: source of randomness for dropping attributes; `None` drops none.
        drop_rate: probability of dropping each attribute except the species, in [0, 1].
        subject: words used in place of the species.

    Returns:
        A caption such as "a red cat wearing a hat on a beach, pixel style".
    """

    def keep(attribute: str | None) -> bool:
        return attribute is not None and (rng is None or rng.random() >= drop_rate)

    words = ["a", subject or tags.species or "scene"]
    if keep(tags.colour):
        words.insert(1, str(tags.colour))
    if keep(tags.accessory):
        words.append(ACCESSORY_PHRASES[str(tags.accessory)])
    if keep(tags.background):
        words.append(BACKGROUND_PHRASES[str(tags.background)])
    text = " ".join(words)
    if words[1][0] in "aeiou":
        text = text.replace("a ", "an ", 1)
    return f"{text}, {tags.style} style" if keep(tags.style) else text


def to_tag_list(tags: Tags, rng: random.Random | None = None, drop_rate: float = 0.0) -> str:
    """Describe an image by its tags; with a generator they are shuffled and each is dropped with `drop_rate`.

    Returns:
        A caption such as "cat, red, hat, beach, pixel style".
    """
    words = tags.to_list()
    if rng is not None:
        words = [tag for tag in words if rng.random() >= drop_rate]
        rng.shuffle(words)
    return ", ".join(words)


_WORD_END = "</w>"


def _byte_pair_merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Byte-pair merges that make each word one token: the most frequent pair first, ties in alphabetical order."""
    pieces = [[*word[:-1], word[-1] + _WORD_END] for word in words]
    merges = []
    while pairs := Counter(pair for word in pieces for pair in pairwise(word)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for index, word in enumerate(pieces):
            if best[0] not in word:
                continue
            merged: list[str] = []
            for piece in word:
                if merged and (merged[-1], piece) == best:
                    merged[-1] += piece
                else:
                    merged.append(piece)
            pieces[index] = merged
    return merges


def build_tokenizer() -> CLIPTokenizer:
    """Build the CLIP byte-pair tokenizer in which each of `WORDS` is one token; the result is deterministic."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _byte_pair_merges(WORDS)
    pieces = [*letters, *(letter + _WORD_END for letter in letters), *(first + second for first, second in merges)]
    pieces = list(dict.fromkeys([*pieces, "<|startoftext|>", "<|endoftext|>"]))
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)
