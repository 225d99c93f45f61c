"""What the documents name exists: links, pages, paths, modules, imports, commands, options and settings."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

import lycoris
from flows.cli.command_line import commands_of, help_text
from flows.cli.main import build_parser
from flows.config.adapter import AdapterConfig
from flows.config.experiment import Experiment
from flows.config.loading import parse_experiment
from flows.studies.definition import load_study
from lycoris.training import TrainingSettings

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "mlflow" / "README.md", *PAGES]
PACKAGES = "flows|tasks|lycoris|tests|benchmarks|examples"
FOLDERS = f"{PACKAGES}|docs|studies|deploy|mlflow"
HEADER_KEYS = {
    *("lycoris.algorithm", "lycoris.preset", "lycoris.settings", "lycoris.adapter_config", "lycoris.kernels"),
    "lycoris.base_precision",
}
"""Keys in the headers of adapter files, which look like modules."""
CREATED = {"deploy/.env"}
"""Files that the reader creates."""
OTHER_OPTIONS = (
    *("--images --seeds --turns", "--cpu-time --learning-rate", "--resources"),
    *("--network_module", "--base_weights_multiplier"),
)
"""Options of the benchmarks, of the pocket's training, of Dask and of sd-scripts that the documents name."""


def read(document: Path) -> str:
    """A document with its snippets included and without the former names that the changelog gives."""
    text = document.read_text()
    text = re.sub(r'^--8<-- "(?!build/)(.+)"$', lambda found: (ROOT / found[1]).read_text(), text, flags=re.MULTILINE)
    return re.sub(r"\((?:was|were)\s[^)]*\)", "", text)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as Python-Markdown and GitHub both form them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", read(document), flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    slugs = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings)
    return {re.sub(r"[\s-]+", "-", slug) for slug in slugs}


def code(document: Path) -> Iterator[str]:
    """Inline code, and the lines of code blocks."""
    text = read(document)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"(?<!`)`([^`]+)`(?!`)", rest)
    lines = [line.strip() for line in rest.splitlines() if line.startswith("    ")]
    yield from [*lines, *"\n".join(blocks).splitlines()]


@pytest.fixture(scope="module")
def help_texts() -> dict[str, str]:
    """Command -> its help."""
    texts = {name: help_text(command) for name, command in commands_of(build_parser())}
    return {
        name: "\n".join(text for other, text in texts.items() if other.split()[0] == name)
        for name in texts
        if " " not in name
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", read(document)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        page = (document.parent / name).resolve() if name else document
        assert page.is_file(), f"{target} in {document.name}"
        assert not anchor or anchor in anchors(page), f"{target} in {document.name}"


def test_pages_that_the_code_names_exist() -> None:
    files = [
        path
        for package in ("flows", "tasks", "lycoris", "studies", "benchmarks")
        for path in (ROOT / package).rglob("*")
    ]
    for file in [*files, *ROOT.glob("*.yaml")]:
        if file.suffix in (".py", ".yaml", ".html", ".js"):
            for page, heading in re.findall(r'docs/(\w+\.md)(?:[`,] \(?"([^"]+)")?', file.read_text()):
                assert (ROOT / "docs" / page).is_file(), f"docs/{page} in {file.relative_to(ROOT)}"
                assert not heading or re.search(rf"^#+ {re.escape(heading)}$", read(ROOT / "docs" / page), re.MULTILINE)


def test_every_page_is_in_the_navigation_once() -> None:
    text = re.sub(r"!!python\S*", "", (ROOT / "mkdocs.yml").read_text())
    listed = [page for section in yaml.safe_load(text)["nav"] for pages in section.values() for page in pages]
    assert sorted(listed) == [str(page.relative_to(ROOT / "docs")) for page in PAGES]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_exist(document: Path) -> None:
    for text in code(document):
        for path in re.findall(rf"(?<![\w/.<-])(?:{FOLDERS})/[\w./-]*\w", text):
            known = (ROOT / path).exists() or path in CREATED or "<" in text or "*" in text
            assert known, f"{path} in {document.name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_their_symbols_exist(document: Path) -> None:
    for text in code(document):
        for name in re.findall(rf"(?:^|-m |: )((?:{PACKAGES})\.[\w.]*\w)(?=$|\s|[,(])", text):
            if name not in HEADER_KEYS:
                assert resolves(name), f"{name} in {document.name}"
    for block in re.findall(r"^```python\n(.*?)^```", read(document), re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in PACKAGES.split("|"):
                module = importlib.import_module(str(node.module))
                for each in node.names:
                    assert hasattr(module, each.name), f"{each.name} of {node.module} in {document.name}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lycoris":
                assert hasattr(lycoris, node.attr), f"lycoris.{node.attr} in {document.name}"


@cache
def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or a symbol of one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        if is_module(module):
            if end == len(parts):
                return True
            value = importlib.import_module(module)
            for part in parts[end:]:
                if is_dataclass(value) and part in {each.name for each in fields(value)}:
                    return True
                if not hasattr(value, part):
                    return False
                value = getattr(value, part)
            return True
    return False


def is_module(name: str) -> bool:
    """Whether a module of this name can be imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_their_options_exist(document: Path, help_texts: dict[str, str]) -> None:
    for text in code(document):
        if option := re.match(r"--[a-z][\w-]*", text):
            known = [help_text(build_parser()), *help_texts.values(), *OTHER_OPTIONS]
            assert any(re.search(rf"{option[0]}\b(?!-)", each) for each in known), f"{text} in {document.name}"
        for command, rest in re.findall(r"^(?:\.venv/bin/)?lycoris ([a-z]\w*)\b([^`#]*)", text):
            assert command in help_texts, f"lycoris {command} in {document.name}"
            for option in re.findall(r"(?<!\w)--[a-z][\w-]*", rest):
                assert re.search(rf"{option}\b(?!-)", help_texts[command]), f"{text} in {document.name}"
            for key in re.findall(r"--set '?([\w.]+)=", rest):
                assert is_option(key, help_texts["run"]) or command == "study", f"{text} in {document.name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_of_scripts_exist(document: Path) -> None:
    for text in code(document):
        for script, rest in re.findall(rf"python (?:-m )?((?:{PACKAGES})[./][\w./]+)([^`#]*)", text):
            file = ROOT / (script if script.endswith(".py") else f"{script.replace('.', '/')}.py")
            file = file if file.is_file() else file.with_suffix("") / "__main__.py"
            for option in re.findall(r"(?<!\w)--[a-z][\w-]*", rest):
                assert f'"{option}"' in file.read_text(), f"{text} in {document.name}"


def is_option(key: str, help_text: str) -> bool:
    """Whether a key that is given to ``--set`` is an option of an experiment."""
    name = key if not key.startswith("training.") else "training"
    return re.search(rf"^  {re.escape(name)}[\s.]", help_text, re.MULTILINE) is not None


def test_the_command_page_has_every_command(help_texts: dict[str, str]) -> None:
    shown = re.findall(r'^--8<-- "build/cli/(\w+)\.txt"$', (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(help_texts)


def test_every_training_setting_is_documented_and_no_other() -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    cells = re.findall(r"^\| (`[^|]+`) \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE)
    documented = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert documented == {each.name for each in fields(TrainingSettings)}


def test_the_study_file_in_the_documents_is_valid_with_and_without_expectations(tmp_path: Path) -> None:
    [block, expectations] = re.findall(
        r"^```yaml\n(.*?)^```", (ROOT / "docs" / "studies.md").read_text(), re.DOTALL | re.MULTILINE
    )
    file = tmp_path / "capacity.yaml"
    file.write_text(block)
    study = load_study(str(file))
    assert study.reports
    assert study.match_budget is not None
    assert not study.expect
    file.write_text(block + expectations)
    assert len(load_study(str(file)).expect) == 3


def test_options_of_adapters_and_experiments_in_tables_exist() -> None:
    text = (ROOT / "docs" / "studies.md").read_text()
    for kind, record in (("an adapter", AdapterConfig), ("an experiment", Experiment)):
        [rows] = re.findall(rf"^\| option of {kind} \| \|\n((?:\|.*\n)+)", text, re.MULTILINE)
        assert set(re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)) <= set(record.model_fields)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_of_an_experiment_are_valid(document: Path) -> None:
    for text in code(document):
        if re.match(rf"({'|'.join(Experiment.model_fields)}): ?[\[{{]", text):
            parse_experiment(yaml.safe_load(text))


def test_the_glossary_has_each_term_once_in_alphabetical_order() -> None:
    terms = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)[1:]
    assert len(terms) > 50
    assert terms == sorted(set(terms), key=str.lower)


def test_the_layout_in_the_readme_is_that_of_the_repository() -> None:
    text = (ROOT / "README.md").read_text()
    tree = text[text.index("## Layout") :]
    parent = ROOT
    shown: dict[Path, set[str]] = {}
    for indent, names in re.findall(r"^    (  )?((?:[\w.]+/? )+) {2,}\S", tree, re.MULTILINE):
        parent = parent if indent else ROOT / names.split()[0]
        for name in names.split():
            path = (parent if indent else ROOT) / name
            assert path.exists() or name == "data/", f"{path.relative_to(ROOT)} in the layout"
            shown.setdefault(path.parent, set()).add(name.rstrip("/"))
    for package in ("flows", "tasks"):
        files = {path.name for path in (ROOT / package).iterdir() if not path.name.startswith("__")}
        assert shown[ROOT / package] == files, f"`{package}/` in the layout"
    rooms = {path.name for path in (ROOT / "lycoris").iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert shown[ROOT / "lycoris"] >= rooms
