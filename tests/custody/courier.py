"""Co-signers that share a key, without their processes: real keys, real runs, and a courier between."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from workbench_tss import Share

from workbench.custody.threshold import Answered, Party, engine
from workbench.rules.documents import signed_bytes
from workbench.rules.threshold import (
    ENVELOPE_LINE,
    Basis,
    Envelope,
    SignedEnvelope,
    SignedOpening,
    Terms,
)

DIGEST = bytes(range(32)).hex()
BASIS = Basis(
    size=7,
    root="ab" * 32,
    policy="cd" * 32,
    policy_version=3,
    revocation_epoch=2,
    pause_epoch=1,
)
Mail = dict[int, list[SignedEnvelope]]
"""Envelopes by receiver."""
Meddler = Callable[[int, str, Mail], None]


@dataclass
class Cosigners:
    """The parties of one key: identity keys, shares, and what each remembers of the others' openings."""

    threshold: int = 2
    names: tuple[str, ...] = ("cosigner-1", "cosigner-2", "cosigner-3")
    shares: dict[int, Share] = field(default_factory=dict)
    identities: dict[int, Ed25519PrivateKey] = field(default_factory=dict)
    counters: dict[int, dict[str, int]] = field(default_factory=dict)
    opened: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number in range(1, len(self.names) + 1):
            self.identities[number] = Ed25519PrivateKey.generate()
            self.counters[number], self.opened[number] = {}, 0

    @property
    def keys(self) -> dict[str, str]:
        """The identity keys in hex, by name."""
        return {
            self.names[number - 1]: key.public_key().public_bytes_raw().hex()
            for number, key in self.identities.items()
        }

    def terms(self, protocol: str, signers: Sequence[int] | None = None, **changes: object) -> Terms:
        """Return what the parties are asked to agree on."""
        everybody = list(range(1, len(self.names) + 1))
        value = {
            "v": 1,
            "protocol": protocol,
            "key": "treasury",
            "epoch": 1,
            "share": None if protocol == "dkg" else "99" * 32,
            "subject": "ef" * 32,
            "digest": DIGEST if protocol == "sign" else None,
            "parties": list(self.names),
            "threshold": self.threshold,
            "signers": list(signers)
            if signers
            else everybody[: self.threshold]
            if protocol == "sign"
            else everybody,
            "basis": BASIS,
        }
        return Terms.model_validate(value | changes)

    def party(self, number: int, terms: Terms, *, counter: int | None = None) -> Party:
        """Return one party at the beginning of a run."""
        self.opened[number] += 1
        return Party(
            terms,
            party=number,
            counter=self.opened[number] if counter is None else counter,
            seen=self.counters[number],
            keys=self.keys,
            sign=self.identities[number].sign,
            random=secrets.token_bytes,
            engine=engine(terms, party=number, share=self.shares.get(number)),
        )

    def parties(self, terms: Terms) -> dict[int, Party]:
        """Return all parties of a run."""
        return {number: self.party(number, terms) for number in terms.signers}

    def begin(self, parties: Mapping[int, Party], openings: Sequence[SignedOpening] | None = None) -> None:
        """Give all openings to all."""
        given = [party.opening for party in parties.values()] if openings is None else openings
        for number, party in parties.items():
            begun = party.begin(given, counters=self.counters[number])
            self.counters[number] |= {name: each.opening.counter for name, each in begun.items()}

    def generate(self) -> None:
        """Make the key."""
        done = run(self, self.parties(self.terms("dkg")))
        self.shares = {number: share for number, share in done.items() if isinstance(share, Share)}

    def signed_by(self, number: int, envelope: Envelope) -> SignedEnvelope:
        """Return an envelope as this party signs it."""
        signature = self.identities[number].sign(signed_bytes(ENVELOPE_LINE, envelope.canonical()))
        return SignedEnvelope(envelope=envelope, signature=signature.hex())


def nobody(_: int, __: str, ___: Mail) -> None:
    """Carry everything as it is."""


def run(
    cosigners: Cosigners, parties: Mapping[int, Party], meddle: Meddler = nobody
) -> dict[int, Share | bytes]:
    """Carry a run from its openings to its end; `meddle` gets what is on its way, with round and kind."""
    cosigners.begin(parties)
    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(parties, pool.map(Party.first, parties.values()), strict=True))
        while True:
            done = {number: each.done for number, each in answers.items() if each.done is not None}
            if done:
                assert len(done) == len(parties)
                return done
            mail = delivered(answers)
            some = next(each for each in answers.values() if each.envelopes).envelopes[0].envelope
            meddle(some.round, some.kind, mail)
            takes = pool.map(lambda number, mail=mail: parties[number].take(mail[number]), parties)
            answers = dict(zip(parties, takes, strict=True))


def delivered(answers: Mapping[int, Answered]) -> Mail:
    """Sort what all parties gave by receiver."""
    mail: Mail = {number: [] for number in answers}
    for number, inbox in mail.items():
        for sender, answer in answers.items():
            inbox += [
                each for each in answer.envelopes if sender != number and each.envelope.to in {None, number}
            ]
    return mail
