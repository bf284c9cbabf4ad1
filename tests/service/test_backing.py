"""Orders, trials and backups at the service: what strangers, officers and co-signers can do to its ledger."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.rules.build import World, build, observer_key, public, refused
from tests.rules.test_concentration import set_with
from tests.service.test_changes import Office, keep
from workbench.custody import backups
from workbench.custody.backups import Backup, SignedBackup
from workbench.custody.sealing import public_half
from workbench.custody.token import Ed25519Key
from workbench.demo import charter
from workbench.process.frames import FrameServer
from workbench.rules import recovery
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.key_operation import KeyOperation, SignedOperation
from workbench.rules.policy import Signature
from workbench.rules.recovery import MARKS_MAX, TESTIMONY_LINE, SignedTestimony
from workbench.rules.threshold import PARTIES_MAX
from workbench.service.backing import TRIED_EVERY, Backing, WayBack
from workbench.service.keeping import RESTORED, TOLD_MAX, Keeping
from workbench.service.links import Links
from workbench.service.observers import Observers

NAMES = list(charter.COSIGNERS)
NAME, RUN = NAMES[0], "ab" * 32
POINT = "04" + "ab" * 64
MODULUS = format((1 << 3071) + 1, "x")
OFFICERS = (("cro-1", "console"), ("risk-1", "approval"))
Json = dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a desk whose key five share."""
    made = build(tmp_path_factory.mktemp("officers"))
    files = dict(set_with(made).files)
    policy = made.sign_set(files)
    pinned = {name: public(name) for name in NAMES}
    root = made.root(genesis_policy=policy.digest, cosigners=pinned)
    return replace(made, files=files, policy=policy, trust_root=root)


@dataclass
class House:
    """A service's works on keys over a real ledger."""

    office: Office
    keeping: Keeping

    def order(self, what: str, **changes: Any) -> SignedOperation:
        """Return an order that a quorum has signed."""
        operation = KeyOperation.load(
            {
                "v": 1,
                "operation": what,
                "key": "old",
                "epoch": 1,
                "parameters": None,
                "policy": self.office.world.policy.digest,
                "reason": "test",
                "nonce": "ab" * 16,
                "expires_at": write_time(self.office.hall.now + timedelta(minutes=5)),
                **changes,
            }
        )
        signatures = [
            Signature(
                person=person,
                assertion=self.office.world.sign_as(
                    person, operation.challenge, path=path, counter=next(self.office.numbers)
                ),
            )
            for person, path in OFFICERS
        ]
        return SignedOperation(operation=operation, signatures=signatures)

    def restoring(self, **changes: Any) -> SignedOperation:
        """Return an order that brings a backup back."""
        given = {"cosigner": NAME, "backup": "cd" * 32, "run": RUN}
        return self.order("restore", key=charter.KEY_ID, parameters=given, **changes)

    def kinds(self) -> list[str]:
        """Return the types of all entries."""
        return [entry.type for entry in self.office.hall.recorder.entries()]


@pytest.fixture
def house(world: World, tmp_path: Path) -> Iterator[House]:
    """Return a service on its first day."""
    keep(tmp_path / "policies", world.policy)
    office = Office(world, tmp_path)
    lane = office.desk.lane
    lane.recorder = replace(lane.recorder, key=Ed25519Key(bytes.fromhex(public("service")), _service))
    yield House(office, Keeping(lane, Backing(lane, tmp_path / "backups")))
    office.hall.recorder.close()


def _service(message: bytes) -> bytes:
    return observer_key("service").sign(message)


def kept(**changes: Any) -> SignedBackup:
    """Return a backup as its co-signer signs it."""
    fields: Json = {
        "cosigner": NAME,
        "order": "ef" * 32,
        "key": charter.KEY_ID,
        "party": 1,
        "epoch": 1,
        "run": RUN,
        "public_key": POINT,
        **changes,
    }
    tied = backups.bound(**fields)
    envelope = public_half("rsa-oaep-sha256", MODULUS).seal(bytes(32), tied).dump()
    made = {**fields, "v": 1, "points": [POINT], "parties": NAMES, "keys": {"recovery-1": envelope}}
    backup = Backup.load({**made, "share": "ab"})
    signature = observer_key(NAME).sign(signed_bytes(backups.BACKUP_LINE, backup.canonical()))
    return SignedBackup(backup=backup, signature=signature.hex())


def said(signed: SignedBackup, did: str, order: str | None, **changes: Any) -> Json:
    """Return what its co-signer says that it did."""
    mark = {"epoch": signed.backup.epoch, "run": signed.backup.run, "public_key": POINT}
    made = {
        "v": 1,
        "cosigner": NAME,
        "did": did,
        "order": order,
        "key": signed.backup.key,
        "backup": signed.digest,
        "shares": [mark],
        "whole": [],
        "attributes": None,
        "ticket": None,
        **changes,
    }
    testimony = recovery.Testimony.load(made)
    signature = observer_key(NAME).sign(signed_bytes(TESTIMONY_LINE, testimony.canonical()))
    return SignedTestimony(testimony=testimony, signature=signature.hex()).dump()


@contextmanager
def cosigner(house: House, folder: Path, answers: list[Json]) -> Iterator[None]:
    """Let a co-signer answer on its socket: each of these once, the last one for ever."""
    socket = folder / "c.sock"

    def handle(_: Json) -> Json:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    server = FrameServer(socket, handle, uids={os.geteuid()})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    house.office.desk.lane.links = Links(Observers({}, house.office.world.trust_root), {NAME: socket})
    try:
        yield
    finally:
        server.close()


def way(signed: SignedBackup) -> WayBack:
    """Return what somebody brings of a backup."""
    return WayBack.load({"order": None, "backup": signed.dump(), "secret": "ab" * 80})


def test_two_orders_at_once(house: House) -> None:
    """Eight orders over one key come in one moment: one is recorded, the others are refused."""
    orders = [house.order("destroy", nonce=f"{number:032x}") for number in range(8)]
    together = threading.Barrier(len(orders))

    def post(order: SignedOperation) -> str:
        together.wait()
        try:
            return house.keeping.order(order).state
        except RefusedError as refusal:
            return refusal.code.value

    with ThreadPoolExecutor(len(orders)) as pool:
        states = sorted(pool.map(post, orders))
    assert states == ["not_in_this_state"] * 7 + ["ordered"]
    assert house.kinds().count("key.ordered") == 1


def test_one_order_eight_times(house: House) -> None:
    """It is one entry, whoever was first."""
    order, together = house.order("destroy"), threading.Barrier(8)

    def post(_: int) -> str:
        together.wait()
        return house.keeping.order(order).state

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(post, range(8))) == {"ordered"}
    assert house.kinds().count("key.ordered") == 1
    assert len(house.keeping.works) == 1


def test_a_liar_has_no_end_of_reasons(house: House) -> None:
    """A co-signer that refuses in other words each time fills no ledger."""
    before = len(house.kinds())
    for number in range(4 * TOLD_MAX):
        house.keeping._tell(RUN, RefusedError(Refusal.UNAVAILABLE, f"no: {number}"))
    assert len(house.kinds()) == before + TOLD_MAX


def test_what_came_back_while_its_order_ran_out(house: House) -> None:
    """A co-signer has restored a share, and says so: the ledger has it, also after a restart."""
    order = house.restoring()
    digest = house.keeping.order(order).digest
    house.office.hall.now += timedelta(minutes=6)
    house.keeping.step()
    work = house.keeping.works[digest]
    assert work.state == "lapsed"
    with refused(Refusal.STATE):
        house.keeping._finish(work, "key.ended", "failed", {"reason": "no"})
    house.keeping._finish(work, RESTORED, "restored", {"testimonies": {}})
    assert work.state == "restored"
    with refused(Refusal.STATE):
        house.keeping._finish(work, RESTORED, "restored", {"testimonies": {}})
    lane = house.office.desk.lane
    lane.books.key_entries = [e for e in lane.recorder.entries() if e.type.startswith("key.")]
    assert Keeping(lane, house.keeping.backing).view(digest).state == "restored"


def test_a_disk_that_is_full_keeps_no_other_back(house: House, tmp_path: Path) -> None:
    """One order cannot be carried for want of a file: the next one goes on."""
    first = house.keeping.order(house.order("destroy")).digest
    second = house.keeping.order(
        house.restoring(expires_at=write_time(house.office.hall.now + timedelta(seconds=1)))
    )
    house.office.hall.now += timedelta(seconds=2)
    (tmp_path / "checkpoints").write_bytes(b"")
    house.office.desk.lane.links = Links(Observers({}, house.office.world.trust_root), {})
    house.keeping.step()
    assert house.keeping.view(first).state == "ordered"
    assert house.keeping.view(second.digest).state == "lapsed"
    assert "request.refused" in house.kinds()


def test_trials_of_nothing(house: House, tmp_path: Path) -> None:
    """What a stranger makes up, or brings without what opens it, leaves no entry of its own."""
    before = house.kinds()
    good = kept()
    forged = good.model_copy(update={"signature": "00" * 64})
    no = {"v": 1, "refused": {"step": 0, "code": "share_unusable", "detail": "this does not open it"}}
    with cosigner(house, tmp_path, [no]):
        for _ in range(50):
            with refused(Refusal.SIGNATURE):
                house.keeping.back(forged.digest, way(forged))
            with refused(Refusal.UNAVAILABLE):
                house.keeping.back(good.digest, way(good))
    assert house.kinds() == before


def test_every_trial_is_an_entry(house: House, tmp_path: Path) -> None:
    """Each with its own ticket, one in a minute; what a co-signer says twice is one."""
    signed = kept()
    answers = [
        {"v": 1, "testimony": said(signed, "tried", None, ticket=ticket * 32)}
        for ticket in ("01", "02", "02")
    ]
    with cosigner(house, tmp_path, answers):
        house.keeping.back(signed.digest, way(signed))
        for _ in range(20):
            house.keeping.back(signed.digest, way(signed))
        assert house.kinds().count("key.tried") == 1
        for count in (2, 2):
            house.office.hall.now += TRIED_EVERY
            house.keeping.back(signed.digest, way(signed))
            assert house.kinds().count("key.tried") == count


MARK = {"epoch": 1, "run": RUN, "public_key": POINT}
GIVEN: list[tuple[str, Json, Json, int]] = [
    ("of another epoch than it says", {"epoch": 2}, {"shares": [MARK]}, 2),
    ("of another epoch than was ordered", {}, {}, 2),
    ("of another run than it says", {}, {"shares": [{**MARK, "run": "cd" * 32}]}, 1),
    ("of nothing", {}, {"shares": []}, 1),
    ("with a whole key", {}, {"whole": [POINT]}, 1),
    ("of another key", {"key": "other"}, {"key": charter.KEY_ID}, 1),
    ("for another order", {"order": "cd" * 32}, {}, 1),
    ("under another digest", {}, {"backup": "cd" * 32}, 1),
    ("of another co-signer", {}, {"cosigner": NAMES[1]}, 1),
]


@pytest.mark.parametrize(
    ("made", "told", "epoch"), [each[1:] for each in GIVEN], ids=[each[0] for each in GIVEN]
)
def test_a_backup_that_is_not_kept(house: House, made: Json, told: Json, epoch: int, tmp_path: Path) -> None:
    """A co-signer gives another backup than it says that it made: no file is left."""
    signed = kept(**made)
    testimony = SignedTestimony.load(said(signed, "backed-up", "ef" * 32, **told)).testimony
    with refused(Refusal.SHARE):
        house.keeping.backing.keep(signed.dump(), testimony=testimony, epoch=epoch)
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_backup_that_is_kept(house: House, tmp_path: Path) -> None:
    """So nothing else is in the way of the lies above."""
    signed = kept()
    testimony = SignedTestimony.load(said(signed, "backed-up", "ef" * 32)).testimony
    house.keeping.backing.keep(signed.dump(), testimony=testimony, epoch=1)
    assert [each.name for each in (tmp_path / "backups").iterdir()] == [f"{signed.digest}.json"]


def test_everybodys_last_word_fits_an_entry(house: House) -> None:
    """As many as can share a key, each with as many shares as it may name: the end of a key is recorded."""
    digest = house.keeping.order(house.order("destroy")).digest
    word = said(kept(), "destroyed", digest, shares=[MARK] * MARKS_MAX, whole=[POINT], backup=None)
    data = {"key": "old", "testimonies": {f"cosigner-{number}": word for number in range(PARTIES_MAX)}}
    house.keeping._finish(house.keeping.works[digest], "key.destroyed", "destroyed", data)
    assert house.keeping.view(digest).state == "destroyed"
    with refused(Refusal.MALFORMED):
        recovery.Testimony.load(word["testimony"] | {"shares": [MARK] * (MARKS_MAX + 1)})
