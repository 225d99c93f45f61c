"""The concepts of a data folder, and which of them an experiment selects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.config.experiment import DEFAULT_CONCEPTS, Experiment
from lycoris import pocket
from lycoris.data.concepts import Concept, load_concepts
from lycoris.data.concepts_file import CONCEPTS_FILE, read_entries
from lycoris.errors import unknown_name_error


@dataclass(frozen=True)
class DataConcepts:
    """All concepts of a data folder, and the names of those that are used; None for all."""

    known: tuple[Concept, ...]
    names: tuple[str, ...] | None

    @property
    def selected(self) -> list[Concept]:
        """The concepts that are used."""
        return [concept for concept in self.known if self.names is None or concept.name in self.names]


def select_concepts(experiment: Experiment, data: Path) -> DataConcepts:
    """Load the concepts of a data folder and select those of an experiment.

    Raises:
        InputError: The folder or its concepts file is invalid, or the experiment names an unknown concept.
    """
    known = tuple(load_concepts(data, experiment.concepts_file))
    return DataConcepts(known, select_names(experiment, [concept.name for concept in known]))


def select_names(experiment: Experiment, names: Sequence[str]) -> tuple[str, ...]:
    """Return the concepts of an experiment.

    Args:
        experiment: Its option `concepts` decides.
        names: The names of all concepts in the data folder.

    Returns:
        The concepts that the experiment names; all for ``all``; by default `DEFAULT_CONCEPTS` and every concept that is
        not shipped with the project.

    Raises:
        InputError: A name is unknown.
    """
    if experiment.concepts == ("all",):
        return tuple(names)
    if experiment.concepts is not None:
        for name in experiment.concepts:
            if name not in names:
                raise unknown_name_error("concept", name, names)
        return experiment.concepts
    own = own_concepts(names)
    return tuple(name for name in names if name in DEFAULT_CONCEPTS or name in own) or tuple(names)


def own_concepts(names: Iterable[str]) -> list[str]:
    """The names of those concepts that are the user's, not shipped with the project."""
    shipped = read_entries(pocket.IMAGES / CONCEPTS_FILE)
    return [name for name in names if name not in shipped]
