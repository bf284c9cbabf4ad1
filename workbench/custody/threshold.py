"""One party's side of a run over a threshold key: messages in and out, until there is a share or a signature.

(1) The opening is signed before anything else; the run begins when all openings agree (`rules.threshold`).
(2) A message to one party is encrypted for it alone: X25519 between the keys of the two openings, HKDF-SHA256
    over the run's name and who speaks to whom in which round, ChaCha20-Poly1305 bound to the envelope. The
    keys are fresh in each run and gone with it: who records what the courier carried and later steals an
    identity key reads nothing.
(3) After a round in which something was told to all, each says what it was told; nobody goes on before all
    agree.
(4) A courier's mistake (missing, late, twice, altered) is refused and changes nothing. What a party itself
    got wrong ends the run; what the engine calls a cheat in the oblivious transfer is `Banned`, with the
    signed envelope that proves who sent it.

No file, no socket, no clock: the process persists what must be, and ends a run that takes too long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from workbench_tss import AbortError, BanError, Run, Share

from workbench.rules import threshold
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes
from workbench.rules.threshold import (
    ENVELOPE_LINE,
    OPENING_LINE,
    Envelope,
    Opening,
    SignedEnvelope,
    SignedOpening,
    Terms,
)

NONCE = bytes(12)
"""Each key encrypts one message."""

Sign = Callable[[bytes], bytes]
Random = Callable[[int], bytes]
Engine = Callable[[bytes], Run]


class BannedError(RefusedError):
    """A party cheated in the transfer: never again with it; `evidence` are its envelopes of the round."""

    def __init__(self, party: int, reason: str, evidence: Sequence[SignedEnvelope]) -> None:
        super().__init__(Refusal.BANNED, f"party {party}: {reason}")
        self.party = party
        self.evidence = tuple(evidence)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a party sends next; `done` is what it has when there is nothing left to send.

    `gives`: among the envelopes is this party's part of a signature; with all parts anybody has it.
    """

    envelopes: tuple[SignedEnvelope, ...]
    done: Share | bytes | None = None
    gives: bool = False


class Party:
    """One party in one run."""

    def __init__(
        self,
        terms: Terms,
        *,
        party: int,
        counter: int,
        seen: Mapping[str, int],
        keys: Mapping[str, str],
        sign: Sign,
        random: Random,
        engine: Engine,
    ) -> None:
        self._secret = X25519PrivateKey.from_private_bytes(random(32))
        self._terms, self._me, self._keys, self._sign, self._engine = terms, party, keys, sign, engine
        self._opening = Opening(
            v=1,
            terms=terms,
            party=party,
            counter=counter,
            seen=dict(seen),
            randomness=random(32).hex(),
            exchange=self._secret.public_key().public_bytes_raw().hex(),
        )
        self._openings: dict[int, Opening] = {}
        self._run: Run | None = None
        self._round, self._kind = 0, "opening"
        self._own: Envelope | None = None
        self._received: _Received | None = None
        self._private = False
        self._transcript = hashlib.sha256()
        self.name = ""
        """The run's name, from when all have opened."""
        self.gave = False
        """Whether my part of a signature is, or was to be, among what I said."""

    @property
    def opening(self) -> SignedOpening:
        """My opening, signed."""
        signature = self._sign(signed_bytes(OPENING_LINE, self._opening.canonical()))
        return SignedOpening(opening=self._opening, signature=signature.hex())

    @property
    def stage(self) -> str:
        """Which messages it waits for: the round, and their kind."""
        return f"{self._round}-{self._kind}"

    @property
    def transcript(self) -> str:
        """SHA-256 over the run's name and everything that was told to all: the same at every party."""
        return self._transcript.hexdigest()

    def begin(
        self, openings: Sequence[SignedOpening], *, counters: Mapping[str, int]
    ) -> dict[str, SignedOpening]:
        """(1) Take all openings; return those of the others, to remember before the first message is given.

        Raises:
            RefusedError: one is missing, altered, of another run, or speaks of a memory that was set back.

        """
        if self._kind != "opening":
            raise RefusedError(Refusal.REPLAYED, "this run has begun")
        found = threshold.verify_openings(openings, mine=self._opening, keys=self._keys, counters=counters)
        self._openings, self.name = found, threshold.run_of(found)
        self._transcript.update(bytes.fromhex(self.name))
        self._run = self._engine(bytes.fromhex(self.name))
        self._kind = "begun"
        return {
            self._terms.parties[each.opening.party - 1]: each
            for each in openings
            if each.opening.party != self._me
        }

    def first(self) -> Answered:
        """Give the first round's messages, once."""
        if self._kind != "begun":
            raise RefusedError(Refusal.REPLAYED, "the first messages are given once, when all have opened")
        return self._step({}, {}, ())

    def take(self, envelopes: Sequence[SignedEnvelope]) -> Answered:
        """Take all messages of a round, or all echoes of it; give the next.

        Raises:
            RefusedError: the courier's fault, which changes nothing, or a party's, which ends the run.
            BannedError: never run with this party again.

        """
        if self._kind not in {"message", "echo"}:
            raise RefusedError(Refusal.REPLAYED, f"this run takes no messages: {self._kind}")
        read = threshold.verify_envelopes(
            envelopes,
            run=self.name,
            terms=self._terms,
            me=self._me,
            number=self._round,
            kind=self._kind,
            keys=self._keys,
        )
        if self._kind == "echo":
            return self._compare(self._all(read, to=None))
        return self._receive(read, envelopes)

    def _receive(self, read: Sequence[Envelope], signed: Sequence[SignedEnvelope]) -> Answered:
        broadcasts = self._all(read, to=None) if self._own else {}
        private = self._all(read, to=self._me) if self._private else {}
        if len(read) != len(broadcasts) + len(private):
            raise RefusedError(Refusal.RUN, "a message that this round does not have")
        opened = {sender: self._decrypt(each) for sender, each in private.items()}
        plain = {sender: bytes.fromhex(each.body) for sender, each in broadcasts.items()}
        if self._own is None:
            return self._step({}, opened, signed)
        heard = threshold.told({**plain, self._me: bytes.fromhex(self._own.body)})
        self._transcript.update(heard)
        self._received = _Received(plain, opened, tuple(signed), heard)
        self._kind = "echo"
        return Answered((self._envelope(heard, to=None),))

    def _compare(self, echoes: Mapping[int, Envelope]) -> Answered:
        """(3) Go on if everybody was told what I was."""
        received = self._received
        if received is None:
            raise RefusedError(Refusal.RUN, "nothing was told yet")
        said = {sender: bytes.fromhex(each.body) for sender, each in echoes.items()}
        try:
            threshold.verify_told(received.heard, said, self._terms)
        except RefusedError:
            self._end()
            raise
        return self._step(received.broadcasts, received.private, received.signed)

    def _step(
        self, broadcasts: Mapping[int, bytes], private: Mapping[int, bytes], signed: Sequence[SignedEnvelope]
    ) -> Answered:
        if self._run is None:
            raise RefusedError(Refusal.REPLAYED, "this run has ended")
        try:
            step = self._run.step(broadcasts, private)
        except BanError as error:
            self._end()
            reason, party = error.args
            raise BannedError(
                party, reason, [each for each in signed if each.envelope.sender == party]
            ) from error
        except (AbortError, ValueError) as error:
            self._end()
            raise RefusedError(Refusal.ENGINE, str(error.args[0])) from error
        if step.done is not None:
            self._end()
            return Answered((), step.done)
        self._round, self._kind, self._received = self._round + 1, "message", None
        out = [self._envelope(self._encrypt(body, to), to=to) for to, body in sorted(step.private.items())]
        self._private, self._own = bool(out), None
        if step.broadcast is not None:
            told = self._envelope(step.broadcast, to=None)
            self._own = told.envelope
            out.append(told)
        # the parts are the only thing that is told to all when a key signs
        gives = self._terms.protocol == "sign" and step.broadcast is not None
        self.gave = self.gave or gives
        return Answered(tuple(out), gives=gives)

    def _end(self) -> None:
        self._run, self._received, self._kind = None, None, "ended"

    def _all(self, read: Sequence[Envelope], *, to: int | None) -> dict[int, Envelope]:
        """Return the envelopes to me, or to all, from everybody else who takes part."""
        found = {each.sender: each for each in read if each.to == to}
        missing = [
            name
            for number, name in self._terms.taking_part.items()
            if number != self._me and number not in found
        ]
        if missing:
            raise RefusedError(Refusal.RUN, f"no {self._kind} of {', '.join(missing)} in round {self._round}")
        return found

    def _envelope(self, body: bytes, *, to: int | None) -> SignedEnvelope:
        envelope = Envelope(
            v=1,
            run=self.name,
            round=self._round,
            kind="echo" if self._kind == "echo" else "message",
            sender=self._me,
            to=to,
            body=body.hex(),
        )
        signature = self._sign(signed_bytes(ENVELOPE_LINE, envelope.canonical()))
        return SignedEnvelope(envelope=envelope, signature=signature.hex())

    def _encrypt(self, body: bytes, to: int) -> bytes:
        return self._cipher(self._me, to, to).encrypt(NONCE, body, None)

    def _decrypt(self, envelope: Envelope) -> bytes:
        try:
            cipher = self._cipher(envelope.sender, self._me, envelope.sender)
            return cipher.decrypt(NONCE, bytes.fromhex(envelope.body), None)
        except InvalidTag as error:
            # signed by its sender: nobody on the way has altered it
            self._end()
            raise RefusedError(
                Refusal.ENGINE, f"party {envelope.sender} encrypted something that does not open"
            ) from error

    def _cipher(self, sender: int, receiver: int, other: int) -> ChaCha20Poly1305:
        """(2) The cipher of the one message that `sender` has for `receiver` in this round."""
        theirs = X25519PublicKey.from_public_bytes(bytes.fromhex(self._openings[other].exchange))
        spoken = f"oms-private/v1 {self._round} {sender} {receiver}".encode()
        try:
            shared = self._secret.exchange(theirs)
        except ValueError as error:  # a point of small order: no secret is shared
            self._end()
            raise RefusedError(Refusal.ENGINE, f"party {other} gave no key to encrypt to") from error
        derived = HKDF(SHA256(), 32, salt=bytes.fromhex(self.name), info=spoken).derive(shared)
        return ChaCha20Poly1305(derived)


@dataclass(frozen=True, slots=True)
class _Received:
    """A round's messages, until everybody has said what it was told."""

    broadcasts: dict[int, bytes]
    private: dict[int, bytes]
    signed: tuple[SignedEnvelope, ...]
    heard: bytes


def engine(terms: Terms, *, party: int, share: Share | None) -> Engine:
    """Return what begins the engine's side of a run, once it has a name."""
    digest: Any = terms.digest

    def begun(name: bytes) -> Run:
        if terms.protocol == "dkg":
            return Run.dkg(party, terms.threshold, len(terms.parties), name)
        if share is None:
            raise RefusedError(Refusal.SHARE, f"no share of {terms.key} in epoch {terms.epoch}")
        if terms.protocol == "refresh":
            return Run.refresh(share, name)
        return Run.sign(share, terms.signers, name, bytes.fromhex(digest))

    return begun
