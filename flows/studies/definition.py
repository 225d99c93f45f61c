"""A study: a question, the runs that answer it, and what they say, from one short file in ``studies/``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.config.experiment import Experiment, apply_overrides, parse_experiment
from flows.studies.budget_matching import BUDGET_FILE, BudgetMatch, match_parameters, match_time, parse_budget
from lycoris.analysis.statistics.effects import STUDY_FACTORS
from lycoris.errors import InputError, unknown_name_error
from lycoris.report.analysis.files import Analysis
from lycoris.safety.yaml_loading import read_yaml

STUDIES_FOLDER = Path(__file__).resolve().parent.parent.parent / "studies"
_STUDY_FIELDS = ("question", "factor", "factors", "tell", "equal", "experiment", "on_pocket")


@dataclass(frozen=True)
class Study:
    """What is asked, and the runs that answer it.

    Attributes:
        name: of the study's file.
        question: in a sentence.
        factors: of `lycoris.analysis.statistics.effects.ASKABLE`, whose levels are compared.
        experiment: what is run.
        tell: of `TELLERS`, what else is said of the runs.
        equal: what all adapters are to have in common.
    """

    name: str
    question: str
    factors: tuple[str, ...]
    experiment: Experiment
    reports: tuple[str, ...] = ()
    budget: BudgetMatch | None = None

    @property
    def factor(self) -> str:
        """The first of the factors."""
        return self.factors[0]


def study_names() -> list[str]:
    """The studies that can be run by name."""
    return sorted(file.stem for file in STUDIES_FOLDER.glob("*.yaml"))


def load_study(source: str, overrides: tuple[str, ...] = ()) -> Study:
    """A study by name or from a file.

    Args:
        source: a name of `names`, or a YAML file with ``question``, ``factors`` (or one ``factor``), ``experiment``
            and any of ``tell``, ``equal`` and ``on_pocket``, the options that differ on the embedded base.
        changes: ``key=value`` changes to the experiment, as for `flows.config.experiment.read`; ``equal=...`` to
        the study.

    Raises:
        InputError: there is no such study, or its file is not as it should be.
    """
    file = STUDIES_FOLDER / f"{source}.yaml" if source in study_names() else Path(source)
    if not file.is_file():
        raise unknown_name_error("study", source, study_names())
    try:
        found = read_yaml(file.read_text(encoding="utf-8"), f"The study file `{file}`")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"The study file `{file}` cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"The study file `{file}` must hold {', '.join(_STUDY_FIELDS)}.")
    for name in found:
        if name not in _STUDY_FIELDS:
            raise unknown_name_error("field of a study", name, _STUDY_FIELDS)
    own = tuple(change for change in overrides if change.partition("=")[0].strip() == "equal")
    found = apply_overrides(found, own)
    groups = {name: found.get(name) or {} for name in ("experiment", "on_pocket")}
    for name, values in groups.items():
        if not isinstance(values, dict):
            raise InputError(f"The study file `{file}`: `{name}` must hold `name: value` lines.")
    rest = tuple(change for change in overrides if change not in own)
    values = {"name": file.stem, **groups["experiment"]}
    if apply_overrides(dict(values), rest).get("base", "pocket") == "pocket":
        values |= groups["on_pocket"]
    return Study(
        file.stem,
        str(found.get("question") or "").strip(),
        _parse_names(found, "factor", "factors", STUDY_FACTORS),
        parse_experiment(apply_overrides(values, rest)),
        _parse_names(found, "tell", "tell", REPORTERS) if found.get("tell") else (),
        parse_budget(found.get("equal")),
    )


def _parse_names(found: Mapping[str, Any], one: str, several: str, known: Mapping[str, Any]) -> tuple[str, ...]:
    """A field that names one thing or a list of them."""
    given = found.get(several, found.get(one))
    listed = given if isinstance(given, list) and given else [given]
    for name in listed:
        if not isinstance(name, str) or name not in known:
            raise unknown_name_error(one, str(name), known)
    return tuple(listed)


def apply_budget(study: Study) -> tuple[Study, list[str]]:
    """The study with its budget kept, where it has one, and what that did, in lines.

    Raises:
        InputError: the base is not on this machine, or there is no such adapter.
    """
    experiment = study.experiment
    if study.budget is None:
        return study, []
    if study.budget.kind == "parameters":
        from lycoris.bases import parameter_count

        parts = parameter_count.meta_parts(experiment.base)
        made = match_parameters(
            experiment, study.budget.reference, lambda settings: parameter_count.count_parameters(parts, settings)
        )
    else:
        from flows.studies.timing import measure_timings
        from lycoris import bases

        made = match_time(
            experiment,
            study.budget.reference,
            lambda: measure_timings(experiment, bases.digest(experiment.base)).step_seconds,
            experiment.output / experiment.name / BUDGET_FILE,
        )
    return replace(study, experiment=made[0]), made[1]


def write_study_answer(study: Study, out: Path, *, command: str = "") -> dict[str, Any]:
    """Analyse what a study's runs have scored, and write its answer beside them.

    Args:
        study: whose runs are finished, or as many of them as could be.
        out: the study's folder, with ``scores.csv`` and ``study.json``; gets ``effects_by_category.csv``,
            ``answer.html`` and the folder ``analysis/``.
        command: the command line, for the pages.

    Returns:
        ``{"answer", "analysis", "sentences", "effects": [...], "told": {name: [...]}}``.

    Raises:
        InputError: no two runs differ in any of the study's factors alone.
    """
    import pandas as pd

    from flows.studies.analysis import analyze_file
    from lycoris.analysis.statistics.category_effects import describe_category_effects, effects_by_category
    from lycoris.report.study.page import render

    found = analyze_file(out / "scores.csv", None, out / "analysis", command=command)
    ran: Mapping[str, Any] = json.loads((out / "study.json").read_text(encoding="utf-8"))
    pairs, lines, missing = [], [], []
    for factor in study.factors:
        try:
            effects = effects_by_category(found.ranking, factor)
        except InputError as error:
            missing.append(error)
            lines.append(str(error))
            continue
        pairs.append((factor, effects))
        lines += describe_category_effects(effects)
    if not pairs:
        raise missing[0]
    told = {name: REPORTERS[name](found, out) for name in study.reports}
    page = render(
        pairs, ran, out / "answer.html",
        question=study.question, command=command, analysis=found,
        extra_sentences=[line for some in told.values() for line in some],
    )  # fmt: skip
    whole = pd.concat([effects for _, effects in pairs], ignore_index=True)
    whole.to_csv(out / "effects_by_category.csv", index=False)
    rows = whole.astype(object).where(whole.notna(), None).to_dict("records")
    return {
        "answer": str(page.resolve()),
        "analysis": str((out / "analysis" / "analysis.html").resolve()),
        "sentences": lines,
        "effects": rows,
        "told": told,
    }


def _report_findings(found: Analysis, out: Path) -> list[str]:
    """The findings of the paper, as sentences; ``findings.json`` has their parts."""
    from dataclasses import asdict

    from lycoris.analysis.statistics.paper_findings import FINDINGS_RULE, evaluate_findings

    told = evaluate_findings(found.ranking, found.effects)
    text = json.dumps({"rule": FINDINGS_RULE, "findings": [asdict(one) for one in told]}, ensure_ascii=False, indent=1)
    (out / "findings.json").write_text(text, encoding="utf-8")
    return [*(one.sentence for one in told), FINDINGS_RULE]


def _report_encoders(found: Analysis, out: Path) -> list[str]:
    """What encoder and resize mode change; the tables are ``encoders_*.csv``."""
    from lycoris.analysis.statistics.encoder_agreement import describe_encoder_agreement, encoder_agreement

    told = encoder_agreement(found.ranking, found.correlations, found.effects)
    for name in ("alike", "first", "conclusions"):
        getattr(told, name).to_csv(out / f"encoders_{name}.csv", index=False)
    return describe_encoder_agreement(told)


def _report_costs(found: Analysis, out: Path) -> list[str]:
    """What each adapter costs; the table is ``costs.csv``."""
    from lycoris.analysis.statistics.costs import describe_costs, mean_costs

    table = mean_costs(out / "scores.csv")
    table.to_csv(out / "costs.csv", index=False)
    return describe_costs(table)


REPORTERS: dict[str, Callable[[Analysis, Path], list[str]]] = {
    "findings": _report_findings,
    "encoders": _report_encoders,
    "costs": _report_costs,
}
"""What a study can tell beside the effects of its factors, in lines."""
