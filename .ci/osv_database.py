"""Answer queries for security advisories from a downloaded OSV database, in place of its service.

The database is the export of one ecosystem that https://osv.dev publishes: an archive with one JSON file per advisory
(https://ossf.github.io/osv-schema/). A folder or a list of such records serves as well.
"""

from __future__ import annotations

import json
import threading
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ECOSYSTEM = "PyPI"
MAX_QUERY = 10_000
"""Bytes of a query."""


def read_database(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read a database.

    Args:
        path: an archive or a folder of JSON files with one advisory each, or one JSON file with a list of advisories.

    Returns:
        Canonical name of a package -> the advisories about it.

    Raises:
        ValueError: there is no advisory about a Python package.
        OSError: the file cannot be read.
    """
    advisories = defaultdict(list)
    for advisory in _records(path):
        packages = [one["package"] for one in advisory.get("affected", ()) if "package" in one]
        for package in packages:  # pip-audit compares with canonical names
            package["name"] = canonicalize_name(package["name"])
        for name in {package["name"] for package in packages if package["ecosystem"] == ECOSYSTEM}:
            advisories[name].append(advisory)
    if not advisories:
        raise ValueError(f"`{path}` holds no advisory about a package of {ECOSYSTEM}.")
    return dict(advisories)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_dir():
        yield from (json.loads(file.read_text(encoding="utf-8")) for file in sorted(path.glob("*.json")))
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json"))
    else:
        records = json.loads(path.read_text(encoding="utf-8"))
        yield from records if isinstance(records, list) else [records]


def find_advisories(database: Mapping[str, list[dict[str, Any]]], name: str, version: str) -> list[dict[str, Any]]:
    """The advisories that affect a version of a package and are not withdrawn."""
    package = canonicalize_name(name)
    return [
        advisory
        for advisory in database.get(package, ())
        if not advisory.get("withdrawn")
        and any(
            canonicalize_name(one["package"]["name"]) == package and _is_affected(one, Version(version))
            for one in advisory["affected"]
            if one.get("package", {}).get("ecosystem") == ECOSYSTEM
        )
    ]


def _is_affected(affected: Mapping[str, Any], version: Version) -> bool:
    """Whether a version is listed, or in a range: from an event `introduced` to the next `fixed` or `last_affected`."""
    if any(_parse(listed) == version for listed in affected.get("versions", ())):
        return True
    ranges = [one for one in affected.get("ranges", ()) if one.get("type") in ("ECOSYSTEM", "SEMVER")]
    return any(_is_in_range(one["events"], version) for one in ranges)


def _is_in_range(events: Iterable[Mapping[str, str]], version: Version) -> bool:
    changes = []
    for event in events:
        for kind, text in event.items():
            at = Version("0.dev0") if text == "0" else _parse(text)
            if at is not None and kind in ("introduced", "fixed", "last_affected"):
                changes.append((at, kind))
    inside = False
    for at, kind in sorted(changes):
        if at > version or (at == version and kind == "last_affected"):
            break
        inside = kind == "introduced"
    return inside


def _parse(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


@contextmanager
def serve(database: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Answer `find_advisories` on a free port of loopback as OSV's `/v1/query` does; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(min(MAX_QUERY, int(self.headers["Content-Length"]))))
            found = find_advisories(database, query["package"]["name"], query["version"])
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is printed for a query."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
