"""Study definitions: a question and the experiment that answers it, read from a short YAML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from flows.config.adapter import as_list
from flows.config.experiment import Experiment
from flows.config.loading import apply_overrides, parse_experiment
from flows.config.record import ConfigRecord
from flows.studies.answer import REPORTERS
from flows.studies.budget_matching import BudgetMatch, parse_budget
from flows.studies.names import STUDIES_FOLDER, study_names
from lycoris.analysis.statistics.effects import STUDY_FACTORS
from lycoris.analysis.statistics.expectations import Expectation
from lycoris.errors import InputError, unknown_name_error
from lycoris.pocket import EMBEDDED_BASES
from lycoris.safety.file_names import is_printable
from lycoris.safety.yaml_loading import read_yaml

FACTOR_COLUMNS = {"images": "pictures"}
"""Factor -> column in the table of scores, where they differ."""
_STUDY_FIELDS = ("question", "factor", "factors", "reports", "match_budget", "expect", "experiment", "on_pocket")
_EXPECTATION_FIELDS = ("metric", "direction", "where", "smallest_difference", "also_with")


class Study(ConfigRecord):
    """A question, the experiment that answers it, and what the answer compares."""

    name: str = Field(description="name of the study file")
    question: str = Field(description="the question, one sentence")
    factors: tuple[str, ...] = Field(min_length=1, description="columns of scores.csv whose levels are compared")
    experiment: Experiment = Field(description="the runs")
    reports: tuple[str, ...] = Field((), description="further parts of the answer: findings, encoders, costs")
    match_budget: BudgetMatch | None = Field(None, description="what all adapters have in common: parameters or time")
    expect: tuple[Expectation, ...] = Field((), description="what the study is expected to show, sealed before it runs")

    @property
    def folder(self) -> Path:
        """The folder of the results."""
        return self.experiment.output / self.experiment.name


def load_study(source: str, overrides: tuple[str, ...] = ()) -> Study:
    """Read a study by name or from a file.

    Args:
        source: A name of `study_names`, or a YAML file with ``question``, ``factors`` (or one ``factor``),
            ``experiment`` and optionally ``reports``, ``match_budget``, ``expect`` and ``on_pocket``: the options of
            the experiment that differ on the embedded base model.
        overrides: ``key=value`` overrides of the experiment, as for `flows.config.loading.load_experiment`, or of
            ``match_budget``.

    Raises:
        InputError: There is no such study, or its file is invalid.
    """
    file = STUDIES_FOLDER / f"{source}.yaml" if source in study_names() else Path(source)
    if not file.is_file():
        raise unknown_name_error("study", source, study_names())
    own = tuple(override for override in overrides if override.partition("=")[0].strip() == "match_budget")
    rest = tuple(override for override in overrides if override not in own)
    fields = apply_overrides(_read_fields(file), own)
    values = {"name": file.stem, **_options(fields, "experiment", file)}
    on_pocket = _options(fields, "on_pocket", file)
    if apply_overrides(dict(values), rest).get("base", "pocket") in EMBEDDED_BASES:
        values |= on_pocket
    question = str(fields.get("question") or "").strip()
    if not is_printable(question):
        raise InputError(f"The study file `{file}`: `question` must be text without control characters.")
    return Study(
        name=file.stem,
        question=question,
        factors=_parse_factors(fields.get("factors", fields.get("factor"))),
        experiment=parse_experiment(apply_overrides(values, rest)),
        reports=_parse_names("report", fields["reports"], REPORTERS) if fields.get("reports") else (),
        match_budget=parse_budget(fields.get("match_budget")),
        expect=_parse_expectations(fields.get("expect"), file),
    )


def _read_fields(file: Path) -> dict[str, Any]:
    try:
        fields = read_yaml(file.read_text(encoding="utf-8"), f"The study file `{file}`")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"The study file `{file}` cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise InputError(f"The study file `{file}` must hold {', '.join(_STUDY_FIELDS)}.")
    for name in fields:
        if name not in _STUDY_FIELDS:
            raise unknown_name_error("field of a study", name, _STUDY_FIELDS)
    return fields


def _options(fields: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    options = fields.get(name) or {}
    if not isinstance(options, dict):
        raise InputError(f"The study file `{file}`: `{name}` must hold `name: value` lines.")
    return options


def _parse_factors(value: Any) -> tuple[str, ...]:
    """Return the columns of the factors that a field names."""
    names = {column: name for name, column in FACTOR_COLUMNS.items()}
    factors = _parse_names("factor", value, [names.get(column, column) for column in STUDY_FACTORS])
    return tuple(FACTOR_COLUMNS.get(name, name) for name in factors)


def _parse_expectations(value: Any, file: Path) -> tuple[Expectation, ...]:
    """Return the expectations of a study, each of which compares two levels of one factor."""
    if value is None:
        return ()
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise InputError(f"The study file `{file}`: `expect` must be a list of `name: value` groups.")
    return tuple(_parse_expectation(one, f"The study file `{file}`: `expect`") for one in value)


def _parse_expectation(fields: Mapping[str, Any], label: str) -> Expectation:
    factors = [name for name in fields if name not in _EXPECTATION_FIELDS]
    levels = fields[factors[0]] if len(factors) == 1 else None
    if not isinstance(levels, list) or len(levels) != 2:
        raise InputError(
            f"{label} needs one factor with two levels, such as `captions: [none, all]`, the first against the second, "
            f"but got {factors or 'no factor'}."
        )
    where = fields.get("where") or {}
    if not isinstance(where, dict):
        raise InputError(f"{label}: `where` must hold `name: value` lines, but got `{where}`.")
    difference = fields.get("smallest_difference", 0.0)
    if isinstance(difference, bool) or not isinstance(difference, int | float):
        raise InputError(f"{label}: `smallest_difference` must be a number, but got `{difference}`.")
    [factor] = _parse_factors(factors)
    return Expectation(
        metric=str(fields.get("metric")),
        direction=fields.get("direction"),  # type: ignore[arg-type]  # checked by the record
        factor=factor,
        level=str(levels[0]),
        against=str(levels[1]),
        where={str(name): tuple(str(one) for one in as_list(own)) for name, own in where.items()},
        smallest_difference=float(difference),
        also_with=tuple(str(one) for one in as_list(fields.get("also_with") or [])),
    )


def _parse_names(kind: str, value: Any, known: Iterable[str]) -> tuple[str, ...]:
    """Return the names in a field that holds one name or a list of them."""
    names = value if isinstance(value, list) and value else [value]
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise unknown_name_error(kind, str(name), known)
    return tuple(names)
