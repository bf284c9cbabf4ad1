"""Programs at a living service: enrolled by a change of the set, through TLS, to the chain; and refused."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.encoding import canonical, parse
from tests.certificates import ADDRESS, Authority, Issued
from tests.world import Living, living, refused
from workbench import client
from workbench.account_client import AccountClient
from workbench.client import ServiceUnavailableError
from workbench.demo import charter
from workbench.demo.stack import StackError
from workbench.demo.world import SERVICE, free_port
from workbench.process.config import ConfigError
from workbench.rules.account import FILE
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import Decision, SignedDecision
from workbench.rules.documents import DOCUMENT_MAX, write_time
from workbench.rules.intent import Intent
from workbench.rules.policy import PolicySet, manifest_of
from workbench.rules.receipt import verify_receipt
from workbench.service import listener
from workbench.service.accounts import BODY_MAX
from workbench.service.listener import BACKLOG, HANDSHAKE_S, IDLE_S, OPEN_MAX

DELAY_S = 2
WITHIN_S = 30.0
OMS, SLOW, LATE, GONE = "oms-1", "slow-1", "late-1", "gone-1"
RATE = 2
OWNER = "trader-1"
"""He may approve as well, in this world: what he must not approve is his program's."""


@dataclass
class Programs:
    """A living desk with a TLS listener, and programs with certificates and keys."""

    world: Living
    folder: Path
    port: int
    ours: Authority
    others: Authority
    issued: dict[str, Issued] = field(default_factory=dict)
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)

    def program(self, name: str) -> dict[str, Any]:
        """Make a program's certificate and key; return the line that enrols it."""
        self.issued[name] = self.ours.client(name)
        self.keys[name] = Ed25519PrivateKey.generate()
        now = datetime.now(UTC)
        return {
            "id": name,
            "purpose": "a test",
            "owner": OWNER,
            "certificate": self.issued[name].digest,
            "public_key": self.keys[name].public_key().public_bytes_raw().hex(),
            "keys": [charter.KEY_ID],
            "proposals_per_minute": RATE if name == SLOW else 600,
            "expires_at": write_time(now + timedelta(days=-1 if name == LATE else 1)),
        }

    def client(self, name: str, *, key: str | None = None, shows: Issued | None = None) -> AccountClient:
        """Return a program's client."""
        shown = shows or self.issued[name]
        return AccountClient.of(
            address=ADDRESS,
            port=self.port,
            server_ca=self.ours.certificate,
            certificate=shown.certificate,
            certificate_key=shown.key,
            key=self.keys[key or name],
        )

    def allowance(self, name: str = OMS, **changes: Any) -> Intent:
        """Draft an allowance as a program's."""
        return self.world.allowance(**({"proposer": name} | changes))

    def in_force(self) -> PolicySet:
        """Return the set in force, as the service carries it."""
        newest = max(self.world.world.places.policies.iterdir())
        return PolicySet.load(parse(newest.read_bytes(), limit=DOCUMENT_MAX))

    def following(self, edits: Mapping[str, Callable[[list[Any]], list[Any]]], *, wait_s: float) -> PolicySet:
        """Return a next set with some files changed, without signatures."""
        current = self.in_force()
        files = {**current.files}
        for name, edit in edits.items():
            files[name] = canonical(edit(json.loads(files[name])), limit=2**20)
        at = write_time(datetime.now(UTC) + timedelta(seconds=wait_s))
        version = current.manifest.version + 1
        manifest = manifest_of(files, name="desk", version=version, previous=current.digest, at=at)
        return PolicySet(manifest, files, [])

    def press(self, person: str, challenge: bytes) -> Any:
        """Let a person press his key for approvals."""
        known = self.world.world.policy.people[person].credentials
        credential = next(each.id for each in known if each.path == "approval")
        root = self.world.world.trust_root.approval
        device = charter.authenticator(self.world.world.places.officers, person, root)
        return device.sign(challenge, credential=credential)

    def signs(self, policy: PolicySet, person: str) -> client.ChangeView:
        """Let an officer sign a set."""
        return self.world.signs(policy, person)

    def enrol(self) -> None:
        """Bring the programs in, by a change that lies open and that two officers sign."""

        def consents(people: list[Any]) -> list[Any]:
            roles = ["trader", "risk_officer"]
            return [each | {"roles": roles} if each["id"] == OWNER else each for each in people]

        lines = [self.program(name) for name in (OMS, SLOW, LATE, GONE)]
        edits = {FILE: lambda _: lines, "people.json": consents}
        next_set = self.following(edits, wait_s=DELAY_S + 1)
        view = self.world.officer("admin-1").speaks.amend(next_set)
        joined = {each.after.id for each in view.compared().accounts if each.after and not each.before}
        assert (view.standing, joined) == ("pending", {OMS, SLOW, LATE, GONE})
        self.signs(next_set, "risk-1")
        assert self.signs(next_set, "cro-1").standing == "pending"
        with pytest.raises(client.ProblemError, match="account_unknown"):
            self.client(OMS).intents()
        deadline = time.monotonic() + WITHIN_S
        while client.status(self.world.socket)["policy"] != next_set.digest:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def listening(pid: int) -> set[int]:
    """Return the TCP ports that a process listens on, as the kernel has them."""
    held = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        # whatever the process closes meanwhile is no listener
        with suppress(FileNotFoundError):
            held.add(str(path.readlink()).removeprefix("socket:[").removesuffix("]"))
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in held:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def configure(world: Living, **accounts: Any) -> None:
    """Write the listener into the service's configuration."""
    path = world.world.places.root(SERVICE) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"accounts": accounts}))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """One desk for all: first without a port, then with one, then with programs in its set."""
    folder = tmp_path_factory.mktemp("certificates")
    ours, others = Authority(folder, "ours"), Authority(folder, "others")
    server = ours.server("listener")
    with living(limits={"change_delay_s_min": DELAY_S}) as world:
        assert listening(world.stack.pid(SERVICE)) == set()
        made = Programs(world, folder, free_port(), ours, others)
        world.stack.stop_one(SERVICE)
        names = {
            "certificate": server.certificate,
            "certificate_key": server.key,
            "client_ca": ours.certificate,
        }
        configure(world, address=ADDRESS, port=made.port, **{name: str(path) for name, path in names.items()})
        world.stack.start(SERVICE)
        assert listening(world.stack.pid(SERVICE)) == {made.port}
        made.enrol()
        for person in ("risk-1", "auditor-1", OWNER, "pm-1"):
            world.officer(person)
        yield made


def test_from_a_program_to_the_chain(programs: Programs) -> None:
    """What a program proposes is simulated, approved, signed and mined as a person's is, and provable."""
    world, oms = programs.world, programs.client(OMS)
    intent = programs.allowance()
    view = oms.propose(intent)
    assert (view.digest, view.state, view.intent) == (intent.digest, "proposed", intent)
    with world.unchanged(refusals=0):
        assert oms.propose(intent).digest == view.digest
    assert oms.intents() == [(intent.digest, "proposed")]
    view = world.officer("risk-1").speaks.simulate(intent.digest)
    assert "approve:any:1" in view.needs
    view = world.approve(intent.digest)
    deadline = time.monotonic() + WITHIN_S
    while (view := oms.intent(intent.digest)).state != "confirmed":
        assert time.monotonic() < deadline, view
        time.sleep(0.2)
    receipt = world.pm.receipt(intent.digest)
    lines = verify_receipt(receipt, trust_root=world.world.trust_root, now=datetime.now(UTC))
    told = [(line.type, line.actor) for line in lines]
    assert told[0] == ("intent.proposed", OMS)
    assert ("decision.recorded", "risk-1") in told
    assert told[-1][0] == "transaction.confirmed"
    assert lines[0].data == oms.proposal(intent).dump()


def _no_certificate(programs: Programs) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(programs.ours.certificate))


def _of_another_authority(programs: Programs) -> ssl.SSLContext:
    made, issued = _no_certificate(programs), programs.others.client("oms-1-elsewhere")
    made.load_cert_chain(issued.certificate, issued.key)
    return made


def _of_a_listener(programs: Programs) -> ssl.SSLContext:
    made, issued = _no_certificate(programs), programs.ours.server("another-listener")
    made.load_cert_chain(issued.certificate, issued.key)
    return made


def _older_tls(programs: Programs) -> ssl.SSLContext:
    made, issued = _no_certificate(programs), programs.issued[OMS]
    made.load_cert_chain(issued.certificate, issued.key)
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    return made


@pytest.mark.parametrize(
    "tls",
    [
        pytest.param(_no_certificate, id="no certificate"),
        pytest.param(_of_another_authority, id="another authority's certificate"),
        pytest.param(_of_a_listener, id="a certificate that is no client's"),
        pytest.param(_older_tls, id="TLS 1.2"),
    ],
)
def test_who_does_not_get_in(programs: Programs, tls: Callable[[Programs], ssl.SSLContext]) -> None:
    """There is no connection to ask on, and nothing that could be recorded."""
    outside = AccountClient(ADDRESS, programs.port, tls(programs), programs.keys[OMS])
    with programs.world.unchanged(refusals=0), pytest.raises(ServiceUnavailableError):
        outside.propose(programs.allowance())


def test_no_tls_at_all(programs: Programs) -> None:
    """Plain HTTP is no handshake."""
    with programs.world.unchanged(refusals=0), closing(_connected(programs)) as plain:
        plain.sendall(b"GET /v1/intents HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/" not in _rest(plain)


def _connected(programs: Programs) -> socket.socket:
    return socket.create_connection((ADDRESS, programs.port), timeout=WITHIN_S)


def _rest(connection: socket.socket) -> bytes:
    """Return what comes until the other end closes, however it does."""
    found = b""
    try:
        while part := connection.recv(4096):
            found += part
    except ConnectionError:
        pass
    return found


def test_connections_that_ask_nothing(programs: Programs) -> None:
    """Neither a handshake that does not begin nor a silent connection keeps a place for long."""
    started = time.monotonic()
    tls, plain = programs.client(OMS).tls, _connected(programs)
    with closing(plain), tls.wrap_socket(_connected(programs), server_hostname=ADDRESS) as secured:
        secured.sendall(b"GET /v1/intents HTTP/1.1\r\n")
        assert _rest(plain) == b""
        assert _rest(secured) == b""
    assert time.monotonic() - started < 2 * max(HANDSHAKE_S, IDLE_S) + 1


def test_more_connections_than_a_process_should_hold(programs: Programs) -> None:
    """Whoever reaches the port does not use up what people's connections and the ledger need to be opened."""
    seen = []
    with ExitStack() as held:
        for number in range(2 * OPEN_MAX):
            with suppress(OSError):
                held.enter_context(_connected(programs))
            if number % BACKLOG == BACKLOG - 1:
                seen.append(_accepted(programs))
        assert 0 < max(seen) <= OPEN_MAX
        assert client.status(programs.world.socket)["v"] == 1
    deadline = time.monotonic() + WITHIN_S
    while _accepted(programs) > BACKLOG:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    programs.client(OMS).intents()


def _accepted(programs: Programs) -> int:
    """Return how many connections to the port the service itself holds; its other descriptors come and go."""
    process = Path(f"/proc/{programs.world.stack.pid(SERVICE)}")
    rows = [line.split() for line in (process / "net" / "tcp").read_text().splitlines()[1:]]
    there = {f"socket:[{row[9]}]" for row in rows if int(row[1].partition(":")[2], 16) == programs.port}
    found = 0
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(descriptor.readlink()) in there
    return found - 1  # it listens on one


def test_a_certificate_that_no_set_names(programs: Programs) -> None:
    """Our authority has issued it, and that is not enough; the ledger has the beginning of its digest."""
    stranger = programs.ours.client("stranger")
    outside = programs.client(OMS, shows=stranger)
    with programs.world.unchanged(refusals=1):
        problem = refused("account_unknown", lambda: outside.propose(programs.allowance()))
    assert problem.status == 403
    (entry,) = [each for each in programs.world.entries() if each["seq"] == problem.entry_seq]
    assert entry["actor"] == f"certificate:{stranger.digest[:16]}"


def test_an_account_whose_time_is_over(programs: Programs) -> None:
    """It stands in the set, and may nothing."""
    late = programs.client(LATE)
    with programs.world.unchanged(refusals=2):
        refused("expired", lambda: late.propose(programs.allowance(LATE)))
        refused("expired", late.intents)


PROPOSALS: list[Any] = [
    pytest.param({"proposer": OWNER}, "session_of_another", "/proposer", id="in its owner's name"),
    pytest.param({"proposer": "pm-1"}, "session_of_another", "/proposer", id="in a person's name"),
    pytest.param({"proposer": SLOW}, "session_of_another", "/proposer", id="in another account's name"),
    pytest.param({"key": "vault"}, "key_not_of_this_account", "/key", id="for a key it has not got"),
    pytest.param({"chain_id": 1}, "other_chain", "/chain_id", id="on another chain"),
    pytest.param({"gas_max": 30_000_000}, "own_limit_exceeded", "/gas_max", id="gas over the limit"),
    pytest.param(
        {"expires_at": write_time(datetime.now(UTC) - timedelta(hours=1))},
        "expired",
        "/expires_at",
        id="expired",
    ),
]


@pytest.mark.parametrize(("changes", "code", "path"), PROPOSALS)
def test_what_a_program_may_not_propose(
    programs: Programs, changes: dict[str, Any], code: str, path: str
) -> None:
    """Rightly connected and rightly signed, and refused by name."""
    with programs.world.unchanged(refusals=1):
        refused(code, lambda: programs.client(OMS).propose(programs.allowance(**changes)), path=path)


def test_the_wrong_signing_key(programs: Programs) -> None:
    """The connection is the account's, the signature another's: the connection proposes nothing."""
    with programs.world.unchanged(refusals=1):
        refused("signature_invalid", lambda: programs.client(OMS, key=SLOW).propose(programs.allowance()))


def test_a_persons_proposal(programs: Programs) -> None:
    """A login's word is brought by its session over the unix socket, and a program's only here."""
    world, oms = programs.world, programs.client(OMS)
    persons = world.officer(OWNER).speaks.proposal(world.allowance(proposer=OWNER)).canonical()
    own = oms.proposal(programs.allowance()).dump()
    with world.unchanged(refusals=2):
        refused("session_of_another", lambda: oms.request("POST", "/v1/intents", persons), path="/session")
        speaks = world.officer(OWNER).speaks
        refused("session_of_another", lambda: speaks.post("/v1/intents", own), path="/session")


def test_an_id_with_other_bytes(programs: Programs) -> None:
    """An id names one intent for ever, whoever proposes."""
    oms, first = programs.client(OMS), programs.allowance()
    oms.propose(first)
    other = Intent.load({**first.dump(), "purpose": "another one"})
    with programs.world.unchanged(refusals=1):
        refused("id_reused_with_other_bytes", lambda: oms.propose(other))


def test_anothers_intent(programs: Programs) -> None:
    """It is not found, in the words that are said of one that is nowhere."""
    world, oms = programs.world, programs.client(OMS)
    theirs = world.pm.propose(world.allowance()).digest
    before = oms.intents()
    with world.unchanged(refusals=2):
        problems = [
            refused("not_found", lambda digest=digest: oms.intent(digest)) for digest in (theirs, "ab" * 32)
        ]
    assert [each.detail for each in problems] == [f"no intent {theirs}", f"no intent {'ab' * 32}"]
    assert theirs not in {digest for digest, _ in before}
    assert theirs in dict(world.pm.intents())


def test_what_is_not_there_for_a_program(programs: Programs) -> None:
    """Every route of the people's socket but three; the same paths by other methods; a slash too many."""
    own = programs.client(OMS).propose(programs.allowance()).digest
    one = f"/v1/intents/{own}"
    routes: list[tuple[Any, str]] = [
        ("GET", "/v1/status"),
        ("GET", "/v1/head"),
        ("GET", "/v1/access"),
        ("GET", "/v1/sessions"),
        ("POST", "/v1/sessions"),
        ("GET", f"/v1/sessions/waiting/{OWNER}"),
        ("GET", "/v1/policies"),
        ("POST", "/v1/policies"),
        ("GET", f"/v1/receipts/{own}"),
        ("POST", "/v1/bundles"),
        ("POST", "/v1/entries"),
        ("POST", "/v1/refusals"),
        ("POST", f"{one}/simulation"),
        ("POST", f"{one}/tickets"),
        ("POST", f"{one}/decisions"),
        ("POST", f"{one}/resume"),
        ("GET", f"/v1/tickets/{own}"),
        ("POST", one),
        ("DELETE", one),
        ("DELETE", "/v1/intents"),
        ("GET", "/v1/intents/"),
        ("GET", "/"),
    ]
    oms = programs.client(OMS)
    with programs.world.unchanged(refusals=len(routes)):
        for method, path in routes:
            problem = refused("not_found", lambda m=method, p=path: oms.request(m, p, b"{}"))
            assert problem.status == 404, (method, path)


def test_a_body_that_is_too_large(programs: Programs) -> None:
    """A program sends intents, and these are small."""
    oms = programs.client(OMS)
    with programs.world.unchanged(refusals=1):
        problem = refused("too_large", lambda: oms.request("POST", "/v1/intents", b"x" * (BODY_MAX + 1)))
    assert problem.status == 413


def test_the_owner_does_not_approve(programs: Programs) -> None:
    """He may approve others' intents; of his program's he is told that he answers for it, and can stop it."""
    world = programs.world
    digest = programs.client(OMS).propose(programs.allowance()).digest
    owner = world.officer(OWNER)
    assert owner.speaks.simulate(digest).state == "proposed"
    with pytest.raises(RefusedError) as caught:
        owner.decision(digest, verb="approve", role="risk_officer", reason="mine")
    assert caught.value.code is Refusal.DECISION_BY_OWNER
    honest = owner.decision(digest, verb="reject", role="risk_officer", reason="on second thoughts")
    bent = Decision.load({**honest.dump(), "verb": "approve"})
    signed = SignedDecision(decision=bent, assertion=programs.press(OWNER, bent.challenge))
    with world.unchanged(refusals=1):
        refused("decision_by_the_accounts_owner", lambda: owner.speaks.decide(signed))
    signed = SignedDecision(decision=honest, assertion=programs.press(OWNER, honest.challenge))
    assert owner.speaks.decide(signed).state == "rejected"
    assert programs.client(OMS).intent(digest).state == "rejected"
    others = world.outstanding(world.allowance(1500)).digest
    view = world.approve(others, person=OWNER, role="risk_officer")
    assert view.state != "outstanding", (view.denying, view.needs, view.missing)


def test_too_fast(programs: Programs) -> None:
    """Over its rate a program is refused, and once that is written down."""
    slow = programs.client(SLOW)
    for _ in range(RATE):
        slow.propose(programs.allowance(SLOW))
    with programs.world.unchanged(refusals=1):
        first, second, third = (
            refused("rate_exceeded", lambda: slow.propose(programs.allowance(SLOW))) for _ in range(3)
        )
    assert (first.status, second.status) == (429, 429)
    assert first.entry_seq is not None
    assert second.entry_seq is third.entry_seq is None
    assert len(slow.intents()) == RATE


def test_an_account_that_leaves_while_it_is_connected(programs: Programs) -> None:
    """The very next request on its open connection is a stranger's."""
    world, gone = programs.world, programs.client(GONE)
    leaving = programs.following(
        {FILE: lambda listed: [each for each in listed if each["id"] != GONE]}, wait_s=0
    )
    assert gone.propose(programs.allowance(GONE)).state == "proposed"
    with closing(HTTPSConnection(ADDRESS, programs.port, timeout=WITHIN_S, context=gone.tls)) as open_:

        def asks() -> tuple[int, dict[str, Any]]:
            open_.request("GET", "/v1/intents")
            response = open_.getresponse()
            return response.status, json.loads(response.read())

        status, listed = asks()
        held = open_.sock
        assert (status, len(listed["intents"])) == (200, 1)
        world.officer("admin-1").speaks.amend(leaving)
        assert asks()[0] == 200
        programs.signs(leaving, "risk-1")
        assert asks()[0] == 200
        assert programs.signs(leaving, "cro-1").standing == "activated"
        status, problem = asks()
        assert open_.sock is held
        assert (status, problem["code"]) == (403, "account_unknown")
    with world.unchanged(refusals=1):
        refused("account_unknown", lambda: gone.propose(programs.allowance(GONE)))
    ((digest, _),) = [(each["digest"], each["state"]) for each in listed["intents"]]
    # what it had proposed goes no further
    assert world.pm.intent(digest).missing == ["proposer"]
    world.officer("risk-1").speaks.simulate(digest)
    with pytest.raises(RefusedError) as caught:
        world.approve(digest)
    assert caught.value.code is Refusal.ACCOUNT_UNKNOWN


def test_a_service_that_begins_again(programs: Programs) -> None:
    """It listens at the same port, and knows its programs from the set."""
    before = programs.client(OMS).intents()
    programs.world.stack.stop_one(SERVICE)
    with pytest.raises(ServiceUnavailableError):
        programs.client(OMS).intents()
    programs.world.stack.start(SERVICE)
    assert programs.client(OMS).intents() == before


def test_a_port_that_is_taken(programs: Programs) -> None:
    """The service does not begin without what its configuration promises."""
    stack = programs.world.stack
    stack.stop_one(SERVICE)
    with socket.create_server((ADDRESS, programs.port)), pytest.raises(StackError, match="in use"):
        stack.start(SERVICE)
    stack.start(SERVICE)


CONFIGS: list[Any] = [
    pytest.param({"port": None}, id="no port"),
    pytest.param({"port": "8444"}, id="a port as text"),
    pytest.param({"port": True}, id="a port that is true"),
    pytest.param({"client_ca": None}, id="nobody's certificates"),
    pytest.param({"surprise": "x"}, id="a field too many"),
]


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Any]:
    """Return a good configuration of a listener."""
    ours = Authority(tmp_path, "ours")
    server = ours.server("listener")
    return {
        "address": ADDRESS,
        "port": 0,
        "certificate": str(server.certificate),
        "certificate_key": str(server.key),
        "client_ca": str(ours.certificate),
    }


@pytest.mark.parametrize("changes", CONFIGS)
def test_configurations_that_are_none(paths: dict[str, Any], changes: dict[str, Any]) -> None:
    """All of it or nothing of it."""
    bent = {name: value for name, value in {**paths, **changes}.items() if value is not None}
    with pytest.raises(ConfigError):
        listener.opened(bent)
    for other in ([], None, False, "off"):
        with pytest.raises(ConfigError):
            listener.opened(other)
    assert listener.opened({}) is None


def test_files_that_open_nothing(paths: dict[str, Any], tmp_path: Path) -> None:
    """A key that others may read, one that does not fit, an empty list of authorities, no list."""
    key = Path(paths["certificate_key"])
    key.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read"):
        listener.opened(paths)
    key.chmod(0o400)
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    empty.chmod(0o600)
    other = Authority(tmp_path, "elsewhere").server("another")
    for name, path in (
        ("client_ca", empty),
        ("client_ca", tmp_path / "nowhere"),
        ("certificate", empty),
        ("certificate_key", other.key),
    ):
        with pytest.raises(OSError, match=r".+"):
            listener.opened({**paths, name: str(path)})
    opened = listener.opened(paths)
    assert opened is not None
    with closing(opened.bound) as bound:
        assert bound.getsockname()[0] == ADDRESS
    secured = opened.secured
    assert (secured.minimum_version, secured.verify_mode) == (ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED)
    assert secured.num_tickets == 0
