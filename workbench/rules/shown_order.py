"""What an officer reads before he signs an order: what it does, to what, and who has signed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from workbench.rules.assertion import CONSOLE
from workbench.rules.documents import read_time
from workbench.rules.key_operation import Arrangement, KeyOperation, Restoration, Succession
from workbench.rules.order_request import AskedOrder
from workbench.rules.pause import CONTRACT, EVERYTHING, KEY, Release
from workbench.rules.policy import PolicySet
from workbench.rules.rows import Row, Section, known_as
from workbench.rules.words import words

TITLES = {
    "dkg": "Make the key",
    "refresh": "Renew the shares of",
    "backup": "Back up the shares of",
    "restore": "Bring back a share of",
    "rotate": "Make the successor of",
    "destroy": "Destroy the key",
}
DOES = {
    "dkg": "make a key that is nowhere whole",
    "refresh": "renew every share of a key: the same address, and older shares are worth nothing",
    "backup": "give every share, sealed, to the recovery officers of the policy set",
    "restore": "bring a share back from its backup to the co-signer that made it",
    "rotate": "make a whole key that is to take another's place; nothing is listed or moved by this",
    "destroy": "destroy a key for good: what it owns then is lost",
}


def title(asked: AskedOrder) -> str:
    """Return the whole matter in one line."""
    order = asked.order
    if isinstance(order, KeyOperation):
        return f"{TITLES[order.operation]} {order.key}, epoch {order.epoch}"
    count = len(order.scopes)
    return f"Release {count} paused {'scope' if count == 1 else 'scopes'}: it can be signed for again"


def sections(asked: AskedOrder, *, now: datetime) -> list[Section]:
    """Return everything that is to be read, in the order in which it matters."""
    order = asked.order
    if isinstance(order, KeyOperation):
        told = Section("What is done to the key", list(_key(order, asked.policy)))
    else:
        told = Section("What can be signed again", list(_scopes(order, asked.policy)))
    return [
        Section("What is asked", list(_asked(asked, now))),
        told,
        Section("Who has signed", list(_signers(asked))),
        Section("What your key signs", list(_signed(asked))),
    ]


def _asked(asked: AskedOrder, now: datetime) -> Iterator[Row]:
    order, person = asked.order, asked.person
    minutes = (read_time(order.expires_at) - now).total_seconds() / 60
    yield Row(label="You are", says=f"{person.name} ({person.id})", remark=", ".join(person.roles))
    yield Row(label="Reason", says=order.reason)
    yield Row(label="Until", says=order.expires_at, remark=f"{minutes:.0f} minutes from now")


def _key(order: KeyOperation, policy: PolicySet) -> Iterator[Row]:
    listed = policy.keys.get(order.key)
    yield Row(label="It would", says=DOES[order.operation], alarm=order.operation == "destroy")
    if listed is not None:
        yield Row(label="Key", says=f"{listed.id}, {listed.purpose}", hex=listed.address)
    else:
        yield Row(label="Key", says=order.key, remark="the policy set lists no such key")
    yield Row(label="Epoch", says=str(order.epoch))
    made = order.parameters
    if isinstance(made, Arrangement):
        parties, threshold = made.parties, made.threshold
    else:
        parties, threshold = (listed.cosigners, listed.signers) if listed else ([], 0)
    if parties:
        alone = "alone" if threshold == 1 else f"{threshold} of them sign together"
        yield Row(label="Co-signers", says=", ".join(parties), remark=alone)
    if isinstance(made, Restoration):
        yield Row(label="Share of", says=made.cosigner, remark="the co-signer that made the backup")
        yield Row(label="Backup", hex=made.backup)
        yield Row(label="Run", says="the run that made this share", hex=made.run)
    if isinstance(made, Succession):
        yield Row(label="Successor", says=made.successor)
    if order.operation == "backup":
        for officer in policy.recovery.values():
            kept = officer.keeps.get(order.key, [])
            if kept:
                where = f"{officer.site}, {officer.administrator}"
                yield Row(label=f"To {officer.name}", says=f"of {', '.join(kept)}", remark=where)


def _scopes(order: Release, policy: PolicySet) -> Iterator[Row]:
    yield Row(
        label="Counts for",
        says=f"every pause up to epoch {order.pause_epoch}",
        remark="what is ordered later stays paused",
    )
    for scope in order.scopes:
        if scope == EVERYTHING:
            yield Row(label="Everything", says="all keys and all contracts", alarm=True)
        elif scope.startswith(KEY):
            name = scope.removeprefix(KEY)
            known = policy.keys.get(name)
            says = known.purpose if known else "no key of the policy set"
            yield Row(label=f"Key {name}", says=says, hex=known.address if known else "", alarm=not known)
        else:
            address = scope.removeprefix(CONTRACT)
            says = known_as(policy, address)
            yield Row(label="Contract", says=says or "nobody of the policy set", hex=address, alarm=not says)


def _signers(asked: AskedOrder) -> Iterator[Row]:
    needed = asked.policy.limits.policy_quorum
    yield Row(label="So far", says=f"{len(asked.signers)} of {needed} officers")
    for person, path in asked.signers.items():
        yield Row(label=person, says="by the second path" if path == CONSOLE else "on a page")


def _signed(asked: AskedOrder) -> Iterator[Row]:
    digest = asked.order.challenge.hex()
    yield Row(label="Words to read aloud", says=words(digest))
    yield Row(label="Digest", hex=digest)
    yield Row(label="Policy set", says=f"version {asked.policy.manifest.version}", hex=asked.policy.digest)
