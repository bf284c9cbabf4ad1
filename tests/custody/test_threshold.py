"""Runs over a threshold key: whoever carries the messages learns nothing, and changes nothing unnoticed."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import coincurve
import pytest

from ledger.encoding import canonical
from tests.custody.courier import BASIS, DIGEST, Cosigners, Mail, Meddler, run
from workbench.custody.threshold import BannedError, Party
from workbench.process.frames import FRAME_MAX
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes
from workbench.rules.threshold import (
    OPENING_LINE,
    PARTIES_MAX,
    WORD_LINE,
    Envelope,
    SignedEnvelope,
    SignedOpening,
    SignedWord,
    Terms,
    Word,
    verify_never,
    verify_words,
)


@pytest.fixture(scope="module")
def cosigners() -> Cosigners:
    """Return three co-signers with a key of which two can sign."""
    made = Cosigners()
    made.generate()
    return made


def signs(cosigners: Cosigners) -> None:
    """Assert that the key still signs: nothing that was refused has hurt it."""
    done = run(cosigners, cosigners.parties(cosigners.terms("sign")))
    (signature,) = {each for each in done.values() if isinstance(each, bytes)}
    point = coincurve.PublicKey.from_signature_and_message(signature, bytes.fromhex(DIGEST), hasher=None)
    assert point.format(compressed=False) == cosigners.shares[1].public_key


def refused(code: Refusal, action: Callable[[], object], words: str) -> RefusedError:
    """Assert that it is refused for this reason; return the refusal."""
    with pytest.raises(RefusedError, match=words) as caught:
        action()
    assert caught.value.code is code
    return caught.value


def test_a_run_from_opening_to_signature(cosigners: Cosigners) -> None:
    """Two of three sign; all have the same transcript, and no two runs have the same name."""
    names = set()
    for signers in ([1, 2], [1, 3], [2, 3]):
        parties = cosigners.parties(cosigners.terms("sign", signers))
        run(cosigners, parties)
        assert len({party.transcript for party in parties.values()}) == 1
        names.add(parties[signers[0]].name)
    assert len(names) == 3


def test_what_the_courier_sees(cosigners: Cosigners) -> None:
    """Private messages pass as ciphertext: none begins as the engine's own form does."""
    seen: list[SignedEnvelope] = []
    run(
        cosigners,
        cosigners.parties(cosigners.terms("sign")),
        lambda _, __, mail: seen.extend(each for inbox in mail.values() for each in inbox),
    )
    private = [bytes.fromhex(each.envelope.body) for each in seen if each.envelope.to is not None]
    assert len(private) == 4
    assert not any(body[:1] in {b"\x31", b"\x32"} and body[1:3] == b"\x01\x02" for body in private)
    assert len({body[:16] for body in private}) == len(private)


def test_as_many_as_may_share_a_key_can_make_one() -> None:
    """What a party says to all others in the longest step fits into a frame."""
    said: list[int] = []

    def measure(_: int, __: str, mail: Mail) -> None:
        said.append(
            max(len(canonical(one.dump(), limit=FRAME_MAX)) for inbox in mail.values() for one in inbox)
        )

    made = Cosigners()
    run(made, made.parties(made.terms("dkg")), measure)
    assert max(said) * (PARTIES_MAX - 1) + 16 * 1024 < FRAME_MAX


# Openings


def changed(**fields: object) -> Callable[[Cosigners], Terms]:
    """Return what gives the second party other terms than the first."""
    return lambda cosigners: cosigners.terms("sign", **fields)


@pytest.mark.parametrize(
    ("other", "code", "words"),
    [
        pytest.param(changed(digest="00" * 32), Refusal.RUN, "digest", id="another transaction"),
        pytest.param(changed(subject="00" * 32), Refusal.RUN, "subject", id="another decision"),
        pytest.param(changed(key="hot"), Refusal.RUN, "key", id="another key"),
        pytest.param(changed(epoch=2), Refusal.RUN, "epoch", id="another epoch"),
        pytest.param(
            changed(basis=BASIS.model_copy(update={"policy_version": 4})),
            Refusal.POLICY_OLD,
            "knows policy set 4, I 3",
            id="a newer policy set that I was not shown",
        ),
        pytest.param(
            changed(basis=BASIS.model_copy(update={"root": "00" * 32})),
            Refusal.HEAD_FORKED,
            "another ledger of 7 entries",
            id="another history of the ledger",
        ),
        pytest.param(
            changed(basis=BASIS.model_copy(update={"size": 8})),
            Refusal.HEAD_BEHIND,
            "knows 8 entries, I 7",
            id="entries that I was not shown",
        ),
        pytest.param(
            changed(parties=["cosigner-2", "cosigner-1", "cosigner-3"]),
            Refusal.RUN,
            "other parties",
            id="parties in another order",
        ),
    ],
)
def test_parties_that_were_told_different_things(
    cosigners: Cosigners, other: Callable[[Cosigners], Terms], code: Refusal, words: str
) -> None:
    """Two parties that do not agree on everything do not begin, and have said nothing but this."""
    mine = cosigners.party(1, cosigners.terms("sign"))
    theirs = cosigners.party(2, other(cosigners))
    before = dict(cosigners.counters[1])
    given = [mine.opening, theirs.opening]
    refused(code, lambda: mine.begin(given, counters=cosigners.counters[1]), words)
    refused(Refusal.REPLAYED, mine.first, "when all have opened")
    assert cosigners.counters[1] == before
    signs(cosigners)


def forged(cosigners: Cosigners, mine: Party, theirs: Party) -> list[SignedOpening]:
    """Sign the other's opening with another identity key."""
    opening = theirs.opening.opening
    signature = cosigners.identities[3].sign(signed_bytes(OPENING_LINE, opening.canonical()))
    return [mine.opening, SignedOpening(opening=opening, signature=signature.hex())]


def altered(_: Cosigners, mine: Party, theirs: Party) -> list[SignedOpening]:
    """Put the courier's own key to encrypt to into the other's opening."""
    signed = theirs.opening
    opening = signed.opening.model_copy(update={"exchange": secrets.token_hex(32)})
    return [mine.opening, signed.model_copy(update={"opening": opening})]


def own_altered(cosigners: Cosigners, mine: Party, theirs: Party) -> list[SignedOpening]:
    """Give a party another opening of itself than it gave."""
    return [cosigners.party(1, mine.opening.opening.terms).opening, theirs.opening]


def alone(_: Cosigners, mine: Party, __: Party) -> list[SignedOpening]:
    """Leave the other out."""
    return [mine.opening]


def twice(_: Cosigners, mine: Party, theirs: Party) -> list[SignedOpening]:
    """Give the other's twice."""
    return [mine.opening, theirs.opening, theirs.opening]


def replayed(cosigners: Cosigners, mine: Party, _: Party) -> list[SignedOpening]:
    """Give the other's opening of a run that has been."""
    old = cosigners.parties(mine.opening.opening.terms)
    run(cosigners, old)
    return [mine.opening, old[2].opening]


@pytest.mark.parametrize(
    ("give", "code", "words"),
    [
        pytest.param(forged, Refusal.SIGNATURE, "opening of cosigner-2", id="signed by somebody else"),
        pytest.param(altered, Refusal.SIGNATURE, "opening of cosigner-2", id="with the courier's key in it"),
        pytest.param(own_altered, Refusal.RUN, "not the one that I gave", id="another of my own"),
        pytest.param(alone, Refusal.RUN, "no opening of cosigner-2", id="one missing"),
        pytest.param(twice, Refusal.RUN, "opens twice", id="one twice"),
        pytest.param(replayed, Refusal.PEER_BEHIND, "cosigner-2 opens for", id="of a run that has been"),
    ],
)
def test_openings_that_the_courier_made_up(
    cosigners: Cosigners,
    give: Callable[[Cosigners, Party, Party], list[SignedOpening]],
    code: Refusal,
    words: str,
) -> None:
    """Only what each party has opened with itself begins a run."""
    mine, theirs = (cosigners.party(number, cosigners.terms("sign")) for number in (1, 2))
    openings = give(cosigners, mine, theirs)
    refused(code, lambda: mine.begin(openings, counters=cosigners.counters[1]), words)
    refused(Refusal.REPLAYED, mine.first, "when all have opened")
    signs(cosigners)


def test_a_party_that_was_set_back(cosigners: Cosigners) -> None:
    """Yesterday's state opens with a number that was seen: the others refuse it, and it refuses itself."""
    signs(cosigners)
    terms = cosigners.terms("sign")
    fresh, old = cosigners.party(1, terms), cosigners.party(2, terms, counter=1)
    given = [fresh.opening, old.opening]
    refused(
        Refusal.PEER_BEHIND,
        lambda: fresh.begin(given, counters=cosigners.counters[1]),
        r"cosigner-2 opens for the 1\. time",
    )
    refused(Refusal.MEMORY_BEHIND, lambda: old.begin(given, counters={}), "cosigner-1 knows of opening")
    signs(cosigners)


def test_an_opening_does_for_one_run(cosigners: Cosigners) -> None:
    """Begun once, a run does not begin again, and gives its first messages once."""
    parties = cosigners.parties(cosigners.terms("sign"))
    given = [party.opening for party in parties.values()]
    cosigners.begin(parties)
    parties[1].first()
    refused(Refusal.REPLAYED, lambda: parties[1].begin(given, counters={}), "has begun")
    refused(Refusal.REPLAYED, parties[1].first, "given once")


# Envelopes


def at(number: int, kind: str, meddle: Callable[[Mail], None]) -> Meddler:
    """Meddle with one round's messages or echoes."""

    def meddled(this: int, of: str, mail: Mail) -> None:
        if (this, of) == (number, kind):
            meddle(mail)

    return meddled


def of(mail: Mail, sender: int, receiver: int) -> int:
    """Return where in a receiver's mail a sender's envelope lies."""
    return next(n for n, each in enumerate(mail[receiver]) if each.envelope.sender == sender)


def edited(**changes: object) -> Callable[[Mail], None]:
    """Return what alters the second party's envelope to the first, without its key."""

    def alter(mail: Mail) -> None:
        place = of(mail, 2, 1)
        signed = mail[1][place]
        envelope = signed.envelope.model_copy(update=changes)
        mail[1][place] = signed.model_copy(update={"envelope": envelope})

    return alter


def lost(mail: Mail) -> None:
    """Lose the second party's envelope to the first."""
    del mail[1][of(mail, 2, 1)]


def doubled(mail: Mail) -> None:
    """Deliver it twice."""
    mail[1].append(mail[1][of(mail, 2, 1)])


def misdelivered(mail: Mail) -> None:
    """Deliver to the first what is for the second."""
    mail[1] = list(mail[2])


@pytest.mark.parametrize(
    ("meddle", "code", "words"),
    [
        pytest.param(lost, Refusal.RUN, "no message of cosigner-2", id="lost"),
        pytest.param(doubled, Refusal.REPLAYED, "two messages of party 2", id="twice"),
        pytest.param(edited(body="00" * 40), Refusal.SIGNATURE, "envelope of cosigner-2", id="altered"),
        pytest.param(edited(to=None), Refusal.SIGNATURE, "envelope of cosigner-2", id="made public"),
        pytest.param(edited(sender=3), Refusal.RUN, "an envelope from 3", id="under the name of an outsider"),
        pytest.param(edited(sender=1), Refusal.RUN, "an envelope from 1", id="under the receiver's own name"),
        pytest.param(edited(run="00" * 32), Refusal.RUN, "another run", id="of another run"),
        pytest.param(edited(round=3), Refusal.REPLAYED, "of round 3", id="of a later round"),
        pytest.param(edited(kind="echo"), Refusal.REPLAYED, "echo of round 1", id="as an echo"),
        pytest.param(misdelivered, Refusal.RUN, "an envelope from 1", id="of another receiver"),
    ],
)
def test_what_the_courier_does_to_messages(
    cosigners: Cosigners, meddle: Callable[[Mail], None], code: Refusal, words: str
) -> None:
    """It is refused and changes nothing: delivered rightly after all, the same run still signs."""
    parties = cosigners.parties(cosigners.terms("sign"))
    cosigners.begin(parties)
    answers = {number: party.first() for number, party in parties.items()}
    mail = {
        number: [each for sender, answer in answers.items() if sender != number for each in answer.envelopes]
        for number in parties
    }
    kept = {number: list(inbox) for number, inbox in mail.items()}
    meddle(mail)
    refused(code, lambda: parties[1].take(mail[1]), words)
    parties[1].take(kept[1])
    refused(Refusal.REPLAYED, lambda: parties[1].take(kept[1]), "of round 1 where round 2")
    signs(cosigners)


def test_an_envelope_of_an_earlier_run(cosigners: Cosigners) -> None:
    """What was said in a run that has been is worth nothing in this one."""
    kept: Mail = {}
    run(
        cosigners,
        cosigners.parties(cosigners.terms("sign")),
        at(2, "message", lambda mail: kept.update({number: list(inbox) for number, inbox in mail.items()})),
    )
    parties = cosigners.parties(cosigners.terms("sign"))
    meddle = at(2, "message", lambda mail: mail.update(kept))
    refused(Refusal.RUN, lambda: run(cosigners, parties, meddle), "another run")
    signs(cosigners)


def resigned(cosigners: Cosigners, mail: Mail, change: Callable[[Envelope], Envelope]) -> None:
    """Have the second party itself tell the first something else than it told everybody."""
    place = of(mail, 2, 1)
    mail[1][place] = cosigners.signed_by(2, change(mail[1][place].envelope))


def test_a_party_that_tells_two_things() -> None:
    """What is told to all is compared before anyone goes on: no key comes of it, and somebody is named."""
    others = Cosigners()

    def lie(mail: Mail) -> None:
        place = next(
            n for n, each in enumerate(mail[1]) if (each.envelope.sender, each.envelope.to) == (2, None)
        )
        envelope = mail[1][place].envelope
        body = bytes.fromhex(envelope.body)
        told = (body[:-1] + bytes([body[-1] ^ 1])).hex()
        mail[1][place] = others.signed_by(2, envelope.model_copy(update={"body": told}))

    parties = others.parties(others.terms("dkg"))
    refusal = refused(
        Refusal.EQUIVOCATION, lambda: run(others, parties, at(2, "message", lie)), "was told something else"
    )
    assert "cosigner-" in refusal.detail
    refused(Refusal.REPLAYED, lambda: parties[1].take([]), "ended")


def test_ciphertext_that_does_not_open(cosigners: Cosigners) -> None:
    """A party that signs nonsense ends the run for the others, who are not to ban it for that."""
    parties = cosigners.parties(cosigners.terms("sign"))

    def nonsense(mail: Mail) -> None:
        resigned(cosigners, mail, lambda envelope: envelope.model_copy(update={"body": "00" * 64}))

    refused(
        Refusal.ENGINE,
        lambda: run(cosigners, parties, at(1, "message", nonsense)),
        "party 2 encrypted something",
    )
    signs(cosigners)


def test_a_cheat_is_banned_with_what_it_signed(cosigners: Cosigners) -> None:
    """A party whose message fails the transfer's check is named, with its own signed envelope as evidence."""
    parties = cosigners.parties(cosigners.terms("sign"))
    cheat = parties[2]

    def tamper(mail: Mail) -> None:
        place = of(mail, 2, 1)
        envelope = mail[1][place].envelope
        cipher = cheat._cipher(2, 1, 1)
        body = bytearray(cipher.decrypt(bytes(12), bytes.fromhex(envelope.body), None))
        body[-40] ^= 1
        sealed = cipher.encrypt(bytes(12), bytes(body), None).hex()
        mail[1][place] = cosigners.signed_by(2, envelope.model_copy(update={"body": sealed}))

    with pytest.raises(BannedError) as caught:
        run(cosigners, parties, at(1, "message", tamper))
    assert (caught.value.code, caught.value.party) == (Refusal.BANNED, 2)
    assert [each.envelope.sender for each in caught.value.evidence] == [2]


# Words about a new epoch


def word(cosigners: Cosigners, party: int, stage: str, **changes: object) -> SignedWord:
    """Return what a party says of an epoch, signed."""
    holds = stage != "never"
    value = {
        "v": 1,
        "run": "11" * 32,
        "key": "treasury",
        "epoch": 2,
        "party": party,
        "stage": stage,
        "public_key": "04" * 65 if holds else None,
        "points": ["02" * 33] * 3 if holds else None,
    }
    said = Word.model_validate(value | changes)
    signature = cosigners.identities[party].sign(signed_bytes(WORD_LINE, said.canonical()))
    return SignedWord(word=said, signature=signature.hex())


def test_an_epoch_counts_when_all_say_so(cosigners: Cosigners) -> None:
    """All ready, or further: the epoch is taken up. All hold it: the one before may go."""
    mine = word(cosigners, 1, "ready").word
    verify = {"mine": mine, "parties": cosigners.names, "keys": cosigners.keys}
    said = [word(cosigners, 2, "ready"), word(cosigners, 3, "held")]
    verify_words(said, stage="ready", **verify)
    refused(
        Refusal.RUN, lambda: verify_words(said, stage="held", **verify), "not known to be held: cosigner-2"
    )
    verify_words([word(cosigners, 2, "held"), word(cosigners, 3, "held")], stage="held", **verify)


@pytest.mark.parametrize(
    ("second", "code", "words"),
    [
        pytest.param({"stage": "never"}, Refusal.RUN, "will never be ready", id="never"),
        pytest.param({"stage": "ready", "run": "22" * 32}, Refusal.RUN, "another run", id="of another run"),
        pytest.param({"stage": "ready", "epoch": 3}, Refusal.RUN, "another run", id="of another epoch"),
        pytest.param(
            {"stage": "ready", "points": ["03" * 33] * 3}, Refusal.EQUIVOCATION, "points", id="other points"
        ),
        pytest.param(
            {"stage": "ready", "public_key": "05" * 65}, Refusal.EQUIVOCATION, "key", id="another key"
        ),
        pytest.param(None, Refusal.RUN, "not known to be ready: cosigner-2", id="silence"),
    ],
)
def test_words_that_do_not_count(
    cosigners: Cosigners, second: dict[str, object] | None, code: Refusal, words: str
) -> None:
    """One party that is not ready with the same points: the epoch does not begin."""
    mine = word(cosigners, 1, "ready").word
    said = [word(cosigners, 3, "ready")]
    if second is not None:
        stage = str(second.pop("stage"))
        said.append(word(cosigners, 2, stage, **second))
    refused(
        code,
        lambda: verify_words(said, mine=mine, stage="ready", parties=cosigners.names, keys=cosigners.keys),
        words,
    )


def test_a_promise_never_to_be_ready(cosigners: Cosigners) -> None:
    """It frees the others for another run only from somebody else, signed, and said outright."""
    mine = word(cosigners, 1, "ready").word
    verify = {"mine": mine, "parties": cosigners.names, "keys": cosigners.keys}
    verify_never(word(cosigners, 2, "never"), **verify)
    refused(Refusal.RUN, lambda: verify_never(word(cosigners, 2, "ready"), **verify), "does not say")
    refused(Refusal.RUN, lambda: verify_never(word(cosigners, 1, "never"), **verify), "does not say")
    signed = word(cosigners, 2, "never")
    stolen = signed.model_copy(update={"word": signed.word.model_copy(update={"party": 3})})
    refused(Refusal.SIGNATURE, lambda: verify_never(stolen, **verify), "word of cosigner-3")
