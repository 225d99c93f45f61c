"""Which requests a guarded server answers."""

import asyncio

import pytest

from lycoris.safety.request_guard import PAGE_POLICY, RequestGuard, allowed_hosts, find_refusal


def refusal(host, *origins, names=(), permitted=()):
    headers = [(b"host", host.encode()), *((b"origin", origin.encode()) for origin in origins)]
    return find_refusal(headers, names, permitted)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4200", "localhost:4200", "LOCALHOST", "[::1]:4200", "10.0.0.1:4200", "192.168.1.2", "0.0.0.0:1"]
)
def test_addresses_and_localhost_are_allowed_on_every_port(host):
    assert refusal(host) is None
    assert refusal(host, f"http://{host}".lower()) is None


@pytest.mark.parametrize(
    "host",
    [
        "attacker.test:4200", "10.attacker.test:4200", "192.168.attacker.test", "127.0.0.1.attacker.test:4200",
        "localhost.attacker.test", "localhost.", "127.0.0.1:4200@attacker.test", "attacker.test#localhost", "", "*",
        "localhost, attacker.test", "[::1", "127.0.0.1:4200:80", "localhost:port", "1e3.0.0.1",
    ],
)  # fmt: skip
def test_other_hosts_are_refused(host):
    assert refusal(host)
    assert refusal(host, names=["head", "example.org"])


def test_a_request_has_exactly_one_host():
    assert find_refusal([], ["*"])
    assert find_refusal([(b"host", b"localhost"), (b"host", b"localhost")], ["*"])


def test_names_of_the_setting_are_allowed_and_a_refusal_says_how():
    names = allowed_hosts({"LYCORIS_ALLOWED_HOSTS": "Head, prefect.example.org,"})
    assert refusal("head:4200", names=names) is None
    assert refusal("prefect.example.org", "https://prefect.example.org", names=names) is None
    assert "`--allowed-host other`" in refusal("other:4200", names=names)
    assert refusal("other", names=["*"]) is None
    assert allowed_hosts({}) == []


@pytest.mark.parametrize(
    "origin",
    [
        "http://attacker.test",
        "null",
        "http://127.0.0.1:3000",
        "http://localhost:4200",
        "http://127.0.0.1",
        "file://",
        "",
    ],
)
def test_pages_of_other_origins_are_refused(origin):
    assert refusal("127.0.0.1:4200", origin) == "Pages of another origin may not use this server."
    assert refusal("127.0.0.1:4200", "http://127.0.0.1:4200", origin)


def test_origins_of_the_setting_are_allowed():
    assert refusal("127.0.0.1:4200", "https://page.example.org", permitted=["https://page.example.org/"]) is None
    assert refusal("127.0.0.1:4200", "https://other.example.org", permitted=["https://page.example.org"])
    assert refusal("127.0.0.1:4200", "https://other.example.org", permitted=["*"]) is None


def exchange(kind, headers):
    """The messages that a guarded application sends for one request."""
    sent = []

    async def application(scope, receive, send):
        await send({"type": "passed"})

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "headers": headers}
    asyncio.run(RequestGuard(application, ["head"])(scope, None, send))
    return sent


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_permitted_requests_and_websockets_pass(kind):
    assert exchange(kind, [(b"host", b"head:4200"), (b"origin", b"http://head:4200")]) == [{"type": "passed"}]
    assert exchange("lifespan", []) == [{"type": "passed"}]


def test_refused_requests_get_status_403_and_refused_websockets_are_never_accepted():
    headers = [(b"host", b"head:4200"), (b"origin", b"http://attacker.test")]
    start, body = exchange("http", headers)
    assert start["status"] == 403
    assert b"another origin" in body["body"]
    assert [message["type"] for message in exchange("websocket", headers)] == ["websocket.close"]


def test_answers_have_a_policy_beside_the_servers_own_headers():
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-security-policy", b"x")]})
        await send({"type": "http.response.body", "body": b"page"})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": [(b"host", b"localhost")]}
    asyncio.run(RequestGuard(application, [])(scope, None, send))
    policies = [value for name, value in sent[0]["headers"] if name == b"content-security-policy"]
    assert policies == [b"x", PAGE_POLICY.encode()]  # a browser applies both
    assert sent[1] == {"type": "http.response.body", "body": b"page"}
