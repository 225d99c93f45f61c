"""The model card of a published adapter, with the metadata that the Hugging Face hub reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lycoris.metrics.score import ScoreRecord
from lycoris.publishing.record import DIFFUSERS_FILE, SCORES_FILE, Publication
from lycoris.terms import HEADLINE_SCORES

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

TASK = "text-to-image"


def build_card(publication: Publication) -> str:
    """The card as Markdown with YAML metadata, parsed again by huggingface_hub.

    Raises:
        ValueError: huggingface_hub does not accept the metadata.
    """
    from huggingface_hub import ModelCard

    metadata = build_metadata(publication).to_yaml(line_break="\n")
    text = "\n".join(_body(publication)).rstrip()
    return f"{ModelCard(f'---{chr(10)}{metadata}{chr(10)}---{chr(10)}{chr(10)}{text}').content}\n"


def build_metadata(publication: Publication) -> ModelCardData:
    """The metadata; a licence, a base and a trigger are in it only where they are known."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type=TASK,
            dataset_type="private",
            dataset_name=f"{publication.concept}, data version {publication.data_version or 'not recorded'}",
            metric_type=str(score["name"]).partition("/")[0],
            metric_name=str(score["name"]),
            metric_value=score["value"],
        )
        for score in _headline_scores(publication.scores)
    ]
    widget = [{"text": image.prompt, "output": {"url": image.path}} for image in publication.images]
    known: dict[str, Any] = {"instance_prompt": publication.trigger, "widget": widget or None}
    return ModelCardData(
        base_model=publication.base.hub_name,
        license=publication.license,
        library_name="diffusers" if publication.diffusers_note else None,
        pipeline_tag=TASK,
        tags=[TASK, "lora", "lycoris", *(["diffusers"] if publication.diffusers_note else [])],
        model_name=publication.concept if results else None,
        eval_results=results or None,
        **{name: value for name, value in known.items() if value is not None},
    )


def _headline_scores(scores: Sequence[ScoreRecord]) -> list[ScoreRecord]:
    """Of each dimension the scores that stand for it, one for each encoder."""
    return [
        score
        for headline in HEADLINE_SCORES.values()
        for score in scores
        if str(score["name"]).startswith(f"{headline}/") and score.get("value") is not None
    ]


def _body(publication: Publication) -> Iterator[str]:
    yield from (f"# {_plain(publication.concept)}", "")
    algorithm = publication.algorithm.partition(" ")[0]
    base = publication.base
    on = f"[{base.hub_name}](https://huggingface.co/{base.hub_name})" if base.hub_name else _plain(base.description)
    yield from (f"An adapter ({_plain(algorithm)}) that generates {_plain(publication.concept)}, for {on}.", "")
    yield from _sample_images(publication)
    yield from _use(publication)
    yield from _scores(publication)
    yield from _training(publication)
    yield from ("## Licence", "")
    yield f"- adapter: {_known(publication.license, 'not stated by the publisher')}"
    yield f"- base model: {_known(base.license, 'not stated here; its own terms apply')}"


def _sample_images(publication: Publication) -> Iterator[str]:
    if not publication.images:
        return
    strength = f"{publication.strength.value:g}"
    yield from ("| image | prompt | seed |", "|---|---|---|")
    for image in publication.images:
        yield f"| ![{_plain(image.prompt)}]({image.path}) | {_code(image.prompt)} | {image.seed} |"
    yield from ("", f"Generated at strength {strength}, unselected.", "")


def _use(publication: Publication) -> Iterator[str]:
    strength, stem = publication.strength, publication.name
    prompt = publication.prompt or "a prompt with the trigger"
    yield from ("## Use", "")
    yield f"- trigger: {_known(publication.trigger, 'not recorded')}"
    yield f"- recommended strength: {strength.value:g} ({_plain(strength.origin)})"
    yield f"- ComfyUI: copy `{publication.file}` to `models/loras`, add the node Load LoRA, write {_code(prompt)}"
    yield f"- A1111, Forge: copy it to `models/Lora`, write {_code(f'<lora:{stem}:{strength.value:g}> {prompt}')}"
    if publication.diffusers_note:
        yield f"- diffusers: `pipeline.load_lora_weights(FOLDER)`, which reads `{DIFFUSERS_FILE}`"
        yield f"  ({_plain(publication.diffusers_note)})"
    yield from (f'- lycoris: `lycoris.load("{publication.file}", pipeline)`', "")


def _scores(publication: Publication) -> Iterator[str]:
    scores = _headline_scores(publication.scores)
    if not scores:
        return
    yield from (
        "## Scores",
        "",
        "| dimension | score | value | base alone | difference | |",
        "|---|---|---|---|---|---|",
    )
    for score in scores:
        value = _number(score.get("value"), score.get("low"), score.get("high"))
        base = _number(score.get("base"), score.get("base_low"), score.get("base_high"))
        difference = _number(score.get("difference"), score.get("difference_low"), score.get("difference_high"))
        better = "higher is better" if score.get("higher_is_better", True) else "lower is better"
        yield f"| {score.get('dimension', '')} | {score['name']} | {value} | {base} | {difference} | {better} |"
    yield from ("", f"In brackets: 95 % intervals over prompts and seeds. All scores: `{SCORES_FILE}`.", "")


def _training(publication: Publication) -> Iterator[str]:
    yield from ("## Training", "")
    yield f"- setting: {_code(publication.algorithm)}, captions {_code(publication.strategy)}, seed {publication.seed}"
    if publication.settings:
        yield f"- options: {_code(json.dumps(publication.settings, sort_keys=True))}"
    yield f"- version of the training data: {_known(publication.data_version, 'not recorded')}"
    if publication.base.digest:
        yield f"- hash of the base's files: {_code(publication.base.digest)}"
    yield from (f"- version in the publisher's registry: {publication.version}", "")
    yield f"SHA-256 of `{publication.file}`: `{publication.sha256}`"
    yield ""


def _number(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _known(value: str | None, otherwise: str) -> str:
    return otherwise if value is None else _code(value)


def _code(text: str) -> str:
    """A text as code; it keeps its characters, but for line breaks, bars of tables and backticks."""
    return f"`{' '.join(text.split()).replace('|', '¦').replace('`', chr(39))}`"


def _plain(text: str) -> str:
    """A text whose characters mean nothing in Markdown and HTML."""
    return re.sub(r"([\\`*_{}\[\]<>()#|!&])", r"\\\1", " ".join(text.split()))
