"""A study: a question, the runs that answer it, and what they say, from one short file in ``studies/``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.experiment import Experiment, changed, count, parse
from lycoris.analysis.effects import FACTORS
from lycoris.errors import InputError, unknown
from lycoris.plain_yaml import read_yaml

STUDIES = Path(__file__).resolve().parent.parent / "studies"
_FIELDS = ("question", "factor", "experiment")


@dataclass(frozen=True)
class Study:
    """What is asked, and the runs that answer it.

    Attributes:
        name: of the study's file.
        question: in a sentence.
        factor: of `lycoris.analysis.effects.FACTORS`, whose levels are compared.
        experiment: what is run.
    """

    name: str
    question: str
    factor: str
    experiment: Experiment


def names() -> list[str]:
    """The studies that can be run by name."""
    return sorted(file.stem for file in STUDIES.glob("*.yaml"))


def read_study(source: str, changes: tuple[str, ...] = ()) -> Study:
    """A study by name or from a file.

    Args:
        source: a name of `names`, or a YAML file with ``question``, ``factor`` and ``experiment``.
        changes: ``key=value`` changes to the experiment, as for `flows.experiment.read`.

    Raises:
        InputError: there is no such study, or its file is not as it should be.
    """
    file = STUDIES / f"{source}.yaml" if source in names() else Path(source)
    if not file.is_file():
        raise unknown("study", source, names())
    try:
        found = read_yaml(file.read_text(encoding="utf-8"), f"The study file `{file}`")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"The study file `{file}` cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"The study file `{file}` must hold {', '.join(_FIELDS)}.")
    for name in found:
        if name not in _FIELDS:
            raise unknown("field of a study", name, _FIELDS)
    if found.get("factor") not in FACTORS:
        raise unknown("factor", found.get("factor"), FACTORS)
    values = found.get("experiment") or {}
    if not isinstance(values, dict):
        raise InputError(f"The study file `{file}`: `experiment` must hold `name: value` lines.")
    experiment = parse(changed({"name": file.stem, **values}, changes))
    return Study(file.stem, str(found.get("question") or "").strip(), found["factor"], experiment)


def plan(study: Study, concepts: int) -> list[str]:
    """What a study will do, in lines, before anything starts.

    Args:
        study: the study.
        concepts: how many are chosen.
    """
    experiment = study.experiment
    adapters = count(experiment, concepts)
    images = experiment.images
    own = images.train + images.trigger + images.alter + images.style
    base = concepts * (images.trigger + images.alter + images.style + images.train * len(experiment.captions))
    return [
        study.question,
        f"{adapters} adapters: {concepts} concepts x {len(experiment.algorithms)} algorithms x "
        f"{len(experiment.captions)} captions x {len(experiment.seeds)} seeds",
        f"{adapters * own + base} pictures: {own} by each adapter, {base} by the untouched base",
    ]


def answer(study: Study, out: Path, *, command: str = "") -> dict[str, Any]:
    """Analyse what a study's runs have scored, and write its answer beside them.

    Args:
        study: whose runs are finished.
        out: the study's folder, with ``scores.csv`` and ``study.json``; gets ``effects_by_category.csv``,
            ``answer.html`` and the folder ``analysis/``.
        command: the command line, for the pages.

    Returns:
        ``{"answer", "analysis", "sentences", "effects": [...]}``.

    Raises:
        InputError: no two runs differ in the study's factor alone.
    """
    from flows.analyze import analyze_file
    from lycoris.analysis.answer import render
    from lycoris.analysis.categories import by_category, sentences

    found = analyze_file(out / "scores.csv", None, out / "analysis", command=command)
    effects = by_category(found.ranking, study.factor)
    effects.to_csv(out / "effects_by_category.csv", index=False)
    ran: Mapping[str, Any] = json.loads((out / "study.json").read_text(encoding="utf-8"))
    page = render(
        effects, ran, out / "answer.html",
        factor=study.factor, question=study.question, command=command, analysis=found,
    )  # fmt: skip
    rows = effects.astype(object).where(effects.notna(), None).to_dict("records")
    return {
        "answer": str(page.resolve()),
        "analysis": str((out / "analysis" / "analysis.html").resolve()),
        "sentences": sentences(effects),
        "effects": rows,
    }
