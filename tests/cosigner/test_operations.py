"""What a lying service cannot have done to a key: refusals over operations, by step and name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from ledger.entry import Entry, Event
from ledger.merkle import Frontier
from ledger.trust import TrustRoot as LedgerTrustRoot
from tests.rules.build import NOW, World, build, note, observer_key, public
from workbench.cosigner import operations
from workbench.cosigner.ground import GateError, Identity
from workbench.cosigner.memory import Head, Snapshot
from workbench.cosigner.operations import Allowed
from workbench.demo import charter
from workbench.rules.assertion import CONSOLE
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.key_operation import ORDERED, KeyOperation, OperationEvidence
from workbench.rules.lease import LEASE_LINE, Lease
from workbench.rules.pause import NOTHING_ORDERED, Orders
from workbench.rules.policy import PolicySet, Signature

NAMES = list(charter.COSIGNERS)
GENESIS = bytes(32)
ADDRESS = "0x000000000000000000000000000000000000dEaD"
OFFICERS = (("cro-1", CONSOLE), ("risk-1", "approval"))
Json = dict[str, Any]
NEW = Head(size=0, hashes=(), chain=GENESIS, policy="", policy_version=0, time_floor="", records=0)


@dataclass
class Lying:
    """What a service brings, how it lies, and what the co-signer remembers."""

    world: World
    operation: Json
    presses: tuple[tuple[str, str], ...] = OFFICERS
    kind: str = ORDERED
    recorded: Callable[[Json], Json] = lambda signed: signed
    lease: Json | None = field(default_factory=dict)
    bent: Json = field(default_factory=dict)
    head: Head = NEW
    orders: Orders = NOTHING_ORDERED
    made_to: int = 0
    name: str = NAMES[0]
    sets: list[PolicySet] = field(default_factory=list)

    def decide(self) -> Allowed:
        """Bring it all to a co-signer."""
        return operations.decide(**self._brought(), made_to=self.made_to)

    def over(self) -> Allowed:
        """Bring it as an order that has run out."""
        return operations.over(**self._brought())

    def _brought(self) -> Json:
        """Return what the co-signer goes by: evidence, memory, clock."""
        policy = self.world.policy
        operation = KeyOperation.load(self.operation)
        signatures = [
            Signature(person=person, assertion=self.world.sign_as(person, operation.challenge, path=path))
            for person, path in self.presses
        ]
        signed = {"operation": operation.dump(), "signatures": [each.dump() for each in signatures]}
        event = Event(
            source="desk",
            id=operation.digest,
            type=self.kind,
            actor="service",
            dataschema="desk/v1",
            data=self.recorded(signed),
        )
        entry = Entry.write(event, seq=0, time=NOW, salt=bytes(32), prev=GENESIS)
        frontier = Frontier()
        frontier.append(entry.leaf)
        assert entry.payload is not None
        evidence = {
            "v": 1,
            "operation": "order",
            "ordered": signed,
            "entry": {
                "seq": 0,
                "head": entry.head.decode(),
                "data": entry.payload.decode(),
                "salt": "00" * 32,
                "proof": [],
            },
            "policy_chain": [each.dump() for each in (self.sets or [policy])],
            "lease": None if self.lease is None else self._lease(frontier),
            "head": {
                "from": 0,
                "leaves": [entry.leaf.hex()],
                "checkpoint": note(size=1, root=frontier.root(), chain=entry.h),
                "consistency": {},
            },
        }
        names = {name: f"{number:064x}" for number, name in enumerate(NAMES, 1)}
        root = self.world.root(watcher=public("watcher"), cosigners=names)
        return {
            "evidence": OperationEvidence.load(evidence | self.bent),
            "memory": Snapshot(self.head, ()),
            "orders": self.orders,
            "identity": Identity(
                name=self.name, trust_root=root, ledger_trust_root=LedgerTrustRoot.of(root.dump())
            ),
            "now": NOW,
        }

    def _lease(self, frontier: Frontier) -> Json:
        policy = (self.sets or [self.world.policy])[-1]
        lease = Lease.load(
            {
                "v": 1,
                "policy": policy.digest,
                "policy_version": policy.manifest.version,
                "revocation_epoch": 0,
                "pause_epoch": 0,
                "paused": [],
                "head": {"size": 1, "root": frontier.root().hex()},
                "at": write_time(NOW),
                "ttl_s": 20,
                **(self.lease or {}),
            }
        )
        signature = observer_key("watcher").sign(signed_bytes(LEASE_LINE, lease.canonical()))
        return {"lease": lease.dump(), "signature": signature.hex()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a desk whose policy set says where five co-signers stand."""
    made = build(tmp_path_factory.mktemp("officers"))
    files = made.with_file("cosigners.json", lambda _: charter.places("mpc"))
    policy = made.sign_set(files, activates_at=write_time(NOW - timedelta(days=1)))
    root = made.root(genesis_policy=policy.digest)
    return World(folder=made.folder, files=files, policy=policy, trust_root=root)


def drafted(world: World, **changes: Any) -> Json:
    """Return an operation that makes a key."""
    return {
        "v": 1,
        "operation": "dkg",
        "key": "sweep",
        "epoch": 1,
        "parameters": {"parties": NAMES, "threshold": 3},
        "policy": world.policy.digest,
        "reason": "test",
        "nonce": "ab" * 16,
        "expires_at": write_time(NOW + timedelta(minutes=5)),
        **changes,
    }


def test_what_nobody_has_touched_is_allowed(world: World) -> None:
    """So nothing else is in the way of the lies below; what is to be remembered is the ledger's head."""
    allowed = Lying(world, drafted(world)).decide()
    assert allowed.made_by is not None
    assert allowed.made_by.parties == NAMES
    assert (allowed.head.size, allowed.head.policy) == (1, world.policy.digest)
    terms = allowed.terms(NOTHING_ORDERED, share=None)
    assert (terms.protocol, terms.subject) == ("dkg", allowed.operation.digest)


def paused(scope: str) -> Json:
    """Return a lease in which something is paused."""
    return {"pause_epoch": 1, "paused": [{"scope": scope, "epoch": 1}]}


def ended(world: World, **changes: Any) -> Json:
    """Return an operation that ends a key."""
    return drafted(world, operation="destroy", parameters=None, **changes)


LIES: list[tuple[str, Json, Callable[[World], Json], int, str]] = [
    ("no lease", {"lease": None}, drafted, 1, "lease_missing"),
    (
        "a lease that has run out",
        {"lease": {"ttl_s": 1, "at": write_time(NOW - timedelta(seconds=2))}},
        drafted,
        1,
        "lease_stale",
    ),
    (
        "a lease that names another set",
        {"lease": {"policy_version": 2}},
        drafted,
        1,
        "lease_names_another_policy_set",
    ),
    ("everything is paused", {"lease": paused("all")}, drafted, 1, "paused"),
    ("the key is paused", {"lease": paused("key:sweep")}, drafted, 1, "paused"),
    (
        "a pause that was heard before",
        {"orders": NOTHING_ORDERED.ordered("all"), "lease": {"pause_epoch": 1}},
        drafted,
        1,
        "paused",
    ),
    (
        "a lease from before a pause",
        {"orders": NOTHING_ORDERED.ordered("key:other")},
        drafted,
        1,
        "lease_behind_what_was_heard",
    ),
    (
        "a ledger that the watcher knows to be longer",
        {"lease": {"head": {"size": 2, "root": "ab" * 32}}},
        drafted,
        2,
        "ledger_head_behind",
    ),
    (
        "another ledger than the watcher's",
        {"lease": {"head": {"size": 1, "root": "ab" * 32}}},
        drafted,
        2,
        "ledger_head_forked",
    ),
    ("an entry that is no order", {"kind": "external.note"}, drafted, 2, "reservation_not_in_ledger"),
    (
        "an entry of another order",
        {"recorded": lambda signed: signed | {"signatures": []}},
        drafted,
        2,
        "reservation_not_in_ledger",
    ),
    ("one officer", {"presses": OFFICERS[:1]}, drafted, 4, "policy_chain_broken"),
    ("pages only", {"presses": (("cro-1", "approval"), OFFICERS[1])}, drafted, 4, "policy_chain_broken"),
    (
        "the proposer's people",
        {"presses": (OFFICERS[0], ("pm-1", "approval"))},
        drafted,
        4,
        "policy_chain_broken",
    ),
    (
        "signed under another set",
        {},
        lambda world: drafted(world, policy="ab" * 32),
        4,
        "decision_under_another_policy",
    ),
    ("run out", {}, lambda world: drafted(world, expires_at=write_time(NOW)), 4, "expired"),
    (
        "for ever",
        {},
        lambda world: drafted(world, expires_at=write_time(NOW + timedelta(days=1))),
        4,
        "expired",
    ),
    ("a key that there is", {}, lambda world: drafted(world, key=charter.KEY_ID), 5, "not_in_this_state"),
    (
        "a key of others",
        {"name": "cosigner-5"},
        lambda world: drafted(world, parameters={"parties": NAMES[:3], "threshold": 2}),
        5,
        "key_unknown",
    ),
    (
        "the end of a key that is in use",
        {},
        lambda world: ended(world, key=charter.KEY_ID),
        5,
        "not_in_this_state",
    ),
    ("an epoch that was made here", {"made_to": 1}, drafted, 7, "share_unusable"),
]


@pytest.mark.parametrize(
    ("lie", "draft", "step", "code"), [each[1:] for each in LIES], ids=[each[0] for each in LIES]
)
def test_step_refuses(world: World, lie: Json, draft: Callable[[World], Json], step: int, code: str) -> None:
    """A lie is refused at its step, by name; nothing was there to be changed."""
    with pytest.raises(GateError) as refused:
        Lying(world, draft(world), **lie).decide()
    assert (refused.value.step, refused.value.refusal.code.value) == (step, code), str(refused.value)


def test_an_end_is_not_stopped_by_a_pause(world: World) -> None:
    """A key that is paused because it is in danger can be ended."""
    allowed = Lying(world, ended(world), lease=paused("all")).decide()
    assert allowed.made_by is None


def whole(world: World, point: str, key: str = "old") -> PolicySet:
    """Return a set that lists a whole key of the first co-signer beside what there was."""
    listed = {
        "id": key,
        "address": ADDRESS,
        "public_key": point,
        "tier": "hot",
        "purpose": "test",
        "engine": "hsm",
        "cosigners": [NAMES[0]],
    }
    files = {**world.policy.files, **world.with_file("keys.json", lambda there: [*there, listed])}
    at = write_time(NOW - timedelta(hours=2))
    return world.sign_set(files, after=world.policy, activates_at=at)


def after(world: World, before: PolicySet, files: Json) -> list[PolicySet]:
    """Return the sets up to one that has these files again."""
    last = world.sign_set(files, after=before, activates_at=write_time(NOW - timedelta(hours=1)))
    return [world.policy, before, last]


@pytest.mark.parametrize(
    ("point", "ends"),
    [
        pytest.param("04" + "ab" * 64, True, id="a key"),
        pytest.param("ab" * 32, False, id="an identity"),
        pytest.param("ab" * 700, False, id="a long text"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_what_a_name_was_given_to(world: World, point: str, *, ends: bool) -> None:
    """Only what can be a transaction key ends, whatever a set once listed; the order is not stuck by it."""
    sets = after(world, whole(world, point), dict(world.policy.files))
    allowed = Lying(world, ended(world, key="old", policy=sets[-1].digest), sets=sets).decide()
    assert allowed.whole == ((point,) if ends else ())
    other = Lying(world, ended(world, key="old", policy=sets[-1].digest), sets=sets, name=NAMES[1])
    assert other.decide().whole == ()


def test_a_key_that_goes_by_another_name(world: World) -> None:
    """A set that renames a key ends nothing of it: its public key owns something still."""
    point = "04" + "ab" * 64
    renamed = whole(world, point, key="new")
    sets = after(world, whole(world, point), dict(renamed.files))
    allowed = Lying(world, ended(world, key="old", policy=sets[-1].digest), sets=sets).decide()
    assert allowed.whole == ()
    assert point in allowed.owning


def test_older_rules(world: World) -> None:
    """A policy set that this co-signer has seen superseded does not order anything any more."""
    head = Head(
        size=0, hashes=(), chain=GENESIS, policy="ab" * 32, policy_version=2, time_floor="", records=0
    )
    with pytest.raises(GateError) as refused:
        Lying(world, drafted(world), head=head).decide()
    assert (refused.value.step, refused.value.refusal.code.value) == (3, "policy_superseded")


LATE = {"expires_at": write_time(NOW)}


def late(world: World, **changes: Any) -> Json:
    """Return an order that has run out at this moment."""
    return drafted(world, **LATE | changes)


def following(world: World) -> PolicySet:
    """Return a set that came after the order: one of its officers has left."""
    people = world.with_file(
        "people.json", lambda there: [each for each in there if each["id"] != OFFICERS[0][0]]
    )
    at = write_time(NOW - timedelta(hours=1))
    return world.sign_set(people, after=world.policy, activates_at=at)


def test_what_has_run_out_is_given_up(world: World) -> None:
    """So nothing else is in the way of the lies below; what it is good for are the terms of a promise."""
    given_up = Lying(world, late(world)).over()
    assert given_up.made_by is not None
    assert (given_up.made_by.parties, given_up.head.size) == (NAMES, 1)
    assert given_up.terms(NOTHING_ORDERED, share=None).epoch == 1


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param({"lease": paused("key:sweep")}, id="the key is paused"),
        pytest.param({"made_to": 1}, id="the epoch was made here"),
    ],
)
def test_what_keeps_no_promise_back(world: World, lie: Json) -> None:
    """A promise makes nothing: what stops an epoch does not stop its end."""
    assert Lying(world, late(world), **lie).over().made_by is not None


def test_officers_who_have_left_have_signed(world: World) -> None:
    """An order is given up under the set that it was signed under, also when another is in force by then."""
    sets = [world.policy, following(world)]
    assert Lying(world, late(world), sets=sets).over().head.policy == sets[-1].digest
    with pytest.raises(GateError) as refused:
        Lying(world, drafted(world), sets=sets).decide()
    assert refused.value.refusal.code.value == "decision_under_another_policy"


OVER: list[tuple[str, Json, Callable[[World], Json], int, str]] = [
    ("it counts still", {}, drafted, 4, "not_in_this_state"),
    (
        "it counts for a moment still",
        {},
        lambda world: late(world, expires_at=write_time(NOW + timedelta(microseconds=1))),
        4,
        "not_in_this_state",
    ),
    ("one officer", {"presses": OFFICERS[:1]}, late, 4, "policy_chain_broken"),
    ("pages only", {"presses": (("cro-1", "approval"), OFFICERS[1])}, late, 4, "policy_chain_broken"),
    ("nobody", {"presses": ()}, late, 4, "policy_chain_broken"),
    (
        "signed under a set that is not of the chain",
        {},
        lambda world: late(world, policy="ab" * 32),
        4,
        "decision_under_another_policy",
    ),
    ("an entry that is no order", {"kind": "external.note"}, late, 2, "reservation_not_in_ledger"),
    (
        "an order that the ledger has with another date",
        {"recorded": lambda signed: signed | {"operation": signed["operation"] | {"nonce": "cd" * 16}}},
        late,
        2,
        "reservation_not_in_ledger",
    ),
    (
        "another ledger than the watcher's",
        {"lease": {"head": {"size": 1, "root": "ab" * 32}}},
        late,
        2,
        "ledger_head_forked",
    ),
    ("no lease", {"lease": None}, late, 1, "lease_missing"),
    ("a lease of another set", {"lease": {"policy_version": 2}}, late, 1, "lease_names_another_policy_set"),
    (
        "the end of a key",
        {},
        lambda world: ended(world, **LATE),
        5,
        "not_in_this_state",
    ),
    (
        "a key of others",
        {"name": "cosigner-5"},
        lambda world: late(world, parameters={"parties": NAMES[:3], "threshold": 2}),
        5,
        "key_unknown",
    ),
]


@pytest.mark.parametrize(
    ("lie", "draft", "step", "code"), [each[1:] for each in OVER], ids=[each[0] for each in OVER]
)
def test_nothing_is_given_up(
    world: World, lie: Json, draft: Callable[[World], Json], step: int, code: str
) -> None:
    """No promise by a forged order, by none, by another's, or by one that counts still."""
    with pytest.raises(GateError) as refused:
        Lying(world, draft(world), **lie).over()
    assert (refused.value.step, refused.value.refusal.code.value) == (step, code), str(refused.value)


@pytest.mark.parametrize(
    "bent",
    [
        pytest.param({"v": 2}, id="another version"),
        pytest.param({"more": 1}, id="a field more"),
        pytest.param({"policy_chain": []}, id="no policy set"),
        pytest.param({"operation": "sign"}, id="a transaction's"),
    ],
)
def test_what_is_malformed(world: World, bent: Json) -> None:
    """Refused before anything is decided."""
    with pytest.raises(Exception, match="malformed"):
        Lying(world, drafted(world), bent=bent).decide()
