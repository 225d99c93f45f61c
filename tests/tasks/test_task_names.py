"""Runs of tasks in Prefect have names that people can read, not numbers."""

import importlib
import inspect
import string
from pathlib import Path

import pytest
from prefect import Task

import tasks

FOUND = {
    found.name: found
    for file in sorted(Path(tasks.__file__).parent.glob("*.py"))
    if not file.name.startswith("_")
    for found in vars(importlib.import_module(f"tasks.{file.stem}")).values()
    if isinstance(found, Task)
}


def test_there_are_tasks() -> None:
    assert {"data", "captions", "images", "features", "scores", "strength", "report"} <= FOUND.keys()


@pytest.mark.parametrize("name", FOUND)
def test_a_run_of_a_task_is_named_after_it_and_its_arguments(name: str) -> None:
    task = FOUND[name]
    assert isinstance(task.task_run_name, str)
    assert task.task_run_name.startswith(name)
    used = {field.partition(".")[0] for _, field, _, _ in string.Formatter().parse(task.task_run_name) if field}
    assert used <= inspect.signature(task.fn).parameters.keys()
