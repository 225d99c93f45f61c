"""Pages of other origins, in a real browser, against the servers of `lycoris server` and `lycoris run`.

A hostile page sends requests, forms and websockets: from another origin, or from its own after its name was resolved to
this machine (DNS rebinding). Without the password and `lycoris.safety.request_guard` each of these succeeds.
"""

import base64
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser import open_browser
from tests.e2e.tiny import ENVIRONMENT, ROOT, command

pytestmark = pytest.mark.slow
ATTACKER = "attacker.test"
"""A name that the browser resolves to loopback."""
TIMEOUT_S = 300

RUN_A_COMMAND = """
const [api, command, done] = arguments
const post = async (path, body) => {
    const answer = await fetch(api + path, {method: 'POST', headers: {'Content-Type': 'application/json'},
                                            body: JSON.stringify(body)})
    return [answer.status, answer.ok ? await answer.json() : await answer.text()]
}
const attack = async () => {
    const [, flow] = await post('/flows/', {name: 'planted'})
    const [, deployments] = await post('/deployments/filter', {})
    const target = Array.isArray(deployments) && deployments.find(one => one.name === 'pocket')
    const variables = {job_variables: {command}}
    return target ? post(`/deployments/${target.id}/create_flow_run`, variables)
                  : post('/flow_runs/', {flow_id: flow.id, ...variables})
}
attack().then(done, error => done(['error', String(error)]))
"""
BLIND_REQUEST = """
const [api, name, done] = arguments
fetch(api + '/variables/', {method: 'POST', mode: 'no-cors', body: new Blob([JSON.stringify({name, value: 1})])})
    .then(answer => done(answer.type), error => done(String(error)))
"""
FORM = """
const [api, name] = arguments, form = document.createElement('form'), field = document.createElement('input')
form.method = 'POST'; form.action = api + '/variables/'; form.enctype = 'text/plain'
field.name = `{"name": "${name}", "value": "`; field.value = '"}'
form.append(field); document.body.append(form); form.submit()
"""
SEND_EVENTS = """
const [api, protocol, event, done] = arguments
const socket = new WebSocket(api.replace('http', 'ws') + '/events/in', protocol ? [protocol] : [])
socket.onopen = () => { socket.send(event); setTimeout(() => { done('open'); socket.close() }, 1000) }
socket.onerror = () => done('closed')
"""

USE_REGISTRY = """
const [api, done] = arguments
const attack = async () => {
    const body = JSON.stringify({name: 'planted'}), headers = {'Content-Type': 'application/json'}
    const written = await fetch(api + '/registered-models/create', {method: 'POST', headers, body})
    return [written.status, (await fetch(api + '/registered-models/search')).status]
}
attack().then(done, () => done(['refused', 'refused']))
"""


@dataclass(frozen=True)
class Victim:
    """A Prefect server that is attacked.

    Attributes:
        port: where it listens, on 127.0.0.1.
        mlflow_port: of MLflow's server beside it, or None.
        password: of its API.
        marker: the file that the attacker's command would write.
        variables: names of the variables that the server has before any attack.
    """

    port: int
    mlflow_port: int | None
    password: str
    marker: Path
    variables: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.variables.extend(self.variable_names())

    def variable_names(self):
        """Return the names of the server's variables now."""
        return sorted(variable["name"] for variable in self.ask("/variables/filter", {}))

    def ask(self, path, body=None):
        """Return the answer of the API to the user."""
        token = base64.b64encode(self.password.encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api{path}", data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def attacker():
    """The port of a web server with an empty page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>attack</title>")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    opened = open_browser(tmp_path_factory.mktemp("browser"), f"--host-resolver-rules=MAP *{ATTACKER} 127.0.0.1")
    opened.set_script_timeout(60)
    yield opened
    opened.quit()


def started_server(folder, ports):
    """`lycoris server` with its worker; yields the password."""
    options = ("--folder", folder / "server", "--prefect-port", ports[0], "--mlflow-port", ports[1])
    log = folder / "log"
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            command("server", *map(str, options)), cwd=ROOT, env=ENVIRONMENT, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + TIMEOUT_S
    while "Press Ctrl-C" not in log.read_text():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.5)
    yield (folder / "server" / "prefect-auth").read_text().strip()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=120)


def temporary_server(folder):
    """The server of `lycoris run`; yields its address and its password."""
    from flows.runtime.prefect_server import prefect_server

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        patch.delenv("PREFECT_API_URL", raising=False)
        with prefect_server(folder / "prefect") as url:
            yield url, os.environ["PREFECT_API_AUTH_STRING"]


@pytest.fixture(scope="module", params=["server", "run"])
def victim(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "server":
        ports = free_ports(2)
        for password in started_server(folder, ports):
            yield Victim(*ports, password, folder / "marker")
    else:
        for url, password in temporary_server(folder):
            yield Victim(urllib.request.urlsplit(url).port, None, password, folder / "marker")


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def origins(victim, attacker):
    """The pages that attack: another name, another port of this machine, and a name that was resolved anew."""
    api = f"http://127.0.0.1:{victim.port}/api"
    return {
        "another site": (f"http://{ATTACKER}:{attacker}/", api),
        "another port": (f"http://127.0.0.1:{attacker}/", api),
        "DNS rebinding": (f"http://{ATTACKER}:{victim.port}/api/health", f"http://{ATTACKER}:{victim.port}/api"),
    }


@pytest.fixture(params=["another site", "another port", "DNS rebinding"])
def attack(request, page, victim, attacker):
    """The browser on the attacker's page, and the address of the API that it uses."""
    address, api = origins(victim, attacker)[request.param]
    page.get(address)
    return page, api


def test_no_page_creates_a_run_or_runs_a_command(attack, victim):
    page, api = attack
    result = page.execute_async_script(RUN_A_COMMAND, api, f"touch {victim.marker}")
    wait_for_worker(victim)
    assert victim.ask("/flow_runs/filter", {}) == [], result
    assert victim.ask("/flows/filter", {"flows": {"name": {"any_": ["planted"]}}}) == []
    assert not victim.marker.exists()


def wait_for_worker(victim):
    """Give the worker the time in which it would start a run."""
    deadline = time.monotonic() + 60
    while victim.ask("/flow_runs/filter", {}) and not victim.marker.exists() and time.monotonic() < deadline:
        time.sleep(1)


def test_no_page_writes_without_reading_the_answer(attack, victim):
    page, api = attack
    page.execute_async_script(BLIND_REQUEST, api, "blind")
    page.execute_script(FORM, api, "form")
    time.sleep(2)
    assert victim.variable_names() == victim.variables


@pytest.mark.parametrize("protocol", ["", "prefect"])
def test_no_page_opens_a_websocket(attack, victim, protocol):
    page, api = attack
    event = {"event": "planted", "resource": {"prefect.resource.id": "dvc.data.main"}, "id": str(uuid.uuid4())}
    event["occurred"] = datetime.now(UTC).isoformat()
    assert page.execute_async_script(SEND_EVENTS, api, protocol, json.dumps(event)) == "closed"


@pytest.mark.parametrize("address", [f"http://{ATTACKER}", "http://127.0.0.1", f"http://10.{ATTACKER}"])
def test_no_page_reads_or_writes_the_registry(page, victim, attacker, address):
    if victim.mlflow_port is None:
        pytest.skip("a run without a server logs to a database file")
    is_resolved_anew = address.startswith("http://10.")  # a name that MLflow takes for a private address
    page.get(f"{address}:{victim.mlflow_port if is_resolved_anew else attacker}/")
    api = f"{address if is_resolved_anew else 'http://127.0.0.1'}:{victim.mlflow_port}/api/2.0/mlflow"
    written, read = page.execute_async_script(USE_REGISTRY, api)
    assert (written, read) in [(403, 403), ("refused", "refused")]
    found = urllib.request.urlopen(f"http://127.0.0.1:{victim.mlflow_port}/api/2.0/mlflow/registered-models/search")
    assert json.load(found) == {}


@pytest.mark.parametrize("number", range(40))
def test_hostile_requests_are_refused_by_the_running_servers(victim, number):
    """Bytes that no browser sends, with the right password: without a permitted `Host` and `Origin` nothing is done."""
    chance = random.Random(number)
    body = json.dumps({"name": f"hostile_{number}", "value": 1}).encode()
    token = base64.b64encode(victim.password.encode())
    for port, path in ((victim.port, b"/api/variables/"), (victim.mlflow_port, b"/api/2.0/mlflow/experiments/create")):
        if port is None:
            continue
        own = b"127.0.0.1:%d" % port
        host, origin = chance.choice(HOSTILE_HEADERS)
        headers = [
            *(b"Host: " + one.replace(b"OWN", own) for one in host),
            *(b"Origin: " + one.replace(b"OWN", own) for one in origin),
        ]
        headers += [b"Authorization: Basic " + token, b"Content-Type: application/json", b"X-Long: " + b"y" * 5000]
        headers += [b"Content-Length: %d" % len(body), b"Connection: close"]
        chance.shuffle(headers)
        target = chance.choice([path, b"http://" + own + path, path + b"?x=%00", path.replace(b"/", b"//")])
        answer = send_bytes(port, b"POST " + target + b" HTTP/1.1\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + body)
        assert answer.split(b" ")[1:2] in ([b"403"], [b"400"]), (headers, answer)
    assert victim.variable_names() == victim.variables


HOSTILE_HEADERS = [
    ((), ()),
    ((b"",), ()),
    ((b"attacker.test",), ()),
    ((b"OWN", b"attacker.test"), ()),
    ((b"OWN", b"OWN"), ()),
    ((b"OWN@attacker.test",), ()),
    ((b"attacker.test\t",), ()),
    ((b"127.0.0.1.attacker.test",), ()),
    ((b"\xff\xfe",), ()),
    ((b"OWN",), (b"http://attacker.test",)),
    ((b"OWN",), (b"null",)),
    ((b"OWN",), (b"http://OWN", b"http://attacker.test")),
    ((b"OWN",), (b"\xff",)),
    ((b"OWN",), (b"http://127.0.0.1",)),
]
"""Values of `Host` and `Origin`; OWN is the server's address."""


def send_bytes(port, request):
    """The first line of a server's answer to bytes; a closed connection counts as refused."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n" not in answer:
            try:
                received = connection.recv(4096)
            except ConnectionResetError:
                received = b""
            if not received:
                return answer or b"HTTP/1.1 400 closed"
            answer += received
    return answer.split(b"\r\n")[0]


def test_the_pages_of_prefect_contact_nobody_else(page, victim):
    if victim.mlflow_port is None:
        pytest.skip("the server of a run has no pages")
    page.get(f"http://localhost:{victim.port}/")
    until(lambda: page.find_elements("css selector", "input[type=password]"))
    blocked = page.execute_async_script(
        """const done = arguments[0]
        addEventListener("securitypolicyviolation", (event) => done(event.blockedURI))
        fetch("https://sr-client-cfg.amplitude.com/config").then(() => done("connected"), () => {})"""
    )
    assert blocked == "https://sr-client-cfg.amplitude.com/config"


def test_the_user_signs_in_with_the_password(page, victim):
    if victim.mlflow_port is None:
        pytest.skip("the server of a run has no pages")
    page.get(f"http://localhost:{victim.port}/")
    until(lambda: page.find_elements("css selector", "input[type=password]"))[0].send_keys(f"{victim.password}\n")
    until(lambda: "login" not in page.current_url)
    page.get(f"http://localhost:{victim.port}/v2/deployments")
    until(lambda: "nightly" in page.find_element("css selector", "body").text)


def until(poll):
    """Wait for a true value."""
    deadline = time.monotonic() + 60
    while not (value := poll()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return value
