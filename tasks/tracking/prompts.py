"""The prompts that adapters are scored with, in MLflow's prompt registry: a version for each content."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from lycoris.safety.redaction import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import PromptVersion

CONTENT_TAG = "content.sha256"

logger = logging.getLogger("lycoris.tasks.tracking")


def prompt_name(concept: str) -> str:
    """The name of a concept's prompts in the registry, in the characters that MLflow allows there."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', concept)}-prompts"


def prompt_template(rows: Sequence[Mapping[str, Any]]) -> str:
    """Prompts as YAML, prompt type -> texts, which `lycoris score --prompts` reads.

    Args:
        rows: of the table of prompts, with ``prompt_type`` and ``prompt``.
    """
    texts: dict[str, dict[str, None]] = {}
    for row in rows:
        texts.setdefault(row["prompt_type"], {})[row["prompt"]] = None
    by_type = {kind: list(some) for kind, some in texts.items()}
    return yaml.safe_dump(by_type, allow_unicode=True, sort_keys=False, width=float("inf"))


def link_prompts(
    client: MlflowClient, experiment: str, run_ids: Sequence[str], concept: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Link runs to the version of a concept's prompts with this content, which is registered if there is none.

    Prompts beyond MLflow's limit for a version are not registered, which is logged.

    Args:
        experiment: id of the experiment whose page of prompts lists them.
        rows: as for `prompt_template`.
    """
    from mlflow.utils.validation import MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH

    name, template = prompt_name(concept), redact(prompt_template(rows))
    if len(template) > MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH:
        logger.warning(
            "The prompts of %s have %d characters, and a version of MLflow's prompt registry %d at most: they are in "
            "the table prompts.json only.",
            concept, len(template), MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH,
        )  # fmt: skip
        return
    version = _find_or_create_version(client, name, template)
    _list_in_experiment(client, name, experiment)
    for run_id in run_ids:
        client.link_prompt_version_to_run(run_id, version)


def _find_or_create_version(client: MlflowClient, name: str, template: str) -> PromptVersion:
    from mlflow.exceptions import MlflowException
    from mlflow.prompt.constants import IS_PROMPT_TAG_KEY

    digest = hashlib.sha256(template.encode()).hexdigest()
    query = f"name = '{name}' and tags.`{IS_PROMPT_TAG_KEY}` = 'true' and tags.`{CONTENT_TAG}` = '{digest}'"
    found = client.search_model_versions(query)
    if found:
        version = client.get_prompt_version(name, str(min(int(each.version) for each in found)))
        assert version is not None
        return version
    try:
        client.create_prompt(name, description="Prompts that adapters are scored with, by prompt type.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_prompt_version(name, template, tags={CONTENT_TAG: digest})


def _list_in_experiment(client: MlflowClient, name: str, experiment: str) -> None:
    """Let an experiment's page of prompts list a prompt; MLflow's own functions do so for the active one only."""
    from mlflow.prompt.constants import PROMPT_EXPERIMENT_IDS_TAG_KEY

    prompt = client.get_prompt(name)
    assert prompt is not None
    experiments = [each for each in prompt.tags.get(PROMPT_EXPERIMENT_IDS_TAG_KEY, "").split(",") if each]
    if experiment not in experiments:
        client.set_prompt_tag(name, PROMPT_EXPERIMENT_IDS_TAG_KEY, f",{','.join([*experiments, experiment])},")
