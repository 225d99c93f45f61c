"""Checks of the installed packages: those that are required, those of the extras, and the tested versions."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from flows.config.project import CODE_ROOT, is_checkout, resource
from flows.runtime.health.finding import Finding

DISTRIBUTION = "lycoris-pipeline"
EXTRAS = {
    "adaptive": "samplers of Optuna for `lycoris study --budget`",
    "analysis": "SHAP values in `lycoris analyze`",
    "auth": "an MLflow server with users",
    "dask": "many machines",
    "formats": "HEIC and JPEG XL images",
    "gpu": "8-bit optimizers",
    "onnx": "ONNX taggers",
    "postgres": "a PostgreSQL database for the servers",
    "s3": "an artifact store in S3",
}
"""Extra -> what it is for; those for development are left out."""
_MAX_LISTED = 8


def requirements() -> dict[str, list[Requirement]]:
    """Return the requirements of the project: extra -> its own; the empty name has those that are always needed."""
    if is_checkout():  # the installed metadata may be older than the file
        project = tomllib.loads((CODE_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        groups = {"": project["dependencies"], **project["optional-dependencies"]}
        return {name: [Requirement(line) for line in lines] for name, lines in groups.items()}
    found: dict[str, list[Requirement]] = {"": []}
    for line in metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found[""].append(requirement)
            continue
        for extra in metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or ():
            if requirement.marker.evaluate({"extra": extra}):
                found.setdefault(extra, []).append(requirement)
    return found


def installed_version(name: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_requirements(_: Path) -> list[Finding]:
    """Check that every required package is there, in a version of its range."""
    wrong = _outside(requirements()[""])
    if not wrong:
        return [Finding("packages", "ok", "all required packages are in their ranges")]
    names = " ".join(f"'{requirement.name}{requirement.specifier}'" for requirement, _ in wrong)
    text = "; ".join(
        f"{requirement.name} {version or 'is missing'}, required {requirement.specifier or 'in any version'}"
        for requirement, version in wrong
    )
    return [Finding("packages", "problem", text, f"pip install {names}")]


def check_versions(_: Path) -> list[Finding]:
    """Compare the installed versions with those of ``constraints.txt``, which the tests run with."""
    file = resource("constraints.txt")
    tested = dict(line.split("==") for line in file.read_text(encoding="utf-8").split() if "==" in line)
    pairs = {name: (installed_version(name), version) for name, version in tested.items()}
    present = {name: pair for name, pair in pairs.items() if pair[0] is not None}
    other = [
        f"{name} {found} ({version})"
        for name, (found, version) in sorted(present.items(), key=lambda item: item[0].casefold())
        if found is not None and found.split("+")[0] != version
    ]
    if not other:
        return [Finding("versions", "ok", f"{len(present)} packages are those of the tests")]
    more = f" and {len(other) - _MAX_LISTED} more" if len(other) > _MAX_LISTED else ""
    text = f"{len(other)} of {len(present)} packages differ from the tests: {', '.join(other[:_MAX_LISTED])}{more}"
    return [Finding("versions", "note", text, f"If something fails: pip install -c {file} {DISTRIBUTION}")]


def check_extras(_: Path) -> list[Finding]:
    """List the extras that are installed and what the others are for."""
    groups = requirements()
    missing = {name for name in EXTRAS if _outside(groups.get(name, ()))}
    there = [name for name in EXTRAS if name not in missing]
    findings = [Finding("extras", "ok", f"installed: {', '.join(there) or 'none'}")]
    if missing:
        text = "; ".join(f"{name} ({purpose})" for name, purpose in EXTRAS.items() if name in missing)
        findings.append(Finding("extras", "ok", f"not installed: {text}", f"pip install '{DISTRIBUTION}[NAME]'"))
    return findings


def _outside(required: Iterable[Requirement]) -> list[tuple[Requirement, str | None]]:
    """The requirements that no installed version meets, with the version that is installed."""
    versions = [(each, installed_version(canonicalize_name(each.name))) for each in required]
    return [
        (each, version)
        for each, version in versions
        if version is None or not each.specifier.contains(version, prereleases=True)
    ]
