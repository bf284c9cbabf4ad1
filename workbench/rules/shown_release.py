"""What an officer reads before he signs a release: what is paused, what is free again, who has signed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from workbench.rules.assertion import CONSOLE
from workbench.rules.documents import read_time
from workbench.rules.pause import CONTRACT, EVERYTHING, KEY, AskedRelease
from workbench.rules.rows import Row, Section, known_as
from workbench.rules.words import words


def title(asked: AskedRelease) -> str:
    """Return the whole matter in one line."""
    count = len(asked.signed.release.scopes)
    return (
        f"Release {count} paused {'scope' if count == 1 else 'scopes'}: what is signed there can move again"
    )


def sections(asked: AskedRelease, *, now: datetime) -> list[Section]:
    """Return everything that is to be read, in the order in which it matters."""
    return [
        Section("What is asked", list(_asked(asked, now))),
        Section("What can be signed again", list(_scopes(asked))),
        Section("Who has signed", list(_signers(asked))),
        Section("What your key signs", list(_signed(asked))),
    ]


def _asked(asked: AskedRelease, now: datetime) -> Iterator[Row]:
    release, person = asked.signed.release, asked.person
    minutes = (read_time(release.expires_at) - now).total_seconds() / 60
    yield Row(label="You are", says=f"{person.name} ({person.id})", remark=", ".join(person.roles))
    yield Row(label="Reason", says=release.reason)
    yield Row(
        label="Counts for",
        says=f"every pause up to epoch {release.pause_epoch}",
        remark="what is ordered later stays paused",
    )
    yield Row(label="Until", says=release.expires_at, remark=f"{minutes:.0f} minutes from now")


def _scopes(asked: AskedRelease) -> Iterator[Row]:
    for scope in asked.signed.release.scopes:
        if scope == EVERYTHING:
            yield Row(label="Everything", says="all keys and all contracts", alarm=True)
        elif scope.startswith(KEY):
            name = scope.removeprefix(KEY)
            known = asked.policy.keys.get(name)
            says = known.purpose if known else "no key of the policy set"
            yield Row(label=f"Key {name}", says=says, hex=known.address if known else "", alarm=not known)
        else:
            address = scope.removeprefix(CONTRACT)
            says = known_as(asked.policy, address)
            yield Row(label="Contract", says=says or "nobody of the policy set", hex=address, alarm=not says)


def _signers(asked: AskedRelease) -> Iterator[Row]:
    needed = asked.policy.limits.policy_quorum
    yield Row(label="So far", says=f"{len(asked.signers)} of {needed} officers")
    for person, path in asked.signers.items():
        yield Row(label=person, says="by the second path" if path == CONSOLE else "on a page")


def _signed(asked: AskedRelease) -> Iterator[Row]:
    digest = asked.signed.release.challenge.hex()
    yield Row(label="Words to read aloud", says=words(digest))
    yield Row(label="Digest", hex=digest)
    yield Row(label="Policy set", says=f"version {asked.policy.manifest.version}", hex=asked.policy.digest)
