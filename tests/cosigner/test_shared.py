"""Between a co-signer's decision and its part of a signature: what happens there takes the decision back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from tests.cosigner.founders import KEY, NAMES, Room, founded, sealing_key
from workbench.cosigner import blocks, memory, nonces, orders
from workbench.cosigner.blocks import Blocks
from workbench.cosigner.core import Cosigner
from workbench.cosigner.gate import Permission
from workbench.cosigner.ground import Identity
from workbench.cosigner.keywork import KeyWork
from workbench.cosigner.memory import Memory
from workbench.cosigner.orders import Heard
from workbench.cosigner.shared import SharedKeys
from workbench.demo.founding import carry as make
from workbench.evm.transaction import UnsignedTransaction, address_of
from workbench.process.crash import NEVER
from workbench.process.measures import Own
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import write_time
from workbench.rules.intent import Intent
from workbench.rules.keys import SharedKey
from workbench.rules.lease import Lease

Said = dict[str, Any]
INTENT, EVIDENCE, GENESIS = "ef" * 32, "aa" * 32, bytes(32)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TO = to_checksum_address("0x" + "cd" * 20)
OTHER = to_checksum_address("0x" + "dc" * 20)
TTL_S = 20


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """Return three co-signers that have made a key of which two sign."""
    with sealing_key(tmp_path_factory.mktemp("hsm")) as sealing:
        made = founded(tmp_path_factory.mktemp("room"), sealing)
        make(lambda _: Path(), NAMES, made.ask)
        for name in NAMES:
            nonce = made.founders[name].runs.recall()["nonce"]
            others = [made.founders[other].runs for other in NAMES if other != name]
            made.founders[name].runs.remember([other.recollect(name, nonce) for other in others])
        yield made


@dataclass
class Desk:
    """The first two co-signers at work, with memories that begin here, and a clock by hand."""

    room: Room
    key: SharedKey
    cosigners: dict[str, Cosigner] = field(default_factory=dict)
    now: datetime = NOW
    lease: Lease | None = None

    @property
    def intent(self) -> Intent:
        """Return what is decided on."""
        return Intent.load(
            {
                "v": 1,
                "id": "ab" * 16,
                "proposer": "pm-1",
                "key": KEY,
                "chain_id": 1,
                "to": TO,
                "value": "1",
                "data": "",
                "gas_max": 21_000,
                "max_fee_per_gas": 100,
                "max_priority_fee_per_gas": 100,
                "deltas": [],
                "allowances": [],
                "purpose": "test",
                "expires_at": write_time(NOW + timedelta(hours=1)),
            }
        )

    def hear(self, *names: str, **changes: Any) -> Lease:
        """Have some hear a lease from now on."""
        lease = Lease.load(
            {
                "v": 1,
                "policy": "cd" * 32,
                "policy_version": 1,
                "revocation_epoch": 0,
                "pause_epoch": 0,
                "paused": [],
                "head": {"size": 0, "root": "0" * 64},
                "at": write_time(self.now),
                "ttl_s": TTL_S,
                **changes,
            }
        )
        for name in names:
            self.cosigners[name].heard.hear(lease)
        return lease

    def permission(self, cosigner: Cosigner, *, fee: int = 100, intent: str = INTENT) -> Permission:
        """Return what a gate allows."""
        transaction = UnsignedTransaction(
            chain_id=1,
            nonce=0,
            max_priority_fee_per_gas=fee,
            max_fee_per_gas=fee,
            gas=21_000,
            to=TO,
            value=1,
            data=b"",
        )
        known = cosigner.memory.snapshot()
        lane, at = (1, self.key.address, 0), write_time(self.now)
        record = nonces.admit(known, lane, transaction, intent=intent, usd_cents=5, at=at)
        head = replace(known.head, policy="cd" * 32, policy_version=max(1, known.head.policy_version))
        return Permission(
            intent=self.intent,
            lease=self.lease,
            head=head,
            record=record,
            transaction=transaction,
            key=self.key,
            public_key=bytes.fromhex(self.key.public_key),
            seen=cosigner.blocks.seen,
            learned=(),
        )

    def agree(self, name: str, *, fee: int = 100, intent: str = INTENT, life_s: int = 3600) -> None:
        """Have one decide, persist and agree."""
        cosigner = self.cosigners[name]
        permission = self.permission(cosigner, fee=fee, intent=intent)
        cosigner.memory.advance(permission.head)
        cosigner.memory.reserve(permission.record)
        assert cosigner.shared is not None
        cosigner.shared.agree(EVIDENCE, permission, expires=self.now + timedelta(seconds=life_s))

    def all(self, operation: str, requests: dict[str, Said]) -> dict[str, Said]:
        """Ask both."""
        return {
            name: self.cosigners[name].handle({"v": 1, "operation": operation, **requests[name]})
            for name in self.cosigners
        }

    def run(self, before: Callable[[int], object] = lambda _: None) -> list[dict[str, Said]]:
        """Carry a run as far as it goes; `before` is called before each step. Return what was said."""
        asked: dict[str, Said] = {name: {"intent": INTENT, "signers": [1, 2]} for name in self.cosigners}
        said = [self.all("open", asked)]
        openings = [each["opening"] for each in said[0].values()]
        said.append(self.all("begin", {name: {"openings": openings} for name in self.cosigners}))
        for step in range(1, 5):
            last = said[-1]
            if any("refused" in each for each in last.values()):
                break
            before(step)
            mail = {
                name: {
                    "key": KEY,
                    "run": said[1][name]["run"],
                    "envelopes": [one for other in last if other != name for one in last[other]["envelopes"]],
                }
                for name in last
            }
            said.append(self.all("take", mail))
        return said

    @property
    def gave(self) -> list[bool]:
        """Who has given its part of the last bytes, as its memory has it."""
        records = [each.memory.snapshot().of(INTENT) for each in self.cosigners.values()]
        return [record is not None and record.bytes[-1].is_out for record in records]


@pytest.fixture
def desk(room: Room, tmp_path: Path) -> Desk:
    """Return the first two co-signers at work."""
    index = room.founders[NAMES[0]].runs.shares.index(KEY)
    assert index is not None
    assert index.current is not None
    public_key = bytes.fromhex(index.current.public_key)
    key = SharedKey(
        id=KEY,
        address=address_of(public_key),
        public_key=public_key.hex(),
        tier="hot",
        engine="mpc",
        purpose="test",
        cosigners=list(NAMES),
        threshold=2,
    )
    made = Desk(room, key)
    for name in NAMES[:2]:
        folder = tmp_path / name
        folder.mkdir()
        memory.found(folder, genesis_hash=GENESIS)
        blocks.found(folder)
        orders.found(folder)
        heard = Heard(folder)
        made.cosigners[name] = Cosigner(
            identity=Identity(name=name, trust_root=None, ledger_trust_root=None),
            memory=Memory(folder, genesis_hash=GENESIS),
            blocks=Blocks(folder),
            heard=heard,
            whole=None,
            identity_key=room.identities[name],
            clock=lambda: made.now,
            crash=NEVER,
            witness=None,
            shared=SharedKeys(room.founders[name].runs, lambda: made.now),
            keywork=KeyWork(room.founders[name].runs, room.founders[name].epochs, heard, lambda: made.now),
            ordered=None,
            told=None,
            isolation=Own(folder, folder / "socket", frozenset()).isolation,
            _lock=threading.Lock(),
        )
    return made


def test_two_agree_and_sign(desk: Desk) -> None:
    """Nothing comes between: both answer the same transaction, and both gave before they knew it."""
    for name in NAMES[:2]:
        desk.agree(name)
    said = desk.run()
    assert len({each["answer"]["raw_tx"] for each in said[-1].values()}) == 1
    assert desk.gave == [True, True]


def newer_rules(desk: Desk) -> None:
    """Let the first see a newer policy set."""
    mine = desk.cosigners[NAMES[0]].memory
    mine.advance(replace(mine.snapshot().head, policy="ee" * 32, policy_version=2))


def refused_since(desk: Desk) -> None:
    """Let the first refuse the same intent."""
    answer = desk.cosigners[NAMES[0]].handle({"intent": INTENT, "v": 1})
    assert answer["answer"]["refused"] is not None


def later(seconds: int) -> Callable[[Desk], None]:
    """Return what moves the clock."""

    def moved(desk: Desk) -> None:
        desk.now += timedelta(seconds=seconds)

    return moved


def replaced(desk: Desk) -> None:
    """Let the first decide on other bytes of the same intent."""
    desk.agree(NAMES[0], fee=200)


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        pytest.param(newer_rules, Refusal.POLICY_OLD, id="a newer policy set is seen"),
        pytest.param(refused_since, Refusal.RUN, id="it is refused"),
        pytest.param(replaced, Refusal.RUN, id="other bytes are decided on"),
        pytest.param(later(31), Refusal.RUN, id="the intent expires"),
        pytest.param(later(-1), Refusal.RUN, id="the clock goes back"),
    ],
)
def test_no_part_is_given_after(desk: Desk, happens: Callable[[Desk], None], code: Refusal) -> None:
    """Before its part leaves: the first gives none, has not given, and the run comes to nothing there."""
    for name in NAMES[:2]:
        desk.agree(name, life_s=30)
    said = desk.run(lambda step: happens(desk) if step == 2 else None)
    assert said[-1][NAMES[0]]["refused"]["code"] == code.value
    assert "envelopes" not in said[-1][NAMES[0]]
    assert desk.gave[0] is False
    # nor does it put the others' parts together with its own
    request = {"key": KEY, "run": said[1][NAMES[0]]["run"], "envelopes": []}
    again = desk.cosigners[NAMES[0]].handle({"v": 1, "operation": "take", **request})
    assert again["refused"]["detail"] == "no run over treasury is open here"


@pytest.mark.parametrize(
    "happens", [later(31), newer_rules, refused_since], ids=["expired", "rules", "refused"]
)
def test_what_was_given_is_brought_to_its_end(desk: Desk, happens: Callable[[Desk], None]) -> None:
    """After the parts have left a signature may exist: better that all know it."""
    for name in NAMES[:2]:
        desk.agree(name, life_s=30)
    said = desk.run(lambda step: happens(desk) if step == 3 else None)
    assert len({each["answer"]["raw_tx"] for each in said[-1].values()}) == 1
    assert desk.gave == [True, True]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"threshold": 3}, id="another threshold"),
        pytest.param({"cosigners": [NAMES[1], NAMES[0], NAMES[2]]}, id="parties in another order"),
        pytest.param({"cosigners": [*NAMES, "cosigner-4"], "threshold": 3}, id="more parties"),
    ],
)
def test_a_share_of_another_arrangement(desk: Desk, changes: Said) -> None:
    """A policy set that describes the key otherwise than its shares were made is not agreed to."""
    desk.key = SharedKey.load(desk.key.dump() | changes)
    with pytest.raises(RefusedError, match="not one of treasury as the policy set has it"):
        desk.agree(NAMES[0])


def paused(scope: str, *names: str) -> Callable[[Desk], None]:
    """Return what lets some hear of a pause."""

    def happens(desk: Desk) -> None:
        desk.hear(*names, pause_epoch=1, paused=[{"scope": scope, "epoch": 1}])

    return happens


def newer_set_heard(desk: Desk) -> None:
    """Let the first hear of a newer policy set, which it has not seen."""
    desk.hear(NAMES[0], policy_version=2)


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        pytest.param(paused("all", NAMES[0]), Refusal.PAUSED, id="everything is paused"),
        pytest.param(paused(f"key:{KEY}", NAMES[0]), Refusal.PAUSED, id="its key is paused"),
        pytest.param(paused(f"contract:{TO}", NAMES[0]), Refusal.PAUSED, id="what it calls is paused"),
        pytest.param(newer_set_heard, Refusal.POLICY_OLD, id="a newer policy set is heard of"),
        pytest.param(later(TTL_S), Refusal.LEASE_STALE, id="the watcher is silent"),
    ],
)
def test_what_is_heard_keeps_a_part_back(desk: Desk, happens: Callable[[Desk], None], code: Refusal) -> None:
    """Between the decision and the part: past the courier, and at one of the signers, is enough."""
    desk.lease = desk.hear(*NAMES[:2])
    for name in NAMES[:2]:
        desk.agree(name, life_s=60)
    said = desk.run(lambda step: happens(desk) if step == 2 else None)
    assert said[-1][NAMES[0]]["refused"]["code"] == code.value
    assert "envelopes" not in said[-1][NAMES[0]]
    assert desk.gave[0] is False


def test_a_pause_of_something_else_keeps_nothing_back(desk: Desk) -> None:
    """Another contract is paused while a signature is made: it comes to be."""
    desk.lease = desk.hear(*NAMES[:2])
    for name in NAMES[:2]:
        desk.agree(name, life_s=60)
    other = paused(f"contract:{OTHER}", *NAMES[:2])
    said = desk.run(lambda step: other(desk) if step == 2 else None)
    assert len({each["answer"]["raw_tx"] for each in said[-1].values()}) == 1


@pytest.mark.parametrize(
    "ahead",
    [
        pytest.param({"pause_epoch": 3}, id="of a pause that does not concern this"),
        pytest.param({"revocation_epoch": 1}, id="of a revocation"),
    ],
)
def test_who_has_heard_less_is_found_out(desk: Desk, ahead: dict[str, int]) -> None:
    """One has heard of another epoch: there is no run, whatever the courier shows to the other."""
    desk.lease = desk.hear(*NAMES[:2])
    for name in NAMES[:2]:
        desk.agree(name, life_s=60)
    desk.hear(NAMES[1], **ahead)
    asked: dict[str, Said] = {name: {"intent": INTENT, "signers": [1, 2]} for name in NAMES[:2]}
    opened = desk.all("open", asked)
    openings = [each["opening"] for each in opened.values()]
    begun = desk.all("begin", {name: {"openings": openings} for name in NAMES[:2]})
    assert {each["refused"]["code"] for each in begun.values()} == {Refusal.RUN.value}
    assert desk.gave == [False, False]
