"""A co-signer's backups and tickets: what strangers, couriers and crafted policy sets get of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.custody.parties import generated, refreshed
from tests.custody.test_backups import IDENTITIES, KEY, PARTIES, PINNED, Room
from tests.custody.test_shares import FIRST, OTHER, on_disk
from tests.hsm import token_here
from tests.rules.build import NOW, refused
from workbench.cosigner.deeds import Deed, Deeds
from workbench.cosigner.memory import Head, MemoryCorruptError
from workbench.cosigner.operations import Allowed
from workbench.cosigner.recovering import TICKET_SECONDS, Recovering
from workbench.custody import backups
from workbench.custody.backups import SignedBackup
from workbench.custody.shares import Shares
from workbench.evm.transaction import address_of
from workbench.rules import keys
from workbench.rules.codes import Refusal
from workbench.rules.documents import write_time
from workbench.rules.key_operation import KeyOperation
from workbench.rules.keys import Key
from workbench.rules.recovery import SignedTicket

NAME = PARTIES[0]
HEAD = Head(size=0, hashes=(), chain=bytes(32), policy="cd" * 32, policy_version=1, time_floor="", records=0)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """Open a token with an officer's pair, and make a key of three."""
    with token_here(tmp_path_factory.mktemp("hsm"), "recovering") as token:
        pair, first = token.generate_recovery("recovery/1"), generated()
        yield Room(token, [pair], token.generate_sealing("seal/1"), first, refreshed(first))


@dataclass
class Desk:
    """One co-signer, its officer, and a clock by hand."""

    room: Room
    folder: Path
    now: list[datetime] = field(default_factory=lambda: [NOW])

    def __post_init__(self) -> None:
        self.shares = self.room.shares(self.folder)
        self.cosigner = self.started(self.shares)
        self.kept = self.cosigner.back_up(self.allowed("backup"))

    def started(self, shares: Shares) -> Recovering:
        """Return the co-signer as a start makes it, over these shares."""
        return Recovering(NAME, IDENTITIES[NAME].sign, shares, PINNED, lambda: self.now[0])

    def listed(self, **changes: Any) -> Key:
        """Return the key as a policy set lists it."""
        point = self.room.first[1].public_key
        key = {
            "id": KEY,
            "address": address_of(point),
            "public_key": point.hex(),
            "tier": "hot",
            "engine": "mpc",
            "purpose": "test",
            "cosigners": list(PARTIES),
            "threshold": 2,
        }
        return keys.load({name: each for name, each in (key | changes).items() if each is not None})

    def allowed(self, what: str, **changes: Any) -> Allowed:
        """Return an operation that was allowed, under a set that lists the key like this."""
        given = None
        if what == "restore":
            given = {"cosigner": NAME, "backup": self.kept.digest, "run": self.kept.backup.run}
        operation = {
            "v": 1,
            "operation": what,
            "key": KEY,
            "epoch": 1,
            "parameters": given,
            "policy": "cd" * 32,
            "reason": "test",
            "nonce": "ab" * 16,
            "expires_at": write_time(NOW + timedelta(hours=1)),
        }
        return Allowed(
            operation=KeyOperation.load(operation),
            lease=None,
            head=HEAD,
            made_by=None,
            keepers=(self.room.officer(),),
            listed=changes.pop("listed", None) or self.listed(**changes),
        )

    def hand_over(self, ticket: SignedTicket) -> bytes:
        """Return what the officer encrypts to a ticket."""
        return backups.hand_over(
            self.kept, ticket, officer="recovery-0", key=self.room.opens(), cosigners=PINNED
        )


@pytest.fixture
def desk(room: Room, tmp_path: Path) -> Desk:
    """Return a co-signer that has given a backup."""
    return Desk(room, tmp_path / "shares")


def test_strangers_ask_without_end(desk: Desk) -> None:
    """Ten thousand tickets, for this backup and for others, take none away, and leave nothing behind."""
    ticket = desk.cosigner.ticket(desk.kept.digest, order=None)
    for number in range(5_000):
        desk.cosigner.ticket(f"{number:064x}", order=None)
        assert desk.cosigner.ticket(desk.kept.digest, order=None) == ticket
    (window,) = desk.cosigner._windows
    assert not window.used
    assert desk.cosigner.try_(desk.kept, desk.hand_over(ticket))[1] == ticket.ticket.key


def test_junk_uses_no_ticket_up(desk: Desk) -> None:
    """What opens nothing is refused, and what the officer brings after it is taken."""
    secret = desk.hand_over(desk.cosigner.ticket(desk.kept.digest, order=None))
    for junk in (b"", b"\0" * 80, secret[:-1], secret[::-1]):
        with refused(Refusal.SHARE):
            desk.cosigner.try_(desk.kept, junk)
    desk.cosigner.try_(desk.kept, secret)


def test_used_once(desk: Desk) -> None:
    """The same again opens nothing; the next ticket is another one."""
    first = desk.cosigner.ticket(desk.kept.digest, order=None)
    secret = desk.hand_over(first)
    desk.cosigner.try_(desk.kept, secret)
    with refused(Refusal.SHARE):
        desk.cosigner.try_(desk.kept, secret)
    second = desk.cosigner.ticket(desk.kept.digest, order=None)
    assert second.ticket.key != first.ticket.key
    desk.cosigner.try_(desk.kept, desk.hand_over(second))


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [
        pytest.param(TICKET_SECONDS, True, id="as long as it is promised"),
        pytest.param(2 * TICKET_SECONDS - 1, True, id="a moment before its secret is forgotten"),
        pytest.param(2 * TICKET_SECONDS, False, id="forgotten"),
        pytest.param(-1, False, id="a clock that goes back"),
    ],
)
def test_a_ticket_ends(desk: Desk, seconds: int, *, counts: bool) -> None:
    """What was recorded opens nothing after the secret of its ticket is gone."""
    secret = desk.hand_over(desk.cosigner.ticket(desk.kept.digest, order=None))
    desk.now[0] += timedelta(seconds=seconds)
    desk.cosigner.ticket("ab" * 32, order=None)
    assert len(desk.cosigner._windows) <= 2
    if counts:
        desk.cosigner.try_(desk.kept, secret)
        return
    with refused(Refusal.SHARE):
        desk.cosigner.try_(desk.kept, secret)


def test_another_start_knows_no_ticket(desk: Desk) -> None:
    """Its secrets are in the memory of one process."""
    secret = desk.hand_over(desk.cosigner.ticket(desk.kept.digest, order=None))
    with refused(Refusal.SHARE):
        desk.started(desk.shares).try_(desk.kept, secret)


def test_a_trial_is_no_restoration(desk: Desk) -> None:
    """What was given for one opens nothing as the other, and nothing changes."""
    order = desk.allowed("restore")
    tried = desk.hand_over(desk.cosigner.ticket(desk.kept.digest, order=None))
    brought = desk.hand_over(desk.cosigner.ticket(desk.kept.digest, order=order.operation.digest))
    before = on_disk(desk.folder)
    with refused(Refusal.SHARE):
        desk.cosigner.restore(desk.kept, tried, order)
    with refused(Refusal.SHARE):
        desk.cosigner.try_(desk.kept, brought)
    assert on_disk(desk.folder) == before


LISTED: list[tuple[str, dict[str, Any]]] = [
    ("more that sign together than do", {"threshold": 3}),
    ("a co-signer fewer", {"cosigners": list(PARTIES[:2])}),
    ("another in place of one", {"cosigners": [*PARTIES[:2], "four"]}),
    ("in another order", {"cosigners": list(PARTIES[::-1])}),
    ("another key", {"public_key": "04" + "ab" * 64}),
    ("a whole key", {"engine": "hsm", "cosigners": [NAME], "threshold": None}),
]


@pytest.mark.parametrize("changes", [each[1] for each in LISTED], ids=[each[0] for each in LISTED])
def test_a_set_that_lists_what_there_is_not(desk: Desk, changes: dict[str, Any], tmp_path: Path) -> None:
    """Its officers may keep more than is safe of the real key: it has no backup, and none comes back."""
    with refused(Refusal.SHARE):
        desk.cosigner.back_up(desk.allowed("backup", **changes))
    fresh = tmp_path / "fresh"
    cosigner = desk.started(Shares(fresh, sealing=desk.room.sealing))
    order = desk.allowed("restore", **changes)
    secret = desk.hand_over(cosigner.ticket(desk.kept.digest, order=order.operation.digest))
    with refused(Refusal.SHARE):
        cosigner.restore(desk.kept, secret, order)
    assert on_disk(fresh) == {}
    # so nothing else was in the way
    order = desk.allowed("restore")
    secret = desk.hand_over(cosigner.ticket(desk.kept.digest, order=order.operation.digest))
    assert cosigner.restore(desk.kept, secret, order)[0].run == FIRST


def test_a_name_that_is_not_listed(desk: Desk) -> None:
    """Nothing of it is given away."""
    order = desk.allowed("backup")
    object.__setattr__(order, "listed", None)
    with refused(Refusal.SHARE):
        desk.cosigner.back_up(order)


def test_what_was_before_the_end_stays_away(desk: Desk, tmp_path: Path) -> None:
    """A key has ended in a later epoch than that of a backup: the backup does not bring it back."""
    folder = tmp_path / "later"
    shares = Shares(folder, sealing=desk.room.sealing)
    shares.keep(KEY, desk.room.second[1], epoch=2, run=OTHER, parties=PARTIES)
    shares.take_up(KEY, OTHER)
    shares.end(KEY, epoch=2)
    cosigner, order = desk.started(shares), desk.allowed("restore")
    before = on_disk(folder)
    secret = desk.hand_over(cosigner.ticket(desk.kept.digest, order=order.operation.digest))
    with refused(Refusal.SHARE) as caught:
        cosigner.restore(desk.kept, secret, order)
    assert "is over here" in caught.detail
    assert on_disk(folder) == before


def test_a_share_that_owns_something_does_not_end(desk: Desk) -> None:
    """A set that lists the key under another name keeps its shares from being destroyed under this one."""
    owning = frozenset({desk.listed().public_key})
    before = on_disk(desk.folder)
    with refused(Refusal.STATE):
        desk.shares.verify_ends(KEY, owning=owning)
    assert on_disk(desk.folder) == before
    desk.shares.verify_ends(KEY, owning=frozenset({"04" + "ab" * 64}))


def test_a_ticket_that_nobody_encrypts_to(desk: Desk) -> None:
    """A co-signer that gives a key of low order is refused by the officer's command."""
    ticket = desk.cosigner.ticket(desk.kept.digest, order=None).ticket
    low = ticket.model_copy(update={"key": "00" * 32})
    signature = IDENTITIES[NAME].sign(b"oms-ticket/v1\n" + low.canonical()).hex()
    with refused(Refusal.SHARE):
        desk.hand_over(SignedTicket(ticket=low, signature=signature))


def test_a_deed_under_another_name(tmp_path: Path) -> None:
    """Files that somebody exchanged: nothing is said by them."""
    deeds = Deeds(tmp_path)
    kept = deeds.keep(Deed(v=1, order="ab" * 32, key=KEY, made="04" + "ab" * 64, ends=[]))
    assert deeds.of("ab" * 32) == kept
    (tmp_path / "deeds" / f"{'ab' * 32}.json").rename(tmp_path / "deeds" / f"{'cd' * 32}.json")
    with pytest.raises(MemoryCorruptError):
        deeds.of("cd" * 32)


def test_a_backup_is_a_document(desk: Desk) -> None:
    """So nothing else is in the way of the refusals above."""
    assert SignedBackup.load(desk.kept.dump()) == desk.kept
