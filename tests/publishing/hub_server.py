"""A small stand-in for the HTTP interface of the Hugging Face hub: repositories in memory, one valid token."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from pydantic import BaseModel, Field

TOKEN = "hf_" + "standin" * 3
COMMIT = "c" * 40


class _Output(BaseModel, extra="forbid"):
    url: str


class _Widget(BaseModel, extra="forbid"):
    text: str
    output: _Output


class _Metadata(BaseModel, extra="forbid", strict=True):
    """The metadata of a model card as the hub documents it, of which a card of ours uses some."""

    license: str | None = None
    library_name: str | None = None
    pipeline_tag: Literal["text-to-image"] | None = None
    tags: list[str] = []
    base_model: str | None = None
    instance_prompt: str | None = None
    widget: list[_Widget] = []
    model_index: list[Any] = Field([], alias="model-index")


def validate_card(content: str) -> tuple[dict[str, Any], list[str]]:
    """The metadata of a card and what is wrong with it: by the documented fields and huggingface_hub's own reader."""
    metadata = yaml.safe_load(content.split("---")[1])
    try:
        card = ModelCard(content, ignore_metadata_errors=False)
        _Metadata(**metadata)
        if "base_model" in metadata:
            validate_repo_id(metadata["base_model"])
        for result in card.data.eval_results or []:
            if not isinstance(result.metric_value, int | float):
                return metadata, [f"metric `{result.metric_type}` has no number"]
    except (ValueError, HFValidationError) as error:
        return metadata, [str(error)]
    return metadata, []


class HubServer(ThreadingHTTPServer):
    """Repositories: name -> path -> bytes; `private` has the visibility that each was created with."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        self.cards: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serve_hub() -> Iterator[HubServer]:
    """Serve until the block ends."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Keep the tests' output clean."""

    def do_GET(self) -> None:
        path = self._begin()
        if path == "/api/whoami-v2":
            self._json({"name": "ada", "type": "user", "orgs": []} if self._is_authorized() else None, 401)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/main)?", path):
            self._json(self._info(match.group(1)))
        elif match := re.fullmatch(rf"/api/models/([^/]+/[^/]+)/tree/(?:main|{COMMIT})", path):
            files = self.server.repositories.get(match.group(1))
            listed = [
                {"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in (files or {}).items()
            ]
            self._json(None if files is None else listed)
        else:
            self._file(path, with_body=True)

    def do_HEAD(self) -> None:
        self._file(self._begin(), with_body=False)

    def do_PUT(self) -> None:
        path, data = self._begin(), self._body()
        oid = path.rpartition("/")[2]
        assert hashlib.sha256(data).hexdigest() == oid
        self.server.large[oid] = data
        self._send(200, b"")

    def do_POST(self) -> None:
        path, body = self._begin(), self._body()
        if path == "/api/validate-yaml":  # as on the hub, without a token too
            metadata, errors = validate_card(json.loads(body)["content"])
            self.server.cards.append(metadata)
            self._json(
                {"warnings": [], "errors": [{"message": error} for error in errors]}, status=400 if errors else 200
            )
        elif not self._is_authorized():
            self._json(None, 401)
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'ada'}/{asked['name']}"
            exists = name in self.server.repositories
            self.server.repositories.setdefault(name, {".gitattributes": b""})
            if not exists:
                self.server.private[name] = asked.get("private", asked.get("visibility") == "private")
            self._json({"url": f"{self.server.address}/{name}"}, status=409 if exists else 200)
        elif path.endswith("/preupload/main"):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith((".safetensors", ".png")) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.server.address}/large/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self._commit(self.server.repositories[match.group(1)], body)
            address = f"{self.server.address}/{match.group(1)}/commit/{COMMIT}"
            self._json({"commitUrl": address, "commitOid": COMMIT, "success": True})
        else:
            self._json(None)

    def _commit(self, files: dict[str, bytes], body: bytes) -> None:
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]

    def _info(self, name: str) -> dict[str, Any] | None:
        files = self.server.repositories.get(name)
        if files is None:
            return None
        siblings = [{"rfilename": file} for file in files]
        return {"id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}

    def _file(self, path: str, *, with_body: bool) -> None:
        match = re.fullmatch(rf"/([^/]+/[^/]+)/resolve/(?:main|{COMMIT})/(.+)", path)
        data = match and self.server.repositories.get(match.group(1), {}).get(match.group(2))
        if data is None:
            self._json(None)
            return
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        self._send(200, data, headers, with_body=with_body)

    def _begin(self) -> str:
        path = urlsplit(self.path).path
        self.server.requests.append((self.command, path))
        return path

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _is_authorized(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _json(self, value: Any, missing: int = 404, status: int = 200) -> None:
        headers = {"Content-Type": "application/json"}
        if value is None:
            code = {"X-Error-Code": "RepoNotFound"} if missing == 404 else {}
            self._send(missing, json.dumps({"error": "no"}).encode(), {**headers, **code})
        else:
            self._send(status, json.dumps(value).encode(), headers)

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None, *, with_body: bool = True) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body and self.command != "HEAD":
            self.wfile.write(data)
