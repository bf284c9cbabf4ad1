"""Policy sets change live: proposed, signed, vetoed, taken over; a crash anywhere leads to the same end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any, cast

import pytest

from ledger.encoding import canonical, parse
from ledger.store import Receipt
from tests.rules.build import EVERY_PARTY, NOW, World, build, deciding, press, refused
from tests.rules.test_change import but, edited, following, gains, joins, leaves, limits
from tests.service.test_sessions import Hall
from workbench.demo import charter
from workbench.process.crash import NEVER, CrashPoint
from workbench.rules.assertion import Credential
from workbench.rules.change import SignedVeto, Veto, between
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import DOCUMENT_MAX, write_time
from workbench.rules.enrolment import REGISTERED
from workbench.rules.policy import PolicySet, Signature, verify_chain
from workbench.rules.session import CertifiedSession
from workbench.service.__main__ import _adopt, _in_force, _policies, _turn
from workbench.service.books import SESSION_ENDED
from workbench.service.changes import OPEN_PER_PROPOSER_MAX, SET_MAX, Changes, keep
from workbench.service.desk import Desk
from workbench.service.lane import Lane
from workbench.service.links import Links
from workbench.service.record import Recorder

DELAY = timedelta(days=1)
AT = NOW + DELAY + timedelta(hours=1)


class Died(BaseException):
    """The process ended here."""


@dataclass(frozen=True)
class Dying(CrashPoint):
    """A crash point that a test survives."""

    def reached(self, name: str) -> None:
        """End at the point."""
        if name == self.name:
            raise Died(name)


def registration(made: Credential) -> dict[str, Any]:
    """Return what the approver says of a key that was registered; the service takes its word."""
    answered = {"id": made.id, "rawId": made.id, "type": "public-key"}
    answered["response"] = {"clientDataJSON": "AA", "attestationObject": "AA"}  # type: ignore[assignment]
    registered = {"v": 1, "credential": made.dump(), "metadata": None}
    return {"v": 1, "registered": registered, "challenge": "AA", "answer": answered}


@dataclass
class Office:
    """What the service's process makes at its start, over a real ledger and a clock that the test holds."""

    world: World
    folder: Path
    now: datetime = NOW
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    crash: CrashPoint = NEVER

    def __post_init__(self) -> None:
        kept = _policies(self.policies)
        self.hall = Hall(self.world, self.folder, kept[-1], self.now, self.numbers)
        try:
            self._open(kept)
        except RefusedError:
            self.hall.recorder.close()
            raise

    def _open(self, kept: list[PolicySet]) -> None:
        sessions, recorder = self.hall.sessions, self.hall.recorder
        chain = _in_force(kept, recorder, sessions.books, self.policies)
        verify_chain(chain, trust_root=self.world.trust_root, now=self.now)
        sessions.policy = chain[-1]
        books, links = sessions.books, cast("Links", None)  # no peer has a part in this
        lane = Lane(
            chain,
            self.world.trust_root,
            books,
            recorder,
            links,
            lambda: self.hall.now,
            cast("Any", self.crash),
        )
        _adopt(recorder, chain, books)
        sessions.revoke()
        self.desk = Desk(lane, sessions)
        self.changes = Changes(self.desk, self.policies)

    @property
    def policies(self) -> Path:
        """Where the sets lie."""
        return self.folder / "policies"

    @property
    def in_force(self) -> PolicySet:
        """The set in force; every part of the service has the same."""
        assert self.desk.lane.policy is self.desk.sessions.policy
        return self.desk.lane.policy

    def restarted(self, crash: CrashPoint = NEVER) -> Office:
        """Return the office after its process began again."""
        self.hall.recorder.close()
        return Office(self.world, self.folder, self.hall.now, self.numbers, crash)

    def after(self, **delta: float) -> None:
        """Let time pass."""
        self.hall.after(**delta)

    def speaks(self, person: str) -> CertifiedSession:
        """Return a person's session."""
        return self.world.certify(person)[1]

    def registers(self, policy: PolicySet) -> None:
        """Have every key registered that a set gives to somebody."""
        books = self.desk.lane.books
        for each in between(self.in_force, policy).people:
            for made in each.credentials_added:
                if made not in books.registered.get(each.person, ()):
                    recorder, data = self.hall.recorder, {"v": 1, "person": each.person}
                    receipt = recorder.append(
                        REGISTERED, made.id, {**data, "registration": registration(made)}, actor="admin-1"
                    )
                    books.enter(next(recorder.ledger.entries(receipt.seq, receipt.seq)))

    def proposes(self, policy: PolicySet, person: str = "admin-1", *, registers: bool = True) -> str:
        """Propose a set, of which every key was registered; return its digest."""
        if registers:
            self.registers(policy)
        value = policy.dump()
        del value["signatures"]
        return str(self.changes.propose(value, self.speaks(person))["digest"])

    def signature(self, policy: PolicySet, person: str, *, index: int = 0, **how: Any) -> Signature:
        """Let a person sign a set with a credential of the next set or of the one in force."""
        known = policy.people.get(person) or self.in_force.people[person]
        path = how.pop("path", None)
        own = [each for each in known.credentials if each.path == path] or [deciding(known, index or None)]
        credential, place = own[0].id, own[0].path
        options: dict[str, Any] = {"party": EVERY_PARTY[place], "counter": next(self.numbers)} | how
        return Signature(
            person=person, assertion=press(self.world.keys, credential, policy.challenge, **options)
        )

    def signs(self, policy: PolicySet, *people: str) -> None:
        """Let people sign a set, each in a session of his own."""
        for person in people:
            self.changes.sign(policy.digest, self.signature(policy, person), person)

    def vetoes(self, policy: PolicySet, person: str, *, by: str | None = None, index: int = 0) -> None:
        """Let a person veto a set."""
        veto = Veto.load({"v": 1, "policy": policy.digest, "person": person, "reason": "not mine"})
        credential = self.world.credential(person, index=index).id
        counter = next(self.numbers)
        keys, party = self.world.keys, charter.APPROVAL
        assertion = press(keys, credential, veto.challenge, party=party, counter=counter)
        signed = SignedVeto(veto=veto, assertion=assertion)
        self.changes.veto(policy.digest, signed, by or person)

    def standing(self, policy: PolicySet) -> str:
        """Return where a change stands."""
        return str(self.changes.view(policy.digest)["standing"])

    def entries(self) -> list[tuple[str, str]]:
        """Return type and actor of every entry about changes."""
        found = [(entry.type, entry.actor) for entry in self.hall.recorder.entries()]
        return [(kind, actor) for kind, actor in found if kind.startswith("policy.")]

    def photograph(self) -> object:
        """Look at everything that a refusal must leave alone."""
        files = {path.name: path.read_bytes() for path in self.policies.iterdir()}
        return self.hall.ledger.head(), self.in_force.digest, files, self.changes.listed()

    @contextmanager
    def unchanged(self, code: Refusal, path: str | None = None) -> Iterator[None]:
        """Assert that the block is refused with this code and changes nothing."""
        before = self.photograph()
        with refused(code, path):
            yield
        assert self.photograph() == before


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return people with credentials, and the policy set that knows them."""
    return build(tmp_path_factory.mktemp("officers"))


@pytest.fixture
def office(world: World, tmp_path: Path) -> Iterator[Office]:
    """Return an office on its first day."""
    keep(tmp_path / "policies", world.policy)
    made = Office(world, tmp_path)
    yield made
    made.hall.recorder.close()


@pytest.fixture
def more(world: World) -> PolicySet:
    """Return a set that gives the trader another key."""
    return following(world, gains(world, "trader-1"), activates_at=write_time(AT))


@pytest.fixture
def revoked(world: World) -> PolicySet:
    """Return a set that takes the portfolio manager's login credentials away."""
    edit = edited("pm-1", credentials=but("login", 2))
    return following(world, edit, activates_at=write_time(NOW))


def wait(office: Office) -> None:
    """Let the delay pass, and the service look."""
    office.after(seconds=(AT - office.hall.now).total_seconds())
    office.changes.step()


def test_from_proposal_to_taking_over(office: Office, world: World, more: PolicySet) -> None:
    """A key lies open for a day, two officers sign, and the set is in force without a restart."""
    assert office.proposes(more) == more.digest
    assert office.proposes(more, "committee-1") == more.digest  # once
    office.signs(more, "cro-1", "risk-1")
    office.after(hours=24)
    office.changes.step()
    assert (office.standing(more), office.in_force.digest) == ("pending", world.policy.digest)
    wait(office)
    assert office.standing(more) == "activated"
    assert office.in_force.digest == more.digest
    assert len(office.in_force.people["trader-1"].credentials) == 5
    assert office.entries() == [
        ("policy.adopted", "service"),
        ("policy.proposed", "admin-1"),
        ("policy.signed", "cro-1"),
        ("policy.signed", "risk-1"),
        ("policy.activated", "service"),
    ]
    *_, last = office.hall.recorder.entries()
    signed_by = ["cro-1", "risk-1"]
    assert last.data == {"v": 1, "policy": more.digest, "version": 2, "signed_by": signed_by}
    kept = PolicySet.load(parse((office.policies / "000002.json").read_bytes(), limit=DOCUMENT_MAX))
    assert kept.dump() == office.in_force.dump()
    assert [each.person for each in kept.signatures] == signed_by
    assert office.changes.listed()["in_force"] == [world.policy.digest, more.digest]
    with office.unchanged(Refusal.STATE):
        office.changes.activate(more.digest)
    with office.unchanged(Refusal.STATE):
        office.proposes(more)


def test_what_is_shown(office: Office, world: World, more: PolicySet) -> None:
    """A change is shown with both sets, what differs, and who has signed; it fits into an answer."""
    office.proposes(more)
    office.signs(more, "cro-1")
    view = office.changes.view(more.digest)
    canonical(view, limit=DOCUMENT_MAX)
    assert (view["proposer"], view["signed_by"], view["veto"]) == ("admin-1", ["cro-1"], None)
    assert (view["previous"], view["following"]["manifest"]) == (world.policy.dump(), more.manifest.dump())
    (about,) = view["change"]["people"]
    assert (about["person"], len(about["credentials_added"])) == ("trader-1", 1)


def test_too_early(office: Office, more: PolicySet) -> None:
    """Signatures do not bring the time forward."""
    office.proposes(more)
    office.signs(more, "cro-1", "risk-1")
    office.after(seconds=(AT - NOW).total_seconds() - 0.000001)
    with office.unchanged(Refusal.POLICY_CHAIN):
        office.changes.activate(more.digest)
    before = office.photograph()
    office.changes.step()
    assert office.photograph() == before


def test_the_delay_is_not_kept(office: Office, world: World) -> None:
    """What adds something cannot be proposed for sooner than a day from now."""
    edit = gains(world, "trader-1")
    hasty = following(world, edit, activates_at=write_time(NOW + DELAY - timedelta(seconds=1)))
    with office.unchanged(Refusal.CHANGE_DELAY, "/manifest/activates_at"):
        office.proposes(hasty, registers=False)


def test_a_key_that_was_never_registered(office: Office, world: World, more: PolicySet) -> None:
    """A set gives nobody a key that was not registered for him, also after a restart; then it does."""
    with office.unchanged(Refusal.REGISTRATION, "/files/people.json"):
        office.proposes(more, registers=False)
    office.registers(more)
    again = office.restarted()
    assert again.proposes(more, registers=False) == more.digest
    other = following(world, edited("pm-1", site="x"))
    stolen = again.desk.lane.books.registered["trader-1"][0].dump()
    swapped = following(world, edited("pm-1", credentials=lambda own: [*own, stolen]))
    with again.unchanged(Refusal.REGISTRATION):
        again.proposes(swapped, registers=False)
    assert again.proposes(other, registers=False) == other.digest
    again.hall.recorder.close()


def test_the_delay_counts_from_the_ledgers_time(office: Office, more: PolicySet) -> None:
    """A proposal that was recorded later than it was meant waits for a later set, and says so once."""
    office.proposes(more)
    office.changes._known[more.digest].proposed_at = AT
    office.signs(more, "cro-1", "risk-1")
    office.after(days=9)
    with office.unchanged(Refusal.CHANGE_DELAY):
        office.changes.activate(more.digest)
    office.changes.step()
    office.changes.step()
    kinds = [entry.type for entry in office.hall.recorder.entries()]
    assert kinds.count("request.refused") == 1
    assert office.in_force.digest == office.world.policy.digest


def test_the_quorum_is_missing(office: Office, more: PolicySet) -> None:
    """One officer is not two, however long one waits."""
    office.proposes(more)
    office.signs(more, "cro-1")
    office.after(days=9)
    with office.unchanged(Refusal.POLICY_CHAIN):
        office.changes.activate(more.digest)
    office.signs(more, "committee-1")
    assert office.standing(more) == "activated"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        pytest.param({"person": "admin-1"}, Refusal.ROLE_NOT_HELD, id="an administrator"),
        pytest.param({"person": "trader-1"}, Refusal.ROLE_NOT_HELD, id="whom it is about"),
        pytest.param({"person": "cro-1", "path": "login"}, Refusal.CREDENTIAL_UNKNOWN, id="a login press"),
        pytest.param({"person": "cro-1", "rp_id": "login.localhost"}, Refusal.ASSERTION, id="another party"),
        pytest.param({"person": "cro-1", "flags": 0x01}, Refusal.ASSERTION, id="nobody was verified"),
    ],
)
def test_signatures_that_do_not_count(
    office: Office, more: PolicySet, how: dict[str, Any], code: Refusal
) -> None:
    """Only an officer's press for approvals is a signature, and one that is none is refused at once."""
    office.proposes(more)
    person = how["person"]
    signature = office.signature(more, **how)
    with office.unchanged(code):
        office.changes.sign(more.digest, signature, person)


def test_replayed_signatures(office: Office, world: World, more: PolicySet, revoked: PolicySet) -> None:
    """A signature counts once, for one set, in its own person's name, in his own session."""
    office.proposes(more)
    office.proposes(revoked)
    signature = office.signature(more, "cro-1")
    with office.unchanged(Refusal.ASSERTION_OTHER):
        office.changes.sign(revoked.digest, signature, "cro-1")
    with office.unchanged(Refusal.SESSION_FOREIGN):
        office.changes.sign(more.digest, signature, "risk-1")
    stolen = Signature(person="risk-1", assertion=signature.assertion)
    with office.unchanged(Refusal.CREDENTIAL_UNKNOWN):
        office.changes.sign(more.digest, stolen, "risk-1")
    office.changes.sign(more.digest, signature, "cro-1")
    again = office.signature(more, "cro-1", index=1)
    for doubled in (signature, again):
        with office.unchanged(Refusal.DECISION_REPEATED):
            office.changes.sign(more.digest, doubled, "cro-1")
    assert office.changes.view(more.digest)["signed_by"] == ["cro-1"]
    assert world.policy.digest == office.in_force.digest


def test_a_key_that_only_one_of_the_sets_has(office: Office, world: World) -> None:
    """Who signs again with the key that a set takes from him does not take his first signature back."""
    old = world.credential("cro-1", "console")
    kept = edited("cro-1", credentials=lambda own: [each for each in own if each["id"] != old.id])
    policy = following(world, kept, activates_at=write_time(NOW))
    office.proposes(policy)
    office.changes.sign(policy.digest, office.signature(policy, "cro-1", path="approval"), "cro-1")
    pressed = {"party": EVERY_PARTY["console"], "counter": next(office.numbers)}
    again = Signature(person="cro-1", assertion=press(world.keys, old.id, policy.challenge, **pressed))
    with office.unchanged(Refusal.DECISION_REPEATED):
        office.changes.sign(policy.digest, again, "cro-1")
    office.signs(policy, "risk-1")
    assert office.in_force.digest == policy.digest


def test_what_is_not_due_is_not_looked_into(office: Office, more: PolicySet) -> None:
    """Sets that lie open cost nothing each second: their files are not read before their time."""
    office.proposes(more)
    office.signs(more, "cro-1", "risk-1")
    for blob in (office.folder / "blobs").iterdir():
        blob.unlink()
    before = office.hall.ledger.head()
    office.changes.step()
    assert office.hall.ledger.head() == before
    wait(office)
    assert office.hall.ledger.head() != before
    assert office.in_force.digest != more.digest


def test_a_signature_by_a_double(office: Office, more: PolicySet) -> None:
    """A credential that counts backwards signs nothing, and what it signed before counts no more."""
    office.proposes(more)
    office.signs(more, "cro-1", "risk-1")
    copy = office.signature(more, "cro-1", counter=1)
    other = following(office.world, leaves("trader-1"), activates_at=write_time(NOW))
    office.proposes(other)
    with refused(Refusal.CREDENTIAL_FROZEN):
        # the same number as before, over another set
        office.changes.sign(other.digest, office.signature(other, "cro-1", counter=1), "cro-1")
    assert copy.assertion.credential in office.desk.lane.books.frozen
    assert office.changes.view(more.digest)["signed_by"] == ["risk-1"]
    wait(office)
    assert office.standing(more) == "pending"
    again = office.restarted()
    spare = again.signature(more, "cro-1", index=1)
    again.changes.sign(more.digest, spare, "cro-1")
    assert again.standing(more) == "activated"
    assert again.in_force.signatures[0] == spare
    again.restarted().hall.recorder.close()


@pytest.mark.parametrize(
    "person", [pytest.param("trader-1", id="the owner"), pytest.param("committee-1", id="the committee")]
)
def test_vetoed(office: Office, world: World, more: PolicySet, person: str) -> None:
    """A vetoed set never comes into force; its successor is another manifest."""
    office.proposes(more)
    office.signs(more, "cro-1", "risk-1")
    office.vetoes(more, person)
    assert office.entries()[-1] == ("policy.vetoed", person)
    wait(office)
    for again in (office, office.restarted()):
        assert (again.standing(more), again.in_force.digest) == ("vetoed", world.policy.digest)
        with again.unchanged(Refusal.CHANGE_VETOED):
            again.changes.activate(more.digest)
        with again.unchanged(Refusal.CHANGE_VETOED):
            again.signs(more, "committee-1")
        with again.unchanged(Refusal.CHANGE_VETOED):
            again.vetoes(more, "cro-1")
        with again.unchanged(Refusal.CHANGE_VETOED):
            again.proposes(more)
    manifest = more.manifest
    at = write_time(AT + 2 * DELAY)
    successor = PolicySet(type(manifest).load(manifest.dump() | {"activates_at": at}), more.files, [])
    again.proposes(successor)
    assert again.standing(successor) == "pending"
    again.hall.recorder.close()


@pytest.mark.parametrize("person", ["pm-1", "admin-1", "auditor-1"])
def test_a_strangers_veto(office: Office, more: PolicySet, person: str) -> None:
    """Whom it does not concern cannot stop it."""
    office.proposes(more)
    with office.unchanged(Refusal.CHANGE_NO_VETO):
        office.vetoes(more, person)


def test_somebody_elses_veto(office: Office, more: PolicySet) -> None:
    """A person of the desk brings his own word."""
    office.proposes(more)
    with office.unchanged(Refusal.SESSION_FOREIGN):
        office.vetoes(more, "trader-1", by="admin-1")


def test_a_revocation_is_not_vetoed(office: Office, revoked: PolicySet) -> None:
    """A stolen key does not keep itself."""
    office.proposes(revoked)
    for person in ("pm-1", "cro-1"):
        with office.unchanged(Refusal.CHANGE_NO_VETO):
            office.vetoes(revoked, person)


def test_a_revocation_acts_at_once(office: Office, revoked: PolicySet) -> None:
    """With the second signature the credential is gone, and the sessions that it certified with it."""
    speaker, other = office.hall.login("pm-1"), office.hall.login("trader-1")
    office.proposes(revoked)
    office.signs(revoked, "cro-1")
    assert office.hall.ends() == []
    office.signs(revoked, "risk-1")
    assert office.standing(revoked) == "activated"
    assert office.hall.ends() == [(speaker.digest, "revoked", "service")]
    with refused(Refusal.SESSION_ENDED):
        speaker.speaks()
    assert other.speaks() == other.certified
    head = office.hall.ledger.head()
    with refused(Refusal.CREDENTIAL_UNKNOWN):
        office.hall.login("pm-1")
    assert office.hall.ledger.head() == head


def test_two_changes_of_one_set(office: Office, world: World, more: PolicySet, revoked: PolicySet) -> None:
    """Whichever comes first takes the place; the other is void, and says so."""
    office.proposes(more)
    office.signs(more, "cro-1", "risk-1")
    office.proposes(revoked)
    office.signs(revoked, "committee-1", "cro-1")
    assert (office.standing(more), office.standing(revoked)) == ("void", "activated")
    assert office.entries()[-2:] == [("policy.activated", "service"), ("policy.voided", "service")]
    wait(office)
    for again in (office, office.restarted()):
        assert again.in_force.digest == revoked.digest
        for attempt in (
            lambda a=again: a.changes.activate(more.digest),
            lambda a=again: a.signs(more, "committee-1"),
            lambda a=again: a.vetoes(more, "trader-1"),
            lambda a=again: a.proposes(more, registers=False),
        ):
            with again.unchanged(Refusal.CHANGE_VOID):
                attempt()
        late = following(world, leaves("trader-1"))
        with again.unchanged(Refusal.POLICY_CHAIN):
            again.proposes(late, registers=False)
    again.hall.recorder.close()


def test_two_that_are_due_at_once(office: Office, world: World, more: PolicySet) -> None:
    """Of two that may be activated at the same moment one is, and the other is void."""
    other = following(world, edited("pm-1", site="south"), activates_at=write_time(AT))
    for each in (more, other):
        office.proposes(each)
        office.signs(each, "cro-1", "risk-1")
    wait(office)
    assert [office.standing(each) for each in (more, other)] == ["activated", "void"]


def test_a_chain_of_changes(office: Office, world: World) -> None:
    """An officer joins by one set and signs the next one; whoever left signs no more."""
    officer = joins(world, "officer-9", "committee")
    with office.unchanged(Refusal.CREDENTIALS_FEW):
        office.proposes(following(world, officer), registers=False)
    spare = joins(world, "officer-9", "committee")([])[0]["credentials"]
    twice = edited("officer-9", credentials=lambda own: [*own, *spare])
    joined = following(world, lambda people: twice(officer(people)), activates_at=write_time(AT))
    office.proposes(joined)
    # who is not of the desk yet has no session: somebody else carries his word
    theirs = office.signature(joined, "officer-9")
    office.changes.sign(joined.digest, theirs, "admin-1")
    office.signs(joined, "cro-1")
    wait(office)
    # the newcomer counts for the next set only: the set in force has one signature
    assert office.standing(joined) == "pending"
    office.signs(joined, "risk-1")
    assert office.standing(joined) == "activated"
    left = following(world, leaves("cro-1"), after=office.in_force, activates_at=write_time(AT))
    office.proposes(left)
    office.signs(left, "cro-1", "risk-1")
    # he may sign that he goes, but the set that he is not in needs two of its own
    assert office.standing(left) == "pending"
    own = office.signature(left, "officer-9")
    with office.unchanged(Refusal.SESSION_FOREIGN):
        office.changes.sign(left.digest, own, "admin-1")
    office.changes.sign(left.digest, own, "officer-9")
    assert office.standing(left) == "activated"
    assert [each.manifest.version for each in office.desk.lane.policies] == [1, 2, 3]
    again = office.restarted()
    assert again.in_force.digest == left.digest
    again.hall.recorder.close()


def test_an_owner_who_was_taken_out_first(office: Office, world: World) -> None:
    """Who is brought back with another key has no session, and is heard all the same."""
    out = following(world, leaves("trader-1"), activates_at=write_time(NOW))
    office.proposes(out)
    office.signs(out, "cro-1", "risk-1")
    false = joins(world, "trader-1", "trader")
    back = following(world, false, after=office.in_force, activates_at=write_time(AT))
    office.proposes(back)
    office.vetoes(back, "trader-1", by="pm-1")
    assert office.standing(back) == "vetoed"
    assert office.entries()[-1] == ("policy.vetoed", "pm-1")


BROKEN: list[Any] = [
    pytest.param({"policies.cedar": b"permit (principal, action, resource) when { context.x };"}, id="rules"),
    pytest.param({"schema.cedarschema": b"entity Person;"}, id="schema"),
    pytest.param({"roles.json": b"{}"}, id="roles"),
    pytest.param({"whitelist.json": b"{}"}, id="whitelist"),
]


@pytest.mark.parametrize("files", BROKEN)
def test_a_set_that_nobody_could_read(office: Office, world: World, files: dict[str, bytes]) -> None:
    """What would stop the desk is refused when it is proposed."""
    with office.unchanged(Refusal.POLICY_INVALID):
        office.proposes(following(world, files=files))


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        pytest.param(lambda v: v | {"signatures": []}, Refusal.MALFORMED, id="signatures at once"),
        pytest.param(lambda v: v | {"files": {}}, Refusal.POLICY_INVALID, id="no files"),
        pytest.param(lambda v: {"files": v["files"]}, Refusal.MALFORMED, id="no manifest"),
        pytest.param(
            lambda v: v | {"files": v["files"] | {"limits.json": "{}"}}, Refusal.POLICY_INVALID, id="another"
        ),
    ],
)
def test_proposals_that_are_none(
    office: Office, more: PolicySet, attack: Callable[[Any], Any], code: Refusal
) -> None:
    """A proposal is a manifest and the files that it names."""
    value = more.dump()
    del value["signatures"]
    with office.unchanged(code):
        office.changes.propose(attack(value), office.speaks("admin-1"))


def test_limits_of_what_is_open(office: Office, world: World) -> None:
    """One person fills his own places only, and no set is so large that evidence could not carry it."""

    def numbered(number: int) -> PolicySet:
        return following(world, files=limits(world, gas_max=number))

    for number in range(OPEN_PER_PROPOSER_MAX):
        office.proposes(numbered(number))
    with office.unchanged(Refusal.OWN_LIMIT):
        office.proposes(numbered(99))
    office.proposes(numbered(99), "cro-1")
    rules = world.files["policies.cedar"]
    large = following(world, files={"policies.cedar": rules + b"//" + b"x" * SET_MAX})
    with office.unchanged(Refusal.TOO_LARGE, "/files"):
        office.proposes(large, "risk-1")


def test_no_such_change(office: Office, more: PolicySet) -> None:
    """What was never proposed is neither shown, signed, vetoed nor activated."""
    attempts: Sequence[Callable[[], object]] = (
        lambda: office.changes.view(more.digest),
        lambda: office.changes.activate(more.digest),
        lambda: office.signs(more, "cro-1"),
        lambda: office.vetoes(more, "cro-1"),
        lambda: office.changes.view(office.in_force.digest),
    )
    for attempt in attempts:
        with office.unchanged(Refusal.NOT_FOUND):
            attempt()


def test_a_restart_in_between(office: Office, more: PolicySet) -> None:
    """The ledger is the memory: proposal, signatures and time are there again."""
    office.proposes(more)
    office.signs(more, "cro-1")
    again = office.restarted()
    assert again.changes.listed() == office.changes.listed()
    with again.unchanged(Refusal.DECISION_REPEATED):
        again.signs(more, "cro-1")
    again.signs(more, "risk-1")
    last = again.restarted()
    wait(last)
    assert (last.standing(more), last.in_force.digest) == ("activated", more.digest)
    assert [kind for kind, _ in last.entries()].count("policy.adopted") == 1
    last.hall.recorder.close()


def story(office: Office, first: PolicySet, other: PolicySet, vetoed: PolicySet) -> None:
    """Do everything that can be done, once; what is done already is not done again."""
    known = {each["digest"]: each for each in office.changes.listed()["changes"]}

    def todo(policy: PolicySet, *people: str) -> list[str]:
        signed = known.get(policy.digest, {}).get("signed_by", [])
        return [person for person in people if person not in signed]

    def pending(policy: PolicySet) -> bool:
        return known.get(policy.digest, {"standing": "pending"})["standing"] == "pending"

    for each in (first, other, vetoed):
        if each.digest not in known:
            office.proposes(each)
    if pending(vetoed):
        office.vetoes(vetoed, "trader-1")
    if pending(other):
        office.signs(other, *todo(other, "cro-1"))
    if pending(first):
        office.signs(first, *todo(first, "risk-1", "cro-1"))
    office.changes.step()


POINTS = [
    "policy-proposed",
    "policy-signed",
    "policy-vetoed",
    "policy-activating",
    "policy-activated",
    "policy-kept",
    "policy-taken-over",
]


@pytest.mark.parametrize("point", [None, *POINTS])
def test_a_crash(
    office: Office, world: World, more: PolicySet, revoked: PolicySet, point: str | None
) -> None:
    """Wherever the process ends, its next run comes to the same end, and nothing happens twice."""
    speaker = office.hall.login("pm-1")
    other = following(world, edited("trader-1", site="south"), activates_at=write_time(AT))
    if point is not None:
        office = office.restarted(Dying(point))
        with pytest.raises(Died, match=point):
            story(office, revoked, other, more)
        office = office.restarted()
        # whatever the ledger says is in force is in force from the first moment on
        activated = ("policy.activated", "service") in office.entries()
        assert office.in_force.digest == (revoked if activated else world.policy).digest
        assert (office.hall.ends() != []) == activated
    office.changes.step()
    story(office, revoked, other, more)
    assert [office.standing(each) for each in (revoked, other, more)] == ["activated", "void", "vetoed"]
    assert office.in_force.digest == revoked.digest
    assert office.hall.ends() == [(speaker.digest, "revoked", "service")]
    assert sorted(kind for kind, _ in office.entries()) == [
        "policy.activated",
        "policy.adopted",
        *["policy.proposed"] * 3,
        *["policy.signed"] * 3,
        "policy.vetoed",
        "policy.voided",
    ]
    assert [path.name for path in sorted(office.policies.iterdir())] == ["000001.json", "000002.json"]
    office.restarted().hall.recorder.close()


def test_a_folder_that_takes_no_file(office: Office, more: PolicySet, revoked: PolicySet) -> None:
    """What was activated acts although its file cannot be kept yet, and no second set follows the first."""
    leaver = office.hall.login("pm-1")
    for each in (more, revoked):
        office.proposes(each)
    aside = office.policies.rename(office.folder / "aside")
    office.policies.write_text("in the way")
    office.signs(revoked, "cro-1", "risk-1")
    assert (office.standing(revoked), office.standing(more)) == ("activated", "void")
    assert office.in_force.digest == revoked.digest
    with refused(Refusal.SESSION_ENDED):
        leaver.speaks()
    with pytest.raises(FileExistsError):
        office.changes.keep_files()  # said every second, until somebody helps
    office.policies.unlink()
    aside.rename(office.policies)
    office.changes.keep_files()
    assert [path.name for path in sorted(office.policies.iterdir())] == ["000001.json", "000002.json"]
    again = office.restarted()
    assert again.in_force.dump() == office.in_force.dump()
    again.hall.recorder.close()


def test_a_ledger_too_busy_for_the_ends(office: Office, revoked: PolicySet) -> None:
    """Whoever keeps the ledger busy does not keep his session: it is over before its end is recorded."""
    first, second = office.hall.login("pm-1"), office.hall.login("pm-1")
    office.proposes(revoked)
    office.signs(revoked, "cro-1")
    books, sessions = office.desk.lane.books, office.desk.sessions

    class Full(Recorder):
        """A recorder whose queue is full when ends are to be recorded."""

        def append(self, kind: str, *args: Any, **named: Any) -> Receipt:
            """Refuse the ends, as the writer's queue does."""
            if kind == SESSION_ENDED:
                raise RefusedError(Refusal.BUSY, "20000 events are waiting")
            return Recorder.append(self, kind, *args, **named)

    known = {each.name: getattr(office.hall.recorder, each.name) for each in fields(Recorder)}
    sessions.recorder = Full(**known)
    office.signs(revoked, "risk-1")
    assert office.in_force.digest == revoked.digest
    for each in (first, second):
        assert each.digest in books.sessions
        with refused(Refusal.SESSION_ENDED):
            each.speaks()
        assert not sessions.active(each.digest)
    sessions.recorder = office.hall.recorder
    sessions.end_overdue()
    ended = [(each.digest, "revoked", "service") for each in (first, second)]
    assert sorted(office.hall.ends()) == sorted(ended)


def test_a_turn_while_the_desk_is_busy(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that hangs keeps nobody's session open: what needs no desk is done without it."""
    speaker = office.hall.login("pm-1")
    office.after(days=1)
    monkeypatch.setattr("workbench.service.desk.BUSY_S", 0.05)
    holds, goes = Event(), Event()

    def hang() -> None:
        with office.desk.held():
            holds.set()
            goes.wait()

    peer = Thread(target=hang)
    peer.start()
    holds.wait()
    _turn(office.desk, office.changes, {})
    goes.set()
    peer.join()
    assert [digest for digest, *_ in office.hall.ends()] == [speaker.digest]


def test_a_set_in_the_folder_that_the_ledger_does_not_know(
    office: Office, world: World, more: PolicySet
) -> None:
    """Whoever can write the folder does not get round delay and veto, with whatever signatures."""
    office.proposes(more)
    now = following(world, edited("pm-1", roles=["trader"]), activates_at=write_time(NOW))
    keep(office.policies, world.sign_set(now.files, after=world.policy))
    with refused(Refusal.POLICY_CHAIN):
        office.restarted()
    (office.policies / "000002.json").unlink()
    office.restarted().hall.recorder.close()


def test_files_that_are_gone(office: Office, world: World, revoked: PolicySet) -> None:
    """A set's file is made again from the ledger; one that was there before the ledger is missed."""
    office.proposes(revoked)
    office.signs(revoked, "cro-1", "risk-1")
    kept = (office.policies / "000002.json").read_bytes()
    (office.policies / "000002.json").unlink()
    again = office.restarted()
    assert (office.policies / "000002.json").read_bytes() == kept
    assert again.in_force.dump() == office.in_force.dump()
    (office.policies / "000001.json").unlink()
    with refused(Refusal.POLICY_CHAIN):
        again.restarted()
    keep(office.policies, world.policy)
    again.restarted().hall.recorder.close()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"{}")])
def test_a_blob_that_is_gone(office: Office, more: PolicySet, damage: Callable[[Path], object]) -> None:
    """Without a set's files nobody can say what was signed: it is not activated."""
    office.proposes(more)
    office.signs(more, "cro-1", "risk-1")
    *_, proposed = [e for e in office.hall.recorder.entries() if e.type == "policy.proposed"]
    assert proposed.data is not None
    damage(office.folder / "blobs" / proposed.data["files"])
    again = office.restarted()
    wait(again)
    assert again.in_force.digest == office.world.policy.digest
    with again.unchanged(Refusal.NOT_FOUND):
        again.changes.activate(more.digest)
    again.hall.recorder.close()


def test_the_counters_of_officers_are_kept(office: Office, more: PolicySet) -> None:
    """A signature and a veto count like every other press, also after a restart."""
    office.proposes(more)
    office.signs(more, "cro-1")
    office.vetoes(more, "trader-1")
    pressed = (("cro-1", "console"), ("trader-1", "approval"))
    credentials = [office.world.credential(*each).id for each in pressed]
    counted = [office.desk.lane.books.counters[each] for each in credentials]
    again = office.restarted()
    assert [again.desk.lane.books.counters[each] for each in credentials] == counted
    assert min(counted) > 0
    again.hall.recorder.close()


def test_who_may_amend(world: World) -> None:
    """The committee and administrators propose sets; nobody whose work the set is to bound."""
    matrix: dict[str, list[str]] = json.loads(world.files["roles.json"])
    assert {role for role, permitted in matrix.items() if "amend" in permitted} == {
        "administrator",
        "committee",
    }
