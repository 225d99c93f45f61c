"""Claims about who may import whom."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [path for room in ("flows", "tasks", "lycoris") for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Top-level names of everything a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    forbidden = {
        "lycoris": {"tasks", "flows", "prefect", "mlflow", "dvc", "dvc_data", "dvc_objects"},
        "tasks": {"flows"},
        "flows": {"mlflow", "dvc"},
    }[room]
    assert not imported(path) & forbidden


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("mlflow", {"tasks/tracking/runs.py", "tasks/tracking/pyfunc_model.py"}),
        ("dvc", {"tasks/data_versions/dvc.py"}),
    ],
)
def test_each_tool_has_one_home(package, homes):
    users = {path.relative_to(ROOT).as_posix() for path in FILES if package in imported(path)}
    assert users <= homes


def test_the_folder_mlflow_does_not_shadow_the_package():
    assert not list((ROOT / "mlflow").rglob("*.py"))
    import mlflow

    assert Path(mlflow.__file__).parent != ROOT / "mlflow"


def test_importing_the_library_is_cheap():
    import subprocess

    script = "import sys, lycoris; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=ROOT).returncode == 0
