"""Parties of a threshold key in one process: a courier that carries what they say, honestly or not."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from workbench_tss import Run, Share, Step

THRESHOLD, PARTIES = 2, 3
SIGNERS = (1, 2)
DIGEST = bytes(range(32))
Mail = dict[int, dict[int, bytes]]
"""Messages by receiver, then by sender."""
Meddler = Callable[[int, "Round"], None]


def session() -> bytes:
    """Return a session that was never used."""
    return secrets.token_bytes(32)


@dataclass
class Round:
    """What is on its way to everybody: broadcasts and private messages by receiver, then by sender."""

    broadcasts: Mail = field(default_factory=dict)
    private: Mail = field(default_factory=dict)


def honest(_: int, __: Round) -> None:
    """Carry everything as it is."""


def drive(runs: Mapping[int, Run], meddle: Meddler = honest) -> dict[int, Share | bytes]:
    """Run all parties to their end; `meddle` gets each round before it is delivered, from 1."""
    mail, number = Round({party: {} for party in runs}, {party: {} for party in runs}), 0

    def step(party: int) -> Step:
        return runs[party].step(mail.broadcasts[party], mail.private[party])

    with ThreadPoolExecutor(2) as pool:
        while True:
            steps = dict(zip(runs, pool.map(step, runs), strict=True))
            done = {party: each.done for party, each in steps.items() if each.done is not None}
            if done:
                assert len(done) == len(runs)
                return done
            number, mail = number + 1, delivered(steps)
            meddle(number, mail)


def delivered(steps: Mapping[int, Step]) -> Round:
    """Sort what all parties sent by receiver."""
    mail = Round({party: {} for party in steps}, {party: {} for party in steps})
    for sender, each in steps.items():
        for receiver in steps:
            if receiver != sender and each.broadcast is not None:
                mail.broadcasts[receiver][sender] = each.broadcast
        for receiver, message in each.private.items():
            mail.private[receiver][sender] = message
    return mail


def generated(
    threshold: int = THRESHOLD, parties: int = PARTIES, meddle: Meddler = honest
) -> dict[int, Share]:
    """Generate a key; return its shares by party."""
    name = session()
    numbers = range(1, parties + 1)
    done = drive({party: Run.dkg(party, threshold, parties, name) for party in numbers}, meddle)
    return {party: share for party, share in done.items() if isinstance(share, Share)}


def refreshed(shares: Mapping[int, Share], meddle: Meddler = honest) -> dict[int, Share]:
    """Begin a new epoch of a key; return its shares."""
    name = session()
    done = drive({party: Run.refresh(share, name) for party, share in shares.items()}, meddle)
    return {party: share for party, share in done.items() if isinstance(share, Share)}


def signed(
    shares: Mapping[int, Share],
    signers: Sequence[int] = SIGNERS,
    *,
    digest: bytes = DIGEST,
    meddle: Meddler = honest,
) -> bytes:
    """Sign with these parties; return what all of them hold to be the signature."""
    name = session()
    runs = {party: Run.sign(shares[party], signers, name, digest) for party in signers}
    (signature,) = {each for each in drive(runs, meddle).values() if isinstance(each, bytes)}
    return signature
