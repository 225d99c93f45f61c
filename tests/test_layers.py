"""Imports: no circles between modules, a library that imports quickly; `make check` checks who may import whom."""

import graphlib
import subprocess
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent


def test_no_module_imports_itself_through_others():
    graph = grimp.build_graph("flows", "tasks", "lycoris", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError


def test_the_folder_mlflow_does_not_shadow_the_package():
    assert not list((ROOT / "mlflow").rglob("*.py"))
    import mlflow

    assert Path(mlflow.__file__).parent != ROOT / "mlflow"


def test_importing_the_library_is_cheap():
    script = "import sys, lycoris; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=ROOT).returncode == 0
