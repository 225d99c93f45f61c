"""Which images lack the captions that a strategy needs, and what the user should know about those that they brought."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from lycoris.captions.sidecar import Sidecars
from lycoris.errors import InputError
from lycoris.terms import SENTENCE_STRATEGIES, TAGGED_STRATEGIES

TAGGER_HINT = "SmilingWolf/wd-vit-tagger-v3"
CAPTIONER_HINT = "florence-community/Florence-2-base"


def check_coverage(
    name: str,
    images: Sequence[Path],
    sidecars: Sidecars,
    strategies: Collection[str],
    *,
    tagger: str | None,
    captioner: str | None,
) -> None:
    """Check that every image has the captions that the strategies need, from a file or from a model.

    Args:
        name: of the concept.
        images: of the concept.
        sidecars: the captions in files.
        strategies: of the captions.
        tagger: its source; None for none.
        captioner: its source; None for none.

    Raises:
        InputError: an image has none; the message says what can be done.
    """
    needs = [
        (tagger, TAGGED_STRATEGIES, "tagger", f"set `tagger` (such as {TAGGER_HINT})"),
        (captioner, SENTENCE_STRATEGIES, "captioner", f"set `captioner` (such as {CAPTIONER_HINT}, or a Qwen-VL)"),
    ]
    for source, needing, role, remedy in needs:
        needed = [strategy for strategy in strategies if strategy in needing]
        if not needed or source not in (None, "sidecar"):
            continue
        missing = [image for image in images if sidecars.tags(image) is None]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(images)} images of `{name}` have no caption, such as `{missing[0]}`, but "
                f"`captions: {', '.join(needed)}` needs one for each, and there is no {role} to write it: write "
                f"`{missing[0].stem}.txt` beside it (docs/captions.md lists the forms), {remedy}, or set "
                "`captions: none`. The embedded models know the drawn world only, and are the default on the base "
                "`pocket` alone."
            )


def coverage_notes(
    name: str,
    images: Sequence[Path],
    sidecars: Sidecars,
    strategies: Collection[str],
    *,
    tagger: str | None,
    captioner: str | None,
) -> list[str]:
    """Say how the captions that the user brought are used; see `check_coverage` for the arguments."""
    total = f"of {len(images)} images of `{name}`"
    own = [image for image in images if sidecars.tags(image) is not None]
    notes = []
    if own and not TAGGED_STRATEGIES.union(SENTENCE_STRATEGIES).intersection(strategies):
        return [f"{len(own)} {total} have captions, which `captions: {', '.join(strategies)}` does not use."]
    if own and TAGGED_STRATEGIES.intersection(strategies) and tagger not in (None, "sidecar"):
        notes.append(
            f"{len(own)} {total} have tags in a text file beside them, which override those of the tagger `{tagger}`."
        )
    if SENTENCE_STRATEGIES.intersection(strategies) and captioner not in (None, "sidecar"):
        kept = [image for image in own if sidecars.has_sentence(image)]
        if kept:
            notes.append(f"{len(kept)} {total} have a sentence of yours, which replaces the captioner's.")
        if len(kept) < len(own) and not TAGGED_STRATEGIES.intersection(strategies):
            notes.append(
                f"{len(own) - len(kept)} {total} have a text file that counts as tags, which `captions: "
                f"{', '.join(strategies)}` does not use with the captioner `{captioner}`; set `captioner: sidecar` to "
                "use it as a sentence."
            )
    several = [image for image in own if len(sidecars.tags(image) or ()) > 1]
    if several:
        notes.append(f"{len(several)} {total} have several captions; each step draws one of them.")
    files = {source.file for image in own for source in sidecars.of(image)}
    weighted = files.intersection(sidecars.weighted)
    if weighted:
        notes.append(
            f"Weights such as `(hat:1.2)` are not used in training and were removed from {len(weighted)} caption files "
            f"of `{name}`, such as `{min(weighted)}`."
        )
    if wild := files.intersection(sidecars.with_wildcards):
        notes.append(
            f"Wildcards such as `__color__` are not replaced: {len(wild)} caption files of `{name}` have some as text, "
            f"such as `{min(wild)}`. Write `{{red|blue}}` for alternatives."
        )
    return notes
