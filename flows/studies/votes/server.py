"""The page on which votes are given, served on loopback alone."""

from __future__ import annotations

import hmac
import io
import json
import secrets
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows.studies.votes.session import VotingSession
from lycoris.data.images import read_image
from lycoris.errors import InputError
from lycoris.safety.request_guard import find_refusal

PAGE = Path(__file__).parents[3] / "lycoris" / "report" / "vote" / "vote.html"
TOKEN_HEADER = "X-Lycoris-Token"
MAX_BODY_BYTES = 4096
LOOPBACK = "127.0.0.1"
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class VoteServer:
    """A server for one voting session.

    The page has no names of settings or files. Requests need the Host of this machine, no foreign Origin, and the token
    in a header, which a page of another origin can neither read nor send; the address has it behind `#`, so that no
    server or log gets it.

    Args:
        session: the session.
        port: to listen on; 0 for a free one.

    Attributes:
        address: of the page, with the token.
        finished: set once the voter has given every vote, or ended the session.

    Raises:
        InputError: the port cannot be used.
    """

    def __init__(self, session: VotingSession, port: int = 0) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(32)
        self.finished = threading.Event()
        self.lock = threading.Lock()
        if not 0 <= port < 2**16:
            raise InputError(f"Option `--port` must be in [0, 65535], but got {port}.")
        handler = type("VoteHandler", (_Handler,), {"vote_server": self})
        try:
            self._server = ThreadingHTTPServer((LOOPBACK, port), handler)
        except OSError as error:
            raise InputError(f"Port {port} cannot be used ({error.strerror}): choose another with `--port`.") from error
        self._server.daemon_threads = True
        self.address = f"http://{LOOPBACK}:{self._server.server_address[1]}/#{self.token}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> VoteServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def state(self) -> dict[str, Any]:
        """Return what the page shows: no name of a setting."""
        progress = self.session.progress
        pair = progress.pair
        shown = None if pair is None else {"id": pair.id, "prompt": pair.prompt, "concept": pair.concept}
        return {"done": progress.done, "wanted": progress.wanted, "pair": shown}


class _Handler(BaseHTTPRequestHandler):
    """Answers to the requests of the page."""

    vote_server: VoteServer
    server_version, sys_version = "lycoris", ""
    timeout = 30

    def do_GET(self) -> None:
        """Send the page, the state, or an image."""
        path = urlsplit(self.path).path
        if self._refused(needs_token=path != "/"):
            return
        if path == "/":
            nonce = secrets.token_urlsafe(16)
            page = PAGE.read_text(encoding="utf-8").replace("{{nonce}}", nonce)
            policy = {"Content-Security-Policy": _POLICY.format(nonce=nonce)}
            self._send(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8", policy)
        elif path == "/api/state":
            with self.vote_server.lock:
                self._send_json(self.vote_server.state())
        elif len(parts := path.split("/")) == 5 and path.startswith("/api/image/"):
            with self.vote_server.lock:
                file = self.vote_server.session.image(parts[3], parts[4])
            self._send_image(file)
        else:
            self._send_error(HTTPStatus.NOT_FOUND, "There is no such page.")

    def do_POST(self) -> None:
        """Store an answer, revoke the last one, or end the session."""
        path = urlsplit(self.path).path
        if self._refused(needs_token=True):
            return
        values = self._body()
        if values is None:
            return
        server = self.vote_server
        with server.lock:
            if path == "/api/vote":
                if not server.session.answer(str(values.get("pair")), str(values.get("answer"))):
                    self._send_error(HTTPStatus.CONFLICT, "This pair is not the one that is shown.")
                    return
            elif path == "/api/undo":
                server.session.undo()
            elif path == "/api/end":
                server.finished.set()
            else:
                self._send_error(HTTPStatus.NOT_FOUND, "There is no such page.")
                return
            state = server.state()
        self._send_json(state)

    def _refused(self, *, needs_token: bool) -> bool:
        """Whether the request was refused, and answered."""
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        reason = find_refusal(headers, ())
        token = self.headers.get(TOKEN_HEADER) or ""
        if reason is None and needs_token and not hmac.compare_digest(token.encode(), self.vote_server.token.encode()):
            reason = "The request has no valid token: open the address that `lycoris vote` printed."
        if reason is not None:
            self._send_error(HTTPStatus.FORBIDDEN, reason)
        return reason is not None

    def _body(self) -> dict[str, Any] | None:
        """The JSON object of a request; None where there is none, which was answered."""
        length = self.headers.get("Content-Length") or ""
        is_json = (self.headers.get("Content-Type") or "").partition(";")[0].strip() == "application/json"
        if not is_json or not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self._send_error(HTTPStatus.BAD_REQUEST, f"The request must be JSON of at most {MAX_BODY_BYTES} bytes.")
            self.close_connection = True
            return None
        try:
            values = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            self._send_error(HTTPStatus.BAD_REQUEST, "The request must be a JSON object.")
            return None
        return values

    def _send_image(self, file: Path | None) -> None:
        """Send an image decoded and encoded again, so that nothing but its pixels is sent."""
        if file is None:
            self._send_error(HTTPStatus.NOT_FOUND, "There is no such image.")
            return
        try:
            stream = io.BytesIO()
            read_image(file).convert("RGB").save(stream, format="PNG")
        except (InputError, OSError, ValueError):
            self._send_error(HTTPStatus.NOT_FOUND, "The image cannot be read.")
            return
        self._send(HTTPStatus.OK, stream.getvalue(), "image/png")

    def _send_json(self, values: Mapping[str, Any]) -> None:
        self._send(HTTPStatus.OK, json.dumps(values).encode(), "application/json")

    def _send_error(self, status: HTTPStatus, reason: str) -> None:
        self._send(status, json.dumps({"detail": reason}).encode(), "application/json")

    def _send(
        self, status: HTTPStatus, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        fixed = {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        for name, value in {**fixed, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the terminal is for the results."""
