"""A backup on its way: what a lying courier, a wrong officer or another co-signer can do with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from workbench_tss import Share

from tests.custody.parties import generated, refreshed
from tests.custody.test_shares import FIRST, KEY, OTHER, PARTIES, SECOND, on_disk
from tests.custody.test_shares import refused as unchanged
from tests.hsm import token_here
from tests.rules.build import refused
from workbench.custody import backups, returning
from workbench.custody.backups import SignedBackup
from workbench.custody.errors import TokenError
from workbench.custody.returning import entry_of
from workbench.custody.sealing import SealingKey, SealingName, public_half
from workbench.custody.shares import Shares
from workbench.custody.token import Token
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes
from workbench.rules.recovery import TICKET_LINE, RecoveryOfficer, SignedTicket, Ticket

ORDER = "ab" * 32
IDENTITIES = {name: Ed25519PrivateKey.generate() for name in PARTIES}
PINNED = {name: key.public_key().public_bytes_raw().hex() for name, key in IDENTITIES.items()}


@dataclass
class Room:
    """An officer's pair in a token, and the shares of which it keeps one."""

    token: Token
    pairs: list[str]
    sealing: SealingKey
    first: dict[int, Share]
    second: dict[int, Share]

    def officer(self, number: int = 0) -> RecoveryOfficer:
        """Return an officer as the policy set has it."""
        name = self.pairs[number]
        key = {"mechanism": SealingName.parse(name).mechanism.value, "modulus": self.token.modulus(name)}
        same = {"name": f"recovery-{number}", "site": "vault", "administrator": "keeper", "team": "board"}
        return RecoveryOfficer.load({**same, "key": key, "keeps": {KEY: [PARTIES[0]]}})

    def opens(self, number: int = 0) -> SealingKey:
        """Return an officer's own half."""
        return self.token.sealing(self.pairs[number])

    def shares(self, folder: Path) -> Shares:
        """Return the first party's shares with the first epoch in use."""
        made = Shares(folder, sealing=self.sealing)
        made.keep(KEY, self.first[1], epoch=1, run=FIRST, parties=PARTIES)
        made.take_up(KEY, FIRST)
        return made

    def backup(self, folder: Path) -> SignedBackup:
        """Return a backup of the first party's share."""
        entry, share = self.shares(folder).share(KEY)
        return returning.make(
            share,
            entry,
            key=KEY,
            cosigner=PARTIES[0],
            order=ORDER,
            keepers=[self.officer()],
            sign=IDENTITIES[PARTIES[0]].sign,
        )


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """Open a token with two officers' pairs, and make a key of three."""
    with token_here(tmp_path_factory.mktemp("hsm"), "backups") as token:
        pairs = [token.generate_recovery("recovery/1"), token.generate_recovery("recovery/2")]
        first = generated()
        yield Room(token, pairs, token.generate_sealing("seal/1"), first, refreshed(first))


@pytest.fixture(scope="module")
def kept(room: Room, tmp_path_factory: pytest.TempPathFactory) -> SignedBackup:
    """Return a backup that nobody has touched."""
    return room.backup(tmp_path_factory.mktemp("kept") / "shares")


def ticket(
    kept: SignedBackup, private: X25519PrivateKey, *, by: str = PARTIES[0], **changes: Any
) -> SignedTicket:
    """Return a ticket, signed by a co-signer."""
    given = {
        "v": 1,
        "cosigner": PARTIES[0],
        "backup": kept.digest,
        "order": ORDER,
        "key": private.public_key().public_bytes_raw().hex(),
        **changes,
    }
    signed = IDENTITIES[by].sign(signed_bytes(TICKET_LINE, Ticket.load(given).canonical()))
    return SignedTicket.load({"ticket": given, "signature": signed.hex()})


def test_out_and_back(room: Room, kept: SignedBackup) -> None:
    """Sealed outside the officer's token, opened by it, encrypted to a ticket: the same share comes back."""
    private = X25519PrivateKey.generate()
    given = ticket(kept, private)
    secret = backups.hand_over(kept, given, officer="recovery-0", key=room.opens(), cosigners=PINNED)
    share = returning.take_back(kept, given.ticket, secret, private=private)
    assert (share.party, share.public_key) == (1, room.first[1].public_key)
    assert share.points == room.first[1].points


def altered(kept: SignedBackup, **changes: Any) -> SignedBackup:
    """Return a backup with fields changed by whoever carries it."""
    whole = kept.dump()
    return SignedBackup.load({**whole, "backup": {**whole["backup"], **changes}})


def resigned(kept: SignedBackup, by: str, **changes: Any) -> SignedBackup:
    """Return a backup that another co-signer has signed as its own."""
    backup = altered(kept, **changes).backup
    signature = IDENTITIES[by].sign(signed_bytes(backups.BACKUP_LINE, backup.canonical()))
    return SignedBackup(backup=backup, signature=signature.hex())


HAND_OVER: list[tuple[str, Callable[[SignedBackup], Any], Refusal]] = [
    ("an altered backup", lambda k: (altered(k, epoch=2), None), Refusal.SIGNATURE),
    ("one of a stranger", lambda k: (altered(k, cosigner="mallory"), None), Refusal.TRUST_ROOT),
    (
        "one that another took for its own",
        lambda k: (resigned(k, PARTIES[1], cosigner=PARTIES[1]), None),
        Refusal.SHARE,
    ),
    ("a ticket of another co-signer", lambda k: (k, {"by": PARTIES[1]}), Refusal.SIGNATURE),
    ("a ticket to another", lambda k: (k, {"by": PARTIES[1], "cosigner": PARTIES[1]}), Refusal.SHARE),
    ("a ticket for another backup", lambda k: (k, {"backup": "cd" * 32}), Refusal.SHARE),
]


@pytest.mark.parametrize(
    ("lie", "code"), [each[1:] for each in HAND_OVER], ids=[each[0] for each in HAND_OVER]
)
def test_what_an_officer_does_not_open(
    room: Room, kept: SignedBackup, lie: Callable[[SignedBackup], Any], code: Refusal
) -> None:
    """Its command refuses before its token is asked."""
    shown, changes = lie(kept)
    given = ticket(shown, X25519PrivateKey.generate(), **(changes or {}))
    with refused(code):
        backups.hand_over(shown, given, officer="recovery-0", key=room.opens(), cosigners=PINNED)


def test_another_officers_token(room: Room, kept: SignedBackup) -> None:
    """Who keeps other shares has no envelope; who takes another's name has no half that opens it."""
    given = ticket(kept, X25519PrivateKey.generate())
    with refused(Refusal.SHARE):
        backups.hand_over(kept, given, officer="recovery-1", key=room.opens(1), cosigners=PINNED)
    with refused(Refusal.SEALED):
        backups.hand_over(kept, given, officer="recovery-0", key=room.opens(1), cosigners=PINNED)


BACK: list[tuple[str, Callable[[Ticket, bytes, X25519PrivateKey], Any]]] = [
    ("another ticket", lambda t, s, p: (t.model_copy(update={"order": None}), s, p)),
    ("another key", lambda t, s, _: (t, s, X25519PrivateKey.generate())),
    ("an altered secret", lambda t, s, p: (t, bytes([s[0] ^ 1]) + s[1:], p)),
    ("a short secret", lambda t, s, p: (t, s[:16], p)),
    ("nothing", lambda t, _, p: (t, b"", p)),
]


@pytest.mark.parametrize("lie", [each[1] for each in BACK], ids=[each[0] for each in BACK])
def test_what_does_not_come_back(
    room: Room, kept: SignedBackup, lie: Callable[[Ticket, bytes, X25519PrivateKey], Any]
) -> None:
    """What was encrypted for another ticket, or to another key, opens nothing."""
    private = X25519PrivateKey.generate()
    given = ticket(kept, private)
    secret = backups.hand_over(kept, given, officer="recovery-0", key=room.opens(), cosigners=PINNED)
    shown, brought, own = lie(given.ticket, secret, private)
    with refused(Refusal.SHARE):
        returning.take_back(kept, shown, brought, private=own)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"epoch": 2}, id="another epoch"),
        pytest.param({"run": OTHER}, id="another run"),
        pytest.param({"order": "cd" * 32}, id="another order"),
        pytest.param({"points": []}, id="no points"),
    ],
)
def test_a_co_signer_that_lies_of_its_own(room: Room, kept: SignedBackup, changes: dict[str, Any]) -> None:
    """Even under its own signature a backup opens only as what was sealed."""
    lied, private = resigned(kept, PARTIES[0], **changes), X25519PrivateKey.generate()
    given = ticket(lied, private)

    def back() -> None:
        secret = backups.hand_over(lied, given, officer="recovery-0", key=room.opens(), cosigners=PINNED)
        returning.take_back(lied, given.ticket, secret, private=private)

    with pytest.raises(RefusedError):
        back()


def test_the_public_half_seals_as_the_token_does(room: Room) -> None:
    """An envelope of the public half opens in the token, for what it was sealed for; the half opens none."""
    officer = room.officer()
    half = public_half(officer.key.mechanism, officer.key.modulus)
    assert str(half.name) == room.pairs[0]
    assert room.opens().open(half.seal(b"a secret", b"for this"), b"for this") == b"a secret"
    sealed = room.opens().seal(b"a secret", b"for this")
    with pytest.raises(TokenError) as caught:
        half.open(sealed, b"for this")
    assert caught.value.code is Refusal.SEALED


def test_restored_where_nothing_is(room: Room, kept: SignedBackup, tmp_path: Path) -> None:
    """In use at once, and from the next start on; brought again, nothing changes."""
    folder = tmp_path / "shares"
    shares = Shares(folder, sealing=room.sealing)
    shares.restore(KEY, room.first[1], entry_of(kept.backup))
    before = on_disk(folder)
    shares.restore(KEY, room.first[1], entry_of(kept.backup))
    assert on_disk(folder) == before
    entry, share = Shares(folder, sealing=room.sealing).share(KEY)
    assert (entry.run, entry.parties, share.points) == (FIRST, list(PARTIES), room.first[1].points)


def test_restored_where_the_file_is_broken(room: Room, kept: SignedBackup, tmp_path: Path) -> None:
    """What the index names and what does not open any more is replaced."""
    folder = tmp_path / "shares"
    room.shares(folder)
    (folder / KEY / f"{FIRST}.share").write_bytes(b"{}")
    shares = Shares(folder, sealing=room.sealing)
    with refused(Refusal.SHARE):
        shares.share(KEY)
    shares.restore(KEY, room.first[1], entry_of(kept.backup))
    assert shares.share(KEY)[0].run == FIRST


def test_a_disk_that_is_full_at_the_index(room: Room, kept: SignedBackup, tmp_path: Path) -> None:
    """The share's file was written and the index not: nothing is in use, the next start clears it away."""
    folder, entry = tmp_path / "shares", entry_of(kept.backup)
    shares = Shares(folder, sealing=room.sealing)
    (folder / KEY / "index.json").mkdir(parents=True)
    with pytest.raises(OSError, match=r"index\.json"):
        shares.restore(KEY, room.first[1], entry)
    assert (folder / KEY / f"{FIRST}.share").exists()
    with refused(Refusal.SHARE):
        shares.share(KEY)
    (folder / KEY / "index.json").rmdir()
    assert Shares(folder, sealing=room.sealing).index(KEY) is None
    assert on_disk(folder) == {}
    assert Shares(folder, sealing=room.sealing).restore(KEY, room.first[1], entry).run == FIRST


def test_a_disk_that_is_full_at_the_end(room: Room, tmp_path: Path) -> None:
    """A key that could not be ended is in use still; one that is ended stays so, whatever files came back."""
    folder = tmp_path / "shares"
    shares = room.shares(folder)
    index = (folder / KEY / "index.json").read_bytes()
    share = (folder / KEY / f"{FIRST}.share").read_bytes()
    (folder / KEY / "index.json").unlink()
    (folder / KEY / "index.json").mkdir()
    with pytest.raises(OSError, match=r"index\.json"):
        shares.end(KEY, epoch=1)
    assert shares.share(KEY)[0].run == FIRST
    (folder / KEY / "index.json").rmdir()
    (folder / KEY / "index.json").write_bytes(index)
    assert len(Shares(folder, sealing=room.sealing).end(KEY, epoch=1)) == 1
    (folder / KEY / f"{FIRST}.share").write_bytes(share)
    after = Shares(folder, sealing=room.sealing)
    with refused(Refusal.SHARE):
        after.share(KEY)
    assert not (folder / KEY / f"{FIRST}.share").exists()


def test_what_is_not_restored(room: Room, kept: SignedBackup, tmp_path: Path) -> None:
    """Another party's, an epoch that is over, a run that was never to be, another share of this epoch."""
    folder, entry = tmp_path / "shares", entry_of(kept.backup)
    shares = room.shares(folder)
    unchanged(lambda: shares.restore(KEY, room.first[2], entry), "party 2 of", folder)
    other = entry.model_copy(update={"run": OTHER})
    unchanged(lambda: shares.restore(KEY, room.first[1], other), "another share", folder)
    shares.keep(KEY, room.second[1], epoch=2, run=SECOND, parties=PARTIES)
    shares.take_up(KEY, SECOND)
    unchanged(lambda: shares.restore(KEY, room.first[1], entry), "is over here", folder)
    fresh = tmp_path / "fresh"
    promised = Shares(fresh, sealing=room.sealing)
    promised.never(KEY, 1, FIRST)
    unchanged(lambda: promised.restore(KEY, room.first[1], entry), "promised never", fresh)
