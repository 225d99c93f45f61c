"""The concepts of a data folder, and which of them an experiment selects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.config.experiment import Experiment
from lycoris.data.concepts import Concept, load_concepts


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
    return DataConcepts(known, experiment.select_concepts([concept.name for concept in known]))
