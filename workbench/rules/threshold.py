"""What parties of a threshold key sign to each other, and what a run is.

(1) A run begins with an opening of each party that takes part: the terms (what is done, with which key, for
    which decision, under which ledger head and policy set), fresh randomness, a key to encrypt to, and how
    much this party remembers. It is signed with the identity key that the trust root pins.
(2) A run's name is the hash of all its openings. It cannot come again: each opening has fresh randomness and
    a counter that never goes back.
(3) All terms are the same, or there is no run: a courier that told one party of another head, policy set or
    transaction is found out here, before anybody has used its share.
(4) Who knows of a later opening of a party than that party itself knows of speaks to a restored old state.
    A restored state speaks to nobody: after each start a party asks the others, with a nonce, which opening
    of its own they remember last; as many must answer as leave no set of signers unasked, each with the
    opening itself, which nobody but the party can have signed.
(5) An envelope is one message of one round, signed; to one party alone (encrypted), or to all.
(6) What was told to all is compared: each party says what it was told by everybody before anyone goes on.
(7) A new epoch is taken up when every party has signed that it is ready, and the one before it is destroyed
    when every party has signed that it holds the new one: at no time can a lost message, a crash or a lie
    about who is ready leave fewer than the threshold with shares that sign together.

Pure: documents, signatures, comparisons. The engine and its secrets are `custody.threshold`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ledger.encoding import canonical
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document, Hex, Name, Whole, signed_bytes, verify_ed25519

OPENING_LINE = "oms-opening/v1"
ENVELOPE_LINE = "oms-envelope/v1"
WORD_LINE = "oms-word/v1"
RECOLLECTION_LINE = "oms-recollection/v1"
PARTIES_MAX = 15
"""What one says to all others when a key is made fits into a frame: 280 KB for each of them."""
ROUNDS_MAX = 4
BODY_MAX = 2 * (1024 * 1024 + 64)
"""In hex: the engine's longest message, encrypted."""
Number = Annotated[int, Field(ge=1, le=PARTIES_MAX)]
Signature = Annotated[Hex, Field(max_length=128)]
Point = Annotated[Hex, Field(max_length=130)]


class Basis(Document):
    """The ledger head and the policy set under which a party decided, and the epochs it has heard of."""

    size: Whole
    root: Digest
    policy: Digest
    policy_version: Whole
    revocation_epoch: Whole
    pause_epoch: Whole


class Terms(Document):
    """What all parties of a run agree on before it: `digest` is what is signed, `subject` what was decided.

    `parties` are the co-signers that hold the key, by number from 1; `signers` the numbers that take part.
    `epoch` is the one that is used, or made; `share` is the run that made the shares in use.
    """

    v: Literal[1]
    protocol: Literal["dkg", "refresh", "sign"]
    key: Name
    epoch: Annotated[Whole, Field(ge=1)]
    share: Digest | None
    subject: Digest
    digest: Digest | None
    parties: Annotated[list[Name], Field(min_length=2, max_length=PARTIES_MAX)]
    threshold: Number
    signers: Annotated[list[Number], Field(min_length=2, max_length=PARTIES_MAX)]
    basis: Basis

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(set(self.parties)) != len(self.parties):
            raise ValueError("a co-signer is two parties")
        if not 1 < self.threshold <= len(self.parties):
            raise ValueError("the threshold is above 1 and at most the number of parties")
        if self.signers != sorted(set(self.signers)) or self.signers[-1] > len(self.parties):
            raise ValueError("who takes part stands in rising order, each once")
        wanted = self.threshold if self.protocol == "sign" else len(self.parties)
        if len(self.signers) != wanted:
            raise ValueError(f"{self.protocol} takes {wanted} parties")
        if (self.protocol == "sign") != (self.digest is not None):
            raise ValueError("a signature, and nothing else, is over a digest")
        if (self.protocol == "dkg") != (self.share is None):
            raise ValueError("all but the making of a key use shares of it")
        return self

    @property
    def taking_part(self) -> dict[int, str]:
        """The co-signers that take part, by number."""
        return {number: self.parties[number - 1] for number in self.signers}


class Opening(Document):
    """What one party brings to a run; `seen` are the latest counters of the others that it knows of."""

    v: Literal[1]
    terms: Terms
    party: Number
    counter: Annotated[Whole, Field(ge=1)]
    seen: Annotated[dict[Name, Whole], Field(max_length=PARTIES_MAX)]
    randomness: Digest
    exchange: Digest

    @model_validator(mode="after")
    def _takes_part(self) -> Self:
        if self.party not in self.terms.signers:
            raise ValueError("the party takes no part")
        return self


class SignedOpening(Document):
    """An opening and its party's Ed25519 signature."""

    opening: Opening
    signature: Signature


class Recollection(Document):
    """What a co-signer remembers of another's openings, the latest or none; fresh by the asker's nonce."""

    v: Literal[1]
    cosigner: Name
    about: Name
    nonce: Digest
    opening: SignedOpening | None


class SignedRecollection(Document):
    """A recollection, and the Ed25519 signature of who remembers."""

    recollection: Recollection
    signature: Signature


class Envelope(Document):
    """One message: `to` is None when it is for all; `echo` says what the sender was told by everybody."""

    v: Literal[1]
    run: Digest
    round: Annotated[int, Field(ge=1, le=ROUNDS_MAX)]
    kind: Literal["message", "echo"]
    sender: Number
    to: Number | None
    body: Annotated[Hex, Field(max_length=BODY_MAX)]


class SignedEnvelope(Document):
    """An envelope and its sender's Ed25519 signature."""

    envelope: Envelope
    signature: Signature


class Word(Document):
    """What a party says of a new epoch's share, which it has made in a run.

    ready: it lies sealed on its disk, and is taken up once all are ready. held: it is in use; the share of
    the epoch before goes once all hold it. never: it was not ready and will not be, so that another run may
    begin. `points` are all parties' points of that epoch, which everybody must have found alike.
    """

    v: Literal[1]
    run: Digest
    key: Name
    epoch: Annotated[Whole, Field(ge=1)]
    party: Number
    stage: Literal["ready", "held", "never"]
    public_key: Point | None
    points: Annotated[list[Point], Field(max_length=PARTIES_MAX)] | None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if {self.public_key is None, self.points is None} != {self.stage == "never"}:
            raise ValueError("who is ready names the key and the points, who never will be names neither")
        return self


class SignedWord(Document):
    """A word, and its party's Ed25519 signature."""

    word: Word
    signature: Signature


def run_of(openings: Mapping[int, Opening]) -> str:
    """(2) Return the name of the run that these openings begin."""
    whole = [openings[number].dump() for number in sorted(openings)]
    return hashlib.sha256(signed_bytes("oms-run/v1", canonical(whole))).hexdigest()


def verify_openings(
    signed: Sequence[SignedOpening], *, mine: Opening, keys: Mapping[str, str], counters: Mapping[str, int]
) -> dict[int, Opening]:
    """(1), (3), (4) Return the openings of a run by party, my own among them.

    `keys` are the identity keys by co-signer, `counters` the latest opening of each that I remember.
    """
    found: dict[int, Opening] = {}
    for each in signed:
        opening = each.opening
        if opening.party in found:
            raise RefusedError(Refusal.RUN, f"party {opening.party} opens twice")
        if opening.party == mine.party:
            if opening != mine:
                raise RefusedError(Refusal.RUN, "my own opening is not the one that I gave")
        else:
            _agrees(each, mine, keys, counters)
        found[opening.party] = opening
    missing = [mine.terms.parties[number - 1] for number in mine.terms.signers if number not in found]
    if missing:
        raise RefusedError(Refusal.RUN, f"no opening of {', '.join(missing)}")
    return found


def _agrees(
    signed: SignedOpening, mine: Opening, keys: Mapping[str, str], counters: Mapping[str, int]
) -> None:
    opening, terms = signed.opening, mine.terms
    if opening.terms.parties != terms.parties:
        raise RefusedError(Refusal.RUN, f"party {opening.party} knows of other parties")
    name, me = terms.parties[opening.party - 1], terms.parties[mine.party - 1]
    if name not in keys:
        raise RefusedError(Refusal.RUN, f"{name} has no identity key")
    verify_ed25519(keys[name], signed.signature, OPENING_LINE, opening.canonical(), what=f"opening of {name}")
    # (4) before the terms: who was set back does not agree either
    if opening.counter <= counters.get(name, 0):
        raise RefusedError(
            Refusal.PEER_BEHIND, f"{name} opens for the {opening.counter}. time, I know of {counters[name]}"
        )
    if opening.seen.get(me, 0) >= mine.counter:
        raise RefusedError(
            Refusal.MEMORY_BEHIND,
            f"{name} knows of opening {opening.seen[me]} of mine, this is {mine.counter}",
        )
    # (3) said by name: what a courier told one party and not the other
    basis, theirs = terms.basis, opening.terms.basis
    if theirs.policy_version > basis.policy_version:
        raise RefusedError(
            Refusal.POLICY_OLD, f"{name} knows policy set {theirs.policy_version}, I {basis.policy_version}"
        )
    if theirs.size == basis.size and theirs.root != basis.root:
        raise RefusedError(Refusal.HEAD_FORKED, f"{name} knows another ledger of {basis.size} entries")
    if theirs.size > basis.size:
        raise RefusedError(Refusal.HEAD_BEHIND, f"{name} knows {theirs.size} entries, I {basis.size}")
    if opening.terms != terms:
        fields = [
            field for field in Terms.model_fields if getattr(opening.terms, field) != getattr(terms, field)
        ]
        raise RefusedError(Refusal.RUN, f"{name} opens another run: {', '.join(fields)}")


def verify_recollections(
    signed: Sequence[SignedRecollection], *, about: str, nonce: str, opened: int, keys: Mapping[str, str]
) -> frozenset[str]:
    """(4) Return who of the others has answered; refused when one shows an opening that I do not know of."""
    heard: set[str] = set()
    for each in signed:
        said = each.recollection
        if (said.about, said.nonce) != (about, nonce) or said.cosigner not in keys or said.cosigner == about:
            raise RefusedError(Refusal.RUN, f"what {said.cosigner} remembers of {said.about} was not asked")
        what = f"recollection of {said.cosigner}"
        verify_ed25519(keys[said.cosigner], each.signature, RECOLLECTION_LINE, said.canonical(), what=what)
        shown = said.opening
        if shown is not None:
            opening = shown.opening
            verify_ed25519(
                keys[about], shown.signature, OPENING_LINE, opening.canonical(), what=f"opening in the {what}"
            )
            if opening.counter > opened:
                raise RefusedError(
                    Refusal.MEMORY_BEHIND,
                    f"{said.cosigner} shows opening {opening.counter} of {about}, which knows of {opened}",
                )
        heard.add(said.cosigner)
    return frozenset(heard)


def unasked_max(threshold: int) -> int:
    """(4) Return how many of the others may stay silent: one fewer than any set of signers has beside me."""
    return threshold - 2


def verify_envelopes(
    signed: Sequence[SignedEnvelope],
    *,
    run: str,
    terms: Terms,
    me: int,
    number: int,
    kind: str,
    keys: Mapping[str, str],
) -> list[Envelope]:
    """(5) Return the envelopes of one round, each of this run, for me or all, from who signed it."""
    found: list[Envelope] = []
    for each in signed:
        envelope = each.envelope
        if envelope.run != run:
            raise RefusedError(Refusal.RUN, "an envelope of another run")
        if (envelope.round, envelope.kind) != (number, kind):
            raise RefusedError(
                Refusal.REPLAYED,
                f"{envelope.kind} of round {envelope.round} where round {number} wants {kind}",
            )
        if envelope.sender not in terms.signers or envelope.sender == me or envelope.to not in {None, me}:
            raise RefusedError(Refusal.RUN, f"an envelope from {envelope.sender} to {envelope.to}")
        if any((envelope.sender, envelope.to) == (other.sender, other.to) for other in found):
            raise RefusedError(Refusal.REPLAYED, f"two messages of party {envelope.sender}")
        name = terms.parties[envelope.sender - 1]
        verify_ed25519(
            keys[name], each.signature, ENVELOPE_LINE, envelope.canonical(), what=f"envelope of {name}"
        )
        found.append(envelope)
    return found


def told(broadcasts: Mapping[int, bytes]) -> bytes:
    """(6) Return what a party says it was told by everybody, itself included."""
    return canonical({str(number): hashlib.sha256(body).hexdigest() for number, body in broadcasts.items()})


def verify_told(mine: bytes, echoes: Mapping[int, bytes], terms: Terms) -> None:
    """(6) Everybody was told the same, or nobody goes on."""
    for number, echo in echoes.items():
        if echo != mine:
            name = terms.parties[number - 1]
            raise RefusedError(
                Refusal.EQUIVOCATION, f"{name} was told something else in this round than I was"
            )


def verify_words(
    signed: Sequence[SignedWord], *, mine: Word, stage: str, parties: Sequence[str], keys: Mapping[str, str]
) -> None:
    """(7) Every party but me is at this stage or beyond it, with the key and points that I have."""
    found: set[int] = {mine.party}
    for each in signed:
        word = each.word
        name = _speaker(each, mine, parties, keys)
        if word.stage == "never":
            raise RefusedError(Refusal.RUN, f"{name} will never be ready for this run")
        if (word.public_key, word.points) != (mine.public_key, mine.points):
            raise RefusedError(Refusal.EQUIVOCATION, f"{name} holds another key or other points than I do")
        if word.stage in {stage, "held"}:
            found.add(word.party)
    missing = [name for number, name in enumerate(parties, 1) if number not in found]
    if missing:
        raise RefusedError(Refusal.RUN, f"not known to be {stage}: {', '.join(missing)}")


def verify_never(signed: SignedWord, *, mine: Word, parties: Sequence[str], keys: Mapping[str, str]) -> None:
    """(7) Somebody else promises never to be ready: this run makes no epoch, and another may begin."""
    name = _speaker(signed, mine, parties, keys)
    if signed.word.stage != "never" or signed.word.party == mine.party:
        raise RefusedError(Refusal.RUN, f"{name} does not say that it will never be ready")


def _speaker(signed: SignedWord, mine: Word, parties: Sequence[str], keys: Mapping[str, str]) -> str:
    word = signed.word
    if (word.run, word.key, word.epoch) != (mine.run, mine.key, mine.epoch) or word.party > len(parties):
        raise RefusedError(Refusal.RUN, "a word about another run")
    name = parties[word.party - 1]
    verify_ed25519(keys[name], signed.signature, WORD_LINE, word.canonical(), what=f"word of {name}")
    return name
