"""Check the versions in constraints.txt against known security advisories, with pip-audit.

Exits with 0 if every version was checked and none has an advisory, with 1 if one has, and with 2 if a version could not
be checked. Without the internet, point ``--osv-url`` at a mirror of the OSV database (https://osv.dev), or
``--database`` at a downloaded one: ``PyPI/all.zip`` of its data exports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import osv_database

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
MAX_NAMES = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the versions, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sources = parser.add_mutually_exclusive_group()
    sources.add_argument("--osv-url", help="the query address of a mirror of OSV")
    sources.add_argument("--database", type=Path, help="a downloaded OSV database: an archive, a folder or a JSON file")
    parser.add_argument("--constraints", type=Path, default=CONSTRAINTS)
    options = parser.parse_args(arguments)
    address = nullcontext(options.osv_url)
    if options.database:
        try:
            address = osv_database.serve(osv_database.read_database(options.database))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"NOTHING WAS CHECKED: the database `{options.database}` cannot be read.\n{error}")
            return 2
    with address as url:
        return audit(options.constraints, url)


def audit(constraints: Path, url: str | None) -> int:
    """Run pip-audit and print what it found.

    Args:
        constraints: the file of versions.
        url: the query address; None for that of OSV.
    """
    mirror = ["--osv-url", url] if url else []
    command = [sys.executable, "-m", "pip_audit", "-s", "osv", *mirror, "-r", str(constraints)]
    done = subprocess.run(
        [*command, "--no-deps", "--disable-pip", "--progress-spinner", "off", "-f", "json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        report = json.loads(done.stdout)
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["pip-audit printed nothing"])[-1]
        print(f"NOTHING WAS CHECKED: the advisory service cannot be reached, or pip-audit is missing.\n{reason}")
        return 2
    code, text = summarize(report)
    print(text)
    return code


def summarize(report: Mapping[str, Any]) -> tuple[int, str]:
    """The exit code and the text for a report of pip-audit."""
    packages = report["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    lines = [
        f"{package['name']} {package['version']}: {advisory['id']}"
        + (f", repaired in {', '.join(advisory['fix_versions'])}" if advisory.get("fix_versions") else "")
        for package in packages
        for advisory in package.get("vulns", ())
    ]
    affected = len(lines)
    lines.append(f"{len(packages) - len(skipped)} of {len(packages)} versions were checked; {affected} advisories.")
    if skipped or not packages:
        names = ", ".join(package["name"] for package in skipped[:MAX_NAMES])
        lines.append(f"NOT CHECKED: {len(skipped)} versions, such as {names or '(none)'}.")
    return 1 if affected else 2 if skipped or not packages else 0, "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
