"""The approver as a process: where it listens, what it refuses, and what a lying service achieves."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from playwright.sync_api import Browser

from ledger.encoding import canonical, parse
from tests.approver.browser import screen
from tests.ledger.authority import holder
from tests.world import Living
from workbench import client
from workbench.approver.web import HEADERS
from workbench.client import UnixConnection
from workbench.demo.world import APPROVER, SERVICE, at_free_port
from workbench.rules.trust import RelyingParty
from workbench.rules.words import words

START_S = 30
COMMAND = [sys.executable, "-m", "workbench.approver"]
NEVER = dict.fromkeys(("certificate", "certificate_key", "metadata", "metadata_root"))


def get(world: Living, path: str, *, address: str = "127.0.0.1", **headers: str) -> tuple[int, bytes, Any]:
    """Ask the approver as something that is no browser does."""
    origin = world.world.trust_root.approval.origin
    told = {"Host": origin.partition("://")[2], "Sec-Fetch-Dest": "document", **headers}
    with closing(HTTPConnection(address, int(origin.rpartition(":")[2]), timeout=START_S)) as http:
        http.request("GET", path, headers=told)
        answer = http.getresponse()
        return answer.status, answer.read(), answer.headers


def post(world: Living, path: str, body: bytes, **changes: str | None) -> tuple[int, Any]:
    """Post as our own page does, but for what is changed."""
    origin = world.world.trust_root.approval.origin
    headers = {
        "Host": origin.partition("://")[2],
        "Origin": origin,
        "Sec-Fetch-Site": "same-origin",
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    told = {name: value for name, value in headers.items() if value is not None}
    with closing(HTTPConnection("::1", int(origin.rpartition(":")[2]), timeout=START_S)) as http:
        http.request("POST", path, body, told)
        answer = http.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_every_answer_is_closed(world: Living, address: str) -> None:
    """On both loopback families, whatever is asked: no frame, no foreign script, no cache, no referrer."""
    for path in ("/status", "/static/review.js", "/static/../app.py", "/nothing", f"/review/{'00' * 32}"):
        _, body, headers = get(world, path, address=address)
        assert {name: headers[name] for name in HEADERS} == HEADERS
        assert b"from __future__" not in body
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"Origin": "http://lab.localhost:8888"}, id="another origin"),
        pytest.param({"Origin": "null"}, id="an origin that is none"),
        pytest.param({"Origin": None}, id="no origin"),
        pytest.param({"Sec_Fetch_Site": "same-site"}, id="a neighbour of ours"),
        pytest.param({"Sec_Fetch_Site": None}, id="no word of the browser's"),
        pytest.param({"Content_Type": "text/plain"}, id="what a form can send"),
        pytest.param({"Host": "127.0.0.1"}, id="our address"),
        pytest.param({"Host": "approve.localhost"}, id="our name at another port"),
    ],
)
def test_who_may_post(world: Living, changes: dict[str, str | None]) -> None:
    """Nothing but our own page acts."""
    with world.unchanged(refusals=1):
        status, body = post(world, f"/looks/{'00' * 32}/decision", b"{}", **changes)
    assert (status, body.partition(b":")[0]) == (403, b"origin_not_ours")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"{", "malformed", id="no JSON"),
        pytest.param(b"[" * 20_000, "malformed", id="very deep"),
        pytest.param(b'{"verb":"sign","role":"cro","reason":""}', "malformed", id="an unknown verb"),
        pytest.param(
            b'{"verb":"approve","role":"cro","reason":"","x":1}', "malformed", id="a field too many"
        ),
        pytest.param(b'"' + b"a" * 40_000 + b'"', "too_large", id="too much"),
        pytest.param(b'{"verb":"approve","role":"cro","reason":""}', "not_found", id="a page that is over"),
    ],
)
def test_what_may_be_posted(world: Living, body: bytes, code: str) -> None:
    """What is no decision of an open page is refused by name."""
    with world.unchanged(refusals=1):
        _, answer = post(world, f"/looks/{'00' * 32}/decision", body)
    assert json.loads(answer)["code"] == code


def run(folder: Path, trust_root: Path) -> subprocess.CompletedProcess[str]:
    """Start an approver that is expected to end."""
    command = [*COMMAND, "--state", str(folder), "--trust-root", str(trust_root)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=START_S)


def state_root(tmp_path: Path, config: dict[str, Any]) -> Path:
    """Return an approver's state root."""
    folder = tmp_path / "approver"
    folder.mkdir(mode=0o700)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_half_an_origin(world: Living, tmp_path: Path, family: socket.AddressFamily, address: str) -> None:
    """Whoever sits on the other family would be the same site: the approver does not start beside him."""
    party = at_free_port(world.world.trust_root.approval)
    trust_root = tmp_path / "trust-root.json"
    trust_root.write_bytes(canonical({**world.world.trust_root.dump(), "approval": party.dump()}))
    folder = state_root(tmp_path, {**NEVER, "service": str(world.socket)})
    port = int(party.origin.rpartition(":")[2])
    with socket.socket(family, socket.SOCK_STREAM) as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind((address, port))
        squatter.listen()
        done = run(folder, trust_root)
        assert (done.returncode, "in use" in done.stderr) == (2, True)
    other = ("127.0.0.1", "::1")[address == "127.0.0.1"]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((other, port), timeout=1)


def test_nobody_joins_a_running_one(world: Living) -> None:
    """While it runs neither family is free, also not for somebody who asks to share."""
    port = int(world.world.trust_root.approval.origin.rpartition(":")[2])
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_STREAM) as late:
            late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="in use"):
                late.bind((address, port))


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"service": "x"}, id="fields missing"),
        pytest.param({**NEVER, "service": "x", "key": "x"}, id="a field too many"),
        pytest.param(
            {**NEVER, "certificate": "c", "certificate_key": "k", "service": "x"}, id="TLS for an http origin"
        ),
        pytest.param({**NEVER, "certificate": "c", "service": "x"}, id="half of TLS"),
        pytest.param({**NEVER, "metadata": "m", "service": "x"}, id="metadata without its root"),
        pytest.param({**NEVER, "metadata_root": "r", "service": "x"}, id="a root without metadata"),
    ],
)
def test_configurations_that_do_not_start(world: Living, tmp_path: Path, config: dict[str, Any]) -> None:
    """What is not meant is not run."""
    done = run(state_root(tmp_path, config), world.world.places.trust_root)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("approver: ")


def test_over_tls(world: Living, tmp_path: Path) -> None:
    """An https origin is served over TLS 1.3 with the configured certificate, and over nothing else."""
    root = holder("root", ca=True)
    page = holder("page", root, purposes=(ExtendedKeyUsageOID.SERVER_AUTH,), host="127.0.0.1")
    page.write(tmp_path, "page")
    files = {"certificate": str(tmp_path / "page.pem"), "certificate_key": str(tmp_path / "page.key")}
    believed = root.certificate.public_bytes(Encoding.PEM).decode()
    party = at_free_port(world.world.trust_root.approval)
    secure = {"id": party.id, "origin": party.origin.replace("http:", "https:")}
    trust_root = tmp_path / "trust-root.json"
    login = {"id": "login.localhost", "origin": "https://login.localhost:1"}
    login["origin"] = at_free_port(RelyingParty(**login)).origin
    changes = {"approval": secure, "login": login}
    trust_root.write_bytes(canonical({**world.world.trust_root.dump(), **changes}))
    folder = state_root(tmp_path, {**NEVER, **files, "service": str(world.socket)})
    command = [*COMMAND, "--state", str(folder), "--trust-root", str(trust_root)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            context = ssl.create_default_context(cadata=believed)
            assert over_tls(party.origin, context) == (200, "TLSv1.3")
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(ssl.SSLError):
                over_tls(party.origin, context)
        finally:
            process.terminate()


def over_tls(origin: str, context: ssl.SSLContext) -> tuple[int, str | None]:
    """Ask for the status over TLS; wait until somebody listens."""
    netloc, port = origin.partition("://")[2], int(origin.rpartition(":")[2])
    for _ in range(200):
        with closing(HTTPSConnection("127.0.0.1", port, timeout=START_S, context=context)) as http:
            try:
                http.connect()
            except ConnectionRefusedError:
                time.sleep(0.1)
                continue
            version = http.sock.version()
            http.request("GET", "/status", headers={"Host": netloc})
            return http.getresponse().status, version
    raise AssertionError("nobody listens")


@contextmanager
def lying_service(world: Living, path: Path, lie: Callable[[str, Any], Any]) -> Iterator[None]:
    """Stand between approver and service, and change what the service hands out."""

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                told = relay(peer.makefile("rb"))
                peer.sendall(told)

    def relay(stream: Any) -> bytes:
        method, target, _ = stream.readline().decode().split()
        length = 0
        while (line := stream.readline().strip()) != b"":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = stream.read(length)
        with closing(UnixConnection(world.socket)) as http:
            http.request(method, target, body)
            answer = http.getresponse()
            raw = answer.read()
        status = answer.status
        if status == 200:
            told = lie(f"{method} {target}", parse(raw, limit=2**24))
            status, told = told if isinstance(told, tuple) else (status, told)
            raw = canonical(told, limit=2**24)
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(raw)}\r\nConnection: close\r\n\r\n"
        return head.encode() + raw

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield


@contextmanager
def lied_to(world: Living, lie: Callable[[str, Any], Any]) -> Iterator[None]:
    """Let the approver speak to a service that lies."""
    places = world.world.places
    path = places.runtime / "lie.sock"
    config = places.root(APPROVER) / "config.json"
    honest = config.read_text()
    with ExitStack() as ends:
        ends.enter_context(lying_service(world, path, lie))
        ends.callback(path.unlink)
        world.stack.stop_one(APPROVER)
        config.write_text(json.dumps({**json.loads(honest), "service": str(path)}))
        world.stack.start(APPROVER)
        try:
            yield
        finally:
            world.stack.stop_one(APPROVER)
            config.write_text(honest)
            world.stack.start(APPROVER)


def test_a_service_that_shows_another_intent(world: Living, browser: Browser) -> None:
    """Who is shown an intent consents to that one: the other one gets nothing from it."""
    wanted = world.outstanding(world.allowance(900_000))
    harmless = world.outstanding(world.allowance(1))
    risk = world.officer("risk-1").speaks
    tickets = {view.digest: risk.ask(view.digest).ticket for view in (wanted, harmless)}
    shown = client.asked(world.socket, tickets[harmless.digest]).dump()
    nonce = client.asked(world.socket, tickets[wanted.digest]).server_nonce

    def substitute(call: str, value: Any) -> Any:
        # the ticket of the wanted intent opens the harmless one, under the nonce that was asked for
        return (
            {**shown, "server_nonce": nonce} if call == f"GET /v1/tickets/{tickets[wanted.digest]}" else value
        )

    with lied_to(world, substitute), screen(browser, world, "risk-1", counter=20_000) as tab:
        tab.open(tickets[wanted.digest])
        text = tab.page.locator("main").inner_text()
        assert words(harmless.digest) in text
        assert "900,000" not in text
        tab.read()
        assert "another intent" in tab.press("approve")
    for view in (wanted, harmless):
        assert world.pm.intent(view.digest).decisions == []
        world.officer("cro-1").decide(view.digest, verb="reject", role="cro", reason="end of the test")


def bigger(value: Any) -> Any:
    """Raise the amount behind the proposer's back."""
    intent = value["proposal"]["intent"]
    allowances = [{**intent["allowances"][0], "amount": "1"}]
    return {**value, "proposal": {**value["proposal"], "intent": {**intent, "allowances": allowances}}}


LIES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "an amount that nobody proposed": (bigger, "signature invalid"),
    "a simulation without its moves": (
        lambda value: {
            **value,
            "simulations": [
                {**each, "document": {**each["document"], "allowances": []}} for each in value["simulations"]
            ],
        },
        "signature invalid",
    ),
    "no policy set": (lambda value: {**value, "policy_chain": []}, "malformed"),
    "a set that lost a file": (
        lambda value: {
            **value,
            "policy_chain": [{**value["policy_chain"][0], "files": {}}],
        },
        "policy invalid",
    ),
    "another nonce": (lambda value: {**value, "nonce": value["nonce"] + 1}, "decision over another nonce"),
    "an earlier ledger": (
        lambda value: {**value, "checkpoint": value["checkpoint"].replace("\n", "\n ", 1)},
        "checkpoint invalid",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_service_that_alters_what_is_shown(world: Living, browser: Browser, name: str) -> None:
    """What does not verify is not shown; what verifies and is not so gets no consent that counts."""
    alter, words_ = LIES[name]
    view = world.outstanding(world.allowance(4321))
    ticket = world.officer("risk-1").speaks.ask(view.digest).ticket

    def lie(call: str, value: Any) -> Any:
        return alter(value) if call.startswith("GET /v1/tickets/") else value

    with lied_to(world, lie), screen(browser, world, "risk-1", counter=30_000 + len(name)) as tab:
        tab.open(ticket)
        if tab.page.locator("button").count():
            tab.read()
            assert words_ in tab.press("approve")
        else:
            assert words_ in tab.page.locator("main").inner_text()
    assert world.pm.intent(view.digest).decisions == []
    world.officer("cro-1").decide(view.digest, verb="reject", role="cro", reason="end of the test")


OTHER_TYPES = {"code": ["x"], "detail": 1, "path": "", "status": 1, "entry_seq": 1}


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        pytest.param(500, {}, id="no problem document"),
        pytest.param(403, {"code": "nothing_of_ours"}, id="half of one"),
        pytest.param(
            403, {"code": ["x"], "detail": 1, "path": "", "status": 1, "entry_seq": 1}, id="other types"
        ),
        pytest.param(200, {"v": 1}, id="half a request"),
    ],
)
def test_a_service_that_talks_nonsense(
    world: Living, browser: Browser, status: int, answer: dict[str, Any]
) -> None:
    """It is a page that says so, under the same headers as every page, with nothing to press."""

    def lie(call: str, value: Any) -> Any:
        return (status, answer) if call.startswith("GET /v1/tickets/") else value

    view = world.outstanding(world.allowance(4322))
    ticket = world.officer("risk-1").speaks.ask(view.digest).ticket
    with lied_to(world, lie), screen(browser, world, "risk-1") as tab:
        shown = tab.page.goto(tab.url(ticket))
        assert shown is not None
        assert shown.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
        assert tab.page.locator("button").count() == 0
        assert "Nothing to sign here" in tab.page.locator("h1").inner_text()
    world.officer("cro-1").decide(view.digest, verb="reject", role="cro", reason="end of the test")


def test_a_service_that_is_away(world: Living, browser: Browser) -> None:
    """Without the service there is nothing to show, and the page says so."""
    world.stack.stop_one(SERVICE)
    with screen(browser, world, "risk-1") as tab:
        tab.open("00" * 32)
        assert "unavailable" in tab.page.locator("main").inner_text()
    world.stack.start(SERVICE)
