"""A guard in front of a web server, against requests that a browser sends on behalf of other web pages.

The server's own password does not suffice: a browser may hold it. Two headers that a page cannot set are checked:
``Host``, which names the attacker's domain if its address was changed to this machine (DNS rebinding), and ``Origin``,
which names the page that sends a request or opens a websocket.

The server's own pages get a policy: they may connect to their server alone, since those of Prefect load a script of an
analytics service even where its setting is off, and no page of another origin may show them in a frame.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
"""An application as the ASGI standard defines it."""

ALLOWED_HOSTS_VARIABLE = "LYCORIS_ALLOWED_HOSTS"
"""The environment variable with host names, separated by commas, under which clients may reach the servers."""
LOOPBACK_NAME = "localhost"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_POLICY_VIOLATION = 1008
PAGE_POLICY = "connect-src 'self' blob: data:; frame-ancestors 'self'"
"""What pages of a guarded server may do, besides what the server itself permits."""


def allowed_hosts(environment: Mapping[str, str]) -> list[str]:
    """Return the names in `ALLOWED_HOSTS_VARIABLE`."""
    return split_list(environment.get(ALLOWED_HOSTS_VARIABLE, ""))


def split_list(text: str) -> list[str]:
    """Split a list separated by commas; empty entries are left out."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def find_refusal(
    headers: Iterable[tuple[bytes, bytes]], hosts: Collection[str], origins: Collection[str] = ()
) -> str | None:
    """Return why a request is refused, or None if it may pass.

    Args:
        headers: Of the request, names in lower case.
        hosts: Names under which the server may be reached, besides its IP addresses and `localhost`. ``*`` allows all.
        origins: Origins, such as ``https://prefect.example.org``, that may send requests besides the server's own.
            ``*`` allows all.
    """
    texts = [(name, value.decode("latin-1").strip().lower()) for name, value in headers]
    named = [value for name, value in texts if name == b"host"]
    if len(named) != 1 or (match := _HOST.fullmatch(named[0])) is None:
        return "The request must have one valid header `Host`."
    host, name = named[0], match.group(1)
    if not (_is_address(name) or name == LOOPBACK_NAME or "*" in hosts or name in {each.lower() for each in hosts}):
        return (
            f"The host name `{name}` is not allowed: start the server with `--allowed-host {name}`, or name it in "
            f"{ALLOWED_HOSTS_VARIABLE}."
        )
    permitted = {f"http://{host}", f"https://{host}", *(origin.lower().rstrip("/") for origin in origins)}
    if "*" not in origins and any(field == b"origin" and value not in permitted for field, value in texts):
        return "Pages of another origin may not use this server."
    return None


def _is_address(name: str) -> bool:
    """Whether a host is an IP address, which no DNS server can point elsewhere."""
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _with_policy(send: Send) -> Send:
    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            policy = (b"content-security-policy", PAGE_POLICY.encode())
            message = {**message, "headers": [*message.get("headers", ()), policy]}
        await send(message)

    return send_with_policy


class RequestGuard:
    """An ASGI application that passes permitted requests and websockets to another, and refuses the rest (status 403).

    Answers get `PAGE_POLICY`.

    Args:
        application: The application behind the guard.
        hosts: As for `find_refusal`.
        origins: As for `find_refusal`.
    """

    def __init__(self, application: Application, hosts: Collection[str], origins: Collection[str] = ()) -> None:
        self._application, self._hosts, self._origins = application, hosts, origins

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one request, websocket or event of the server's life."""
        is_request = scope["type"] in ("http", "websocket")
        reason = find_refusal(scope["headers"], self._hosts, self._origins) if is_request else None
        if reason is None:
            await self._application(scope, receive, _with_policy(send) if scope["type"] == "http" else send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason})
        else:
            body = json.dumps({"detail": reason, "exception_message": reason}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})
