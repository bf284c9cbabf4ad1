"""Who keeps backups of shares, and that too many of them are not in one hand.

A recovery officer has a key pair of its own, whose private half never leaves its token; the policy set names
the public half and says of which co-signers' shares the officer keeps backups (`recovery.json`). A courier
that carries a backup cannot open it, and cannot have one made for anybody else. A set is believed when
(1) each officer keeps shares of co-signers that the key really has, each once;
(2) no officer, and no site, administrator or team, could come by as many of a key's shares as sign together:
    where it keeps backups, where its co-signers stand, and both counted together;
(3) what an officer was ever to keep counts for ever under that key's name: a backup of an older epoch opens
    as long as it exists, and nobody can prove that it does not.
Left out: what a hand kept of an older epoch, and another of a newer one, do not sign together; they are
counted as if they did. Who must get rid of a hand that counts makes another key.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.concentration import EVERYWHERE, Place
from workbench.rules.documents import Digest, Document, Hex, Name, Whole, verify_ed25519
from workbench.rules.threshold import PARTIES_MAX, Point, Signature

FILE = "recovery.json"
OFFICERS_MAX = 64
KEEPERS_MAX = 8
"""Who keeps one share: its backup has an envelope for each."""
OFFICER = "officer"
TICKET_LINE = "oms-ticket/v1"
TESTIMONY_LINE = "oms-testimony/v1"
RSA_BITS_MIN, RSA_BITS_MAX = 3072, 8192
MARKS_MAX = 12
"""What all co-signers of a key say lies in one entry of the ledger together."""


Did = Literal["generated", "backed-up", "restored", "tried", "destroyed"]


class OfficerKey(Document):
    """The public half of a recovery officer's pair, and the mechanism by which its token opens."""

    mechanism: Literal["rsa-oaep-sha256", "rsa-oaep-sha1"]
    modulus: Annotated[Hex, Field(min_length=RSA_BITS_MIN // 4, max_length=RSA_BITS_MAX // 4)]


class RecoveryOfficer(Document):
    """Who keeps backups: of which co-signers' shares, by key, and in whose hands it is itself."""

    name: Name
    key: OfficerKey
    site: Name
    administrator: Name
    team: Name
    keeps: Annotated[
        dict[Name, Annotated[list[Name], Field(min_length=1, max_length=PARTIES_MAX)]],
        Field(max_length=OFFICERS_MAX),
    ]


class Ticket(Document):
    """A one-time key of a co-signer, to which an officer encrypts what opens one backup.

    `order` names the operation under which the share is kept; without one it is tried, and put away.
    `key` is an X25519 public key; its private half is in the memory of the co-signer's process only.
    """

    v: Literal[1]
    cosigner: Name
    backup: Digest
    order: Digest | None
    key: Digest


class SignedTicket(Document):
    """A ticket, and its co-signer's Ed25519 signature."""

    ticket: Ticket
    signature: Signature


class Mark(Document):
    """A share by what makes it this one."""

    epoch: Annotated[Whole, Field(ge=1)]
    run: Digest
    public_key: Point


class Testimony(Document):
    """What a co-signer says that it did with a key: `order` is None for a trial, which none asks for.

    generated: the key `public_key` in its token, of which the token claims `attributes`. backed-up, restored,
    tried: the one share in `shares`, as the backup whose digest is `backup`; these two name the key of the
    `ticket` by which it came, so that nobody passes off what was said of an earlier one. destroyed: `shares`
    and the whole keys `whole`, the last MARKS_MAX that there ever were of this key here, also where it was
    gone before.
    """

    v: Literal[1]
    cosigner: Name
    did: Did
    order: Digest | None
    key: Name
    backup: Digest | None
    shares: Annotated[list[Mark], Field(max_length=MARKS_MAX)]
    whole: Annotated[list[Point], Field(max_length=MARKS_MAX)]
    attributes: Annotated[dict[str, bool | None], Field(max_length=32)] | None
    ticket: Digest | None


class SignedTestimony(Document):
    """A testimony, and its co-signer's Ed25519 signature."""

    testimony: Testimony
    signature: Signature


def verify_testimony(signed: SignedTestimony, *, cosigners: Mapping[str, str]) -> Testimony:
    """Return what a co-signer says that it did, if it is the one that the trust root pins by this name."""
    testimony = signed.testimony
    known = cosigners.get(testimony.cosigner)
    if known is None:
        raise RefusedError(Refusal.TRUST_ROOT, f"no co-signer {testimony.cosigner}")
    what = f"testimony of {testimony.cosigner}"
    verify_ed25519(known, signed.signature, TESTIMONY_LINE, testimony.canonical(), what=what)
    return testimony


def verify_back(signed: SignedTestimony, ticket: Ticket, *, cosigners: Mapping[str, str]) -> Testimony:
    """Return what came of what an officer handed over for this ticket, and not for an earlier one."""
    testimony = verify_testimony(signed, cosigners=cosigners)
    said = (testimony.cosigner, testimony.backup, testimony.order, testimony.ticket, testimony.did)
    did = "tried" if ticket.order is None else "restored"
    if said != (ticket.cosigner, ticket.backup, ticket.order, ticket.key, did):
        raise RefusedError(Refusal.EQUIVOCATION, f"{testimony.cosigner} testifies to something else")
    return testimony


def keepers(officers: Iterable[RecoveryOfficer], key: str, cosigner: str) -> list[RecoveryOfficer]:
    """Return who keeps backups of this co-signer's share of a key."""
    return [officer for officer in officers if cosigner in officer.keeps.get(key, ())]


def verify_kept(officers: Sequence[RecoveryOfficer], key: str, cosigners: Sequence[str]) -> None:
    """Refuse a key some of whose shares nobody keeps: half a backup restores nothing."""
    bare = [name for name in cosigners if not keepers(officers, key, name)]
    if bare:
        raise RefusedError(
            Refusal.STATE, f"nobody keeps backups of {key} of {', '.join(bare)}", path=f"/files/{FILE}"
        )


def verify_known(officers: Sequence[RecoveryOfficer], shared: Mapping[str, Sequence[str]]) -> None:
    """(1) Refuse an officer who is to keep what there is not.

    Args:
        officers: of one policy set.
        shared: the co-signers of each shared key of the set.

    """
    moduli = tuple(int(officer.key.modulus, 16) for officer in officers)
    # one who has a factor has the key: alike, a multiple, or of one prime
    if _with_a_factor_in_common(moduli):
        raise _refused("two officers have one key")
    for officer, modulus in zip(officers, moduli, strict=True):
        if modulus.bit_length() < RSA_BITS_MIN:
            raise _refused(f"the key of {officer.name} has fewer than {RSA_BITS_MIN} bits")
        # another spelling would be another key to who counts what a key has kept (3)
        if officer.key.modulus.startswith("00") or modulus % 2 == 0:
            raise _refused(f"the modulus of {officer.name} is even, or begins with nothing")
        for key, kept in officer.keeps.items():
            strange = sorted(set(kept) - set(shared.get(key, ())))
            if strange or len(set(kept)) != len(kept):
                raise _refused(f"{officer.name} is to keep {key} of {', '.join(strange or kept)}")
    for key, cosigners in shared.items():
        crowded = [name for name in cosigners if len(keepers(officers, key, name)) > KEEPERS_MAX]
        if crowded:
            raise _refused(f"more than {KEEPERS_MAX} are to keep {key} of {', '.join(crowded)}")


def verify_apart(
    key: str,
    cosigners: Sequence[str],
    threshold: int,
    *,
    places: Mapping[str, Place],
    ever: Iterable[RecoveryOfficer],
) -> None:
    """(2) (3) Refuse a key of which one hand could come by as many shares as sign together.

    Args:
        key: its name.
        cosigners: who shares it.
        threshold: how many of them sign together.
        places: where the co-signers stand, by name.
        ever: the officers as each set up to this one had them.

    """
    held: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name in cosigners:
        if name in places:
            for hand in EVERYWHERE:
                held[hand, str(getattr(places[name], hand))].add(name)
    for officer in ever:
        kept = set(officer.keeps.get(key, ())) & set(cosigners)
        held[OFFICER, officer.name] |= kept
        held["key of officer", officer.key.modulus] |= kept
        for hand in EVERYWHERE:
            held[hand, str(getattr(officer, hand))] |= kept
    for (hand, who), shares in sorted(held.items()):
        if len(shares) >= threshold:
            told = f"{hand} {who[:64]} has or keeps {len(shares)} of {key}, and {threshold} sign together"
            raise RefusedError(Refusal.CONCENTRATED, told, path=f"/files/{FILE}")


@lru_cache(maxsize=64)
def _with_a_factor_in_common(moduli: tuple[int, ...]) -> bool:
    return any(math.gcd(one, other) != 1 for one, other in itertools.combinations(moduli, 2))


def _refused(detail: str) -> RefusedError:
    return RefusedError(Refusal.POLICY_INVALID, detail, path=f"/files/{FILE}")
