"""What the door of service accounts lets through, over a real ledger and a clock that the test holds."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ledger.encoding import canonical
from ledger.store import StoreError
from tests.rules.build import ACCOUNT, NOW, World, account, build, refused
from tests.service.test_changes import Office
from workbench.rules.account import FILE, ServiceAccount
from workbench.rules.codes import Refusal
from workbench.rules.documents import write_time
from workbench.rules.intent import Proposal
from workbench.service import accounts
from workbench.service.accounts import BODY_MAX, READS_PER_MINUTE, STRANGER, WINDOW, Rates, Use
from workbench.service.answers import STRANGERS_MAX
from workbench.service.changes import keep

RATE = 3
OTHER = "bot-2"
ENDS = NOW + timedelta(hours=1)
MOMENT = timedelta(microseconds=1)


def certificate(name: str) -> bytes:
    """Return a certificate of a program, in DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(subject, subject, key.public_key(), 7, NOW, NOW + timedelta(days=1))
    return made.sign(key, SHA256()).public_bytes(Encoding.DER)


def lost(error: StoreError) -> NoReturn:
    """Fail: no disk is full here."""
    raise AssertionError(error)


@dataclass
class Answer:
    """What the door said."""

    status: int
    value: dict[str, Any]


@dataclass
class Door:
    """The application over an office, spoken to as a server would."""

    office: Office
    certificates: dict[str, bytes]
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10**6)))
    heard: int = 0
    """How often the application has asked for more of the body."""

    def __post_init__(self) -> None:
        self.app = accounts.build(self.office.desk, lost)

    def asks(
        self, method: str, path: str, body: bytes = b"", *, shows: bytes | None, chunks: int = 1, cut: int = 0
    ) -> Answer:
        """Make a request on a connection that has shown this certificate; `cut` parts never arrive."""
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "app": None,
        }
        if shows is not None:
            scope["peer_certificate"] = shows
        step = -(-len(body) // chunks) or 1
        parts = [body[start : start + step] for start in range(0, len(body), step)] or [b""]
        arriving = iter(
            {"type": "http.request", "body": part, "more_body": place < len(parts) - 1}
            for place, part in enumerate(parts[: len(parts) - cut])
        )
        self.heard = 0
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            self.heard += 1
            return next(arriving, {"type": "http.disconnect"})

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        content = b"".join(message.get("body", b"") for message in sent)
        return Answer(sent[0]["status"], json.loads(content) if content else {})

    def proposes(self, proposal: Proposal, *, name: str = ACCOUNT) -> Answer:
        """Propose on an account's connection."""
        return self.asks("POST", "/v1/intents", proposal.canonical(), shows=self.certificates[name])

    def proposal(self, world: World, *, name: str = ACCOUNT, **changes: Any) -> Proposal:
        """Return another proposal of an account."""
        number = f"{next(self.numbers):032x}"
        fields = {"id": number, "proposer": name, "expires_at": write_time(ENDS)} | changes
        return world.propose_as(world.swap(**fields), signer=name)

    def refusals(self) -> list[tuple[str, str]]:
        """Return actor and code of every refusal in the ledger."""
        entries = self.office.hall.recorder.entries()
        return [
            (each.actor, each.data["code"])
            for each in entries
            if each.type == "request.refused" and each.data
        ]

    def matters(self) -> list[str]:
        """Return what was proposed."""
        return list(self.office.desk.lane.books.matters)


@pytest.fixture(scope="module")
def certificates() -> dict[str, bytes]:
    """Return the certificates of the accounts."""
    return {name: certificate(name) for name in (ACCOUNT, OTHER)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, certificates: dict[str, bytes]) -> World:
    """Return a desk with two accounts, one slow and one fast."""
    digests = {name: hashlib.sha256(raw).hexdigest() for name, raw in certificates.items()}
    listed = [
        account(certificate=digests[ACCOUNT], proposals_per_minute=RATE, expires_at=write_time(ENDS)),
        account(id=OTHER, owner="pm-1", certificate=digests[OTHER], proposals_per_minute=600),
    ]
    return build(tmp_path_factory.mktemp("officers")).enrolling(*listed)


@pytest.fixture
def door(world: World, certificates: dict[str, bytes], tmp_path: Path) -> Iterator[Door]:
    """Return a door on its first day."""
    keep(tmp_path / "policies", world.policy)
    office = Office(world, tmp_path)
    yield Door(office, certificates)
    office.hall.recorder.close()


def test_an_account_proposes_and_reads_its_own(door: Door, world: World) -> None:
    """Once, whatever is sent again; each sees what is its own."""
    mine, theirs = door.proposal(world), door.proposal(world, name=OTHER)
    said = door.proposes(mine)
    assert (said.status, said.value["state"], said.value["digest"]) == (200, "proposed", mine.intent.digest)
    assert door.proposes(mine).value == said.value
    assert door.proposes(theirs, name=OTHER).status == 200
    assert door.matters() == [mine.intent.digest, theirs.intent.digest]
    listed = door.asks("GET", "/v1/intents", shows=door.certificates[ACCOUNT])
    assert listed.value == {"intents": [{"digest": mine.intent.digest, "state": "proposed"}]}
    one = door.asks("GET", f"/v1/intents/{mine.intent.digest}", shows=door.certificates[ACCOUNT])
    assert one.value == said.value
    foreign = door.asks("GET", f"/v1/intents/{theirs.intent.digest}", shows=door.certificates[ACCOUNT])
    nowhere = door.asks("GET", f"/v1/intents/{'ab' * 32}", shows=door.certificates[ACCOUNT])
    for found, digest in ((foreign, theirs.intent.digest), (nowhere, "ab" * 32)):
        assert (found.status, found.value["code"]) == (404, "not_found")
        assert found.value["detail"] == f"no intent {digest}"
    assert door.refusals() == [(ACCOUNT, "not_found")] * 2


def test_a_name_that_was_a_persons(door: Door, world: World) -> None:
    """An account that has a former person's name does not see what that person proposed."""
    before = world.propose(world.swap(proposer="trader-1"), "trader-1")
    assert before.session is not None
    door.office.desk.propose(before, before.session)
    lane, shown = door.office.desk.lane, door.certificates[ACCOUNT]
    named = account(id="trader-1", owner="pm-1", certificate=hashlib.sha256(shown).hexdigest())
    without = world.with_file("people.json", lambda listed: [e for e in listed if e["id"] != "trader-1"])
    files = {**without, FILE: canonical([named], limit=2**20)}
    lane.policies = [*lane.policies, world.sign_set(files, after=world.policy)]
    assert door.asks("GET", "/v1/intents", shows=shown).value == {"intents": []}
    assert door.asks("GET", f"/v1/intents/{before.intent.digest}", shows=shown).status == 404
    assert door.matters() == [before.intent.digest]


def test_what_it_brings_must_be_its_own(door: Door, world: World) -> None:
    """Neither another account's word, nor a person's, nor one that no key has signed."""
    session = world.propose(world.swap(proposer="trader-1"), "trader-1")
    cases = [
        (door.proposal(world, name=OTHER), "session_of_another"),
        (session, "session_of_another"),
        (world.propose_as(world.swap(proposer=ACCOUNT), signer=OTHER), "signature_invalid"),
    ]
    for proposal, code in cases:
        said = door.proposes(proposal)
        assert (said.status, said.value["code"]) == (403, code)
    assert door.matters() == []
    assert door.refusals() == [(ACCOUNT, code) for _, code in cases]


def test_the_rate_of_an_account(door: Door, world: World) -> None:
    """So many a minute; over it nothing happens and one line is written; a minute later it goes on."""
    for _ in range(RATE):
        door.office.after(seconds=10)
        assert door.proposes(door.proposal(world)).status == 200
    before, size = door.matters(), door.office.hall.ledger.head().size
    first, second = (door.proposes(door.proposal(world)) for _ in range(2))
    assert (first.status, first.value["code"], first.value["entry_seq"]) == (429, "rate_exceeded", size)
    assert (second.status, second.value["entry_seq"]) == (429, None)
    assert door.matters() == before
    assert door.refusals() == [(ACCOUNT, "rate_exceeded")]
    # reads have a rate of their own, and so has everybody else
    assert door.asks("GET", "/v1/intents", shows=door.certificates[ACCOUNT]).status == 200
    assert door.proposes(door.proposal(world, name=OTHER), name=OTHER).status == 200
    # the first of the three was 20 seconds before the third
    door.office.after(seconds=40)
    assert door.proposes(door.proposal(world)).status == 200
    assert door.proposes(door.proposal(world)).status == 429
    door.office.after(seconds=60)
    for _ in range(RATE):
        assert door.proposes(door.proposal(world)).status == 200
    assert door.proposes(door.proposal(world)).value["entry_seq"] is not None
    assert door.refusals() == [(ACCOUNT, "rate_exceeded")] * 2


def test_reads_have_a_rate(door: Door) -> None:
    """Whatever is no proposal counts as one, also what is not there."""
    shows = door.certificates[OTHER]
    for number in range(READS_PER_MINUTE):
        path = "/v1/intents" if number else "/v1/head"
        assert door.asks("GET", path, shows=shows).status == (200 if number else 404)
    assert door.asks("GET", "/v1/intents", shows=shows).status == 429
    assert door.asks("GET", "/v1/head", shows=shows).value["code"] == "rate_exceeded"
    assert door.refusals() == [(OTHER, "not_found"), (OTHER, "rate_exceeded")]
    door.office.after(seconds=WINDOW.total_seconds())
    assert door.asks("GET", "/v1/intents", shows=shows).status == 200


@pytest.mark.parametrize(
    ("waits", "admitted"),
    [
        pytest.param(WINDOW - MOMENT, False, id="a moment before the window is over"),
        pytest.param(WINDOW, True, id="when it is over"),
        pytest.param(-WINDOW, False, id="after the clock was set back"),
    ],
)
def test_the_window_to_the_microsecond(waits: timedelta, *, admitted: bool) -> None:
    """The window slides; a clock that goes back opens nothing."""
    rates, slow = Rates(), ServiceAccount.load(account(proposals_per_minute=1))
    rates.spend(slow, Use.PROPOSAL, NOW)
    rates.spend(slow, Use.READ, NOW)
    if admitted:
        rates.spend(slow, Use.PROPOSAL, NOW + waits)
        return
    with refused(Refusal.RATE):
        rates.spend(slow, Use.PROPOSAL, NOW + waits)


def test_one_line_a_window_for_each_kind() -> None:
    """What is told of proposals says nothing of reads, nor of another account."""
    rates = Rates()
    told = [
        rates.tells(name, use, NOW + timedelta(seconds=after))
        for name, use, after in (
            ("a", Use.PROPOSAL, 0),
            ("a", Use.PROPOSAL, 59),
            ("a", Use.READ, 59),
            ("b", Use.PROPOSAL, 59),
            ("a", Use.PROPOSAL, 60),
            ("a", Use.PROPOSAL, 61),
        )
    ]
    assert told == [True, False, True, True, True, False]


def test_an_account_ends(door: Door, world: World) -> None:
    """At its time it can neither propose nor read what it has proposed."""
    proposal = door.proposal(world)
    door.proposes(proposal)
    door.office.after(seconds=3600)
    for said in (
        door.proposes(door.proposal(world)),
        door.asks("GET", "/v1/intents", shows=door.certificates[ACCOUNT]),
    ):
        assert (said.status, said.value["code"]) == (403, "expired")
    assert door.matters() == [proposal.intent.digest]


def test_who_is_in_no_set(door: Door, world: World) -> None:
    """Refused and written down, so many a minute, under the certificate's digest; its body is not read."""
    stranger = certificate("stranger")
    actor = f"{STRANGER}{hashlib.sha256(stranger).hexdigest()[:16]}"
    body = door.proposal(world).canonical()
    for number in range(STRANGERS_MAX + 3):
        said = door.asks("POST", "/v1/intents", body, shows=stranger)
        assert (said.status, said.value["code"]) == (403, "account_unknown")
        assert (said.value["entry_seq"] is None) == (number >= STRANGERS_MAX)
        assert door.heard == 0
    assert door.asks("GET", "/v1/intents", shows=None).value["code"] == "account_unknown"
    assert door.refusals() == [(actor, "account_unknown")] * STRANGERS_MAX
    door.office.after(seconds=60)
    assert door.asks("GET", "/v1/head", shows=stranger).value["entry_seq"] is not None
    *_, last = door.office.hall.recorder.entries()
    assert last.data is not None
    assert last.data["about"] == "GET /v1/head (4 more before it)"
    assert door.matters() == []


def test_a_body_that_does_not_fit(door: Door) -> None:
    """One byte too many, at once or in pieces; a body that fits is read to be malformed."""
    shows = door.certificates[OTHER]
    for chunks in (1, 7):
        said = door.asks("POST", "/v1/intents", b"x" * (BODY_MAX + 1), shows=shows, chunks=chunks)
        assert (said.status, said.value["code"]) == (413, "too_large")
    said = door.asks("POST", "/v1/intents", b"x" * BODY_MAX, shows=shows, chunks=7)
    assert (said.status, said.value["code"]) == (400, "malformed")
    large = canonical({"intent": "x" * 40_000})
    assert door.asks("POST", "/v1/intents", large, shows=shows).value["code"] == "malformed"


def test_a_caller_who_goes_away(door: Door, world: World) -> None:
    """Half a body is none, and nobody is there to be refused."""
    body = door.proposal(world).canonical()
    assert (
        door.asks("POST", "/v1/intents", body, shows=door.certificates[ACCOUNT], chunks=2, cut=1).status
        == 408
    )
    assert (door.matters(), door.refusals()) == ([], [])


def test_a_set_that_comes_while_the_body_does(door: Door, world: World) -> None:
    """Who was known when the request began may not be when it is to be done."""
    proposal = door.proposal(world)
    lane = door.office.desk.lane
    without = world.policy_with("service_accounts.json", lambda _: [])

    class Between(list[Any]):
        """Policy sets of which the next one is there at the second look."""

        looks = 0

        def __getitem__(self, place: Any) -> Any:
            self.looks += 1
            return without if self.looks > 1 else super().__getitem__(place)

    sets = lane.policies
    lane.policies = Between(sets)
    said = door.proposes(proposal)
    lane.policies = sets
    assert (said.status, said.value["code"]) == (403, "account_unknown")
    assert door.matters() == []
    assert door.proposes(proposal).status == 200


def test_a_person_and_his_programs_share_a_day(door: Door, world: World) -> None:
    """What was released for the one counts for the other: splitting buys no way round."""
    people = world.policy.answered_for
    assert people(ACCOUNT) == people("trader-1") == {ACCOUNT, "trader-1"}
    assert people(OTHER) == people("pm-1") == {OTHER, "pm-1"}
    assert people("cro-1") == {"cro-1"}
    books = door.office.desk.lane.books
    day = NOW - timedelta(hours=24)
    for name, cents in ((ACCOUNT, 5), ("trader-1", 7), (OTHER, 11)):
        made = door.proposal(world, name=name) if name != "trader-1" else None
        proposal = made or world.propose(world.swap(proposer=name, id="cd" * 16), name)
        door.office.desk._propose(proposal)
        matter = books.matters[proposal.intent.digest]
        matter.released_at, matter.released_cents = NOW, cents
    assert books.released_cents(people(ACCOUNT), since=day) == 12
    assert books.released_cents(people("pm-1"), since=day) == 11


def test_a_day_with_a_program_that_is_gone(door: Door, world: World) -> None:
    """A set without the account, or with another owner of it, does not give its owner a new day."""
    program, own = (
        door.proposal(world),
        world.propose(world.swap(proposer="trader-1", id="cd" * 16), "trader-1"),
    )
    desk = door.office.desk
    for proposal in (program, own):
        desk._propose(proposal)
    lane, matter = desk.lane, desk.lane.books.matters[program.intent.digest]
    matter.released_at, matter.released_cents, matter.released_under = NOW, 5, lane.policy.digest

    def day() -> int:
        known = desk._facts(own.intent.digest, lane.books.matters[own.intent.digest], NOW)
        return int(known["daily_usd_cents"]) - int(known["amount_usd_cents"])

    assert day() == 5
    theirs = account(owner="pm-1", certificate=hashlib.sha256(door.certificates[ACCOUNT]).hexdigest())
    for listed in ([], [theirs]):
        files = world.with_file(FILE, lambda _, each=listed: each)
        lane.policies = [world.policy, world.sign_set(files, after=world.policy)]
        assert day() == 5
