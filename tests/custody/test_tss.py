"""The engine of threshold signatures: enough parties sign, and bad messages end a run, not a process."""

from __future__ import annotations

import copy
import itertools
import pickle
import random
import secrets
from collections.abc import Callable

import coincurve
import pytest
from workbench_tss import AbortError, BanError, Run, Share, TssError

from tests.custody.parties import DIGEST, Round, drive, generated, refreshed, session, signed

N = int("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141", 16)
KEY, ASSOCIATED = bytes(32), b"treasury/1"


@pytest.fixture(scope="module")
def shares() -> dict[int, Share]:
    """Return the shares of a key of which two of three can sign."""
    return generated()


@pytest.fixture(scope="module")
def newer(shares: dict[int, Share]) -> dict[int, Share]:
    """Return the same key's shares of the next epoch."""
    return refreshed(shares)


def recovered(signature: bytes, digest: bytes = DIGEST) -> bytes:
    """Return the 65-byte point that made a signature, by another library."""
    point = coincurve.PublicKey.from_signature_and_message(signature, digest, hasher=None)
    return point.format(compressed=False)


def test_every_three_of_five_sign() -> None:
    """All ten sets of three parties of five make signatures of the one key, with s in the lower half."""
    shares = generated(3, 5)
    for signers in itertools.combinations(range(1, 6), 3):
        signature = signed(shares, signers)
        assert recovered(signature) == shares[1].public_key
        assert 0 < int.from_bytes(signature[32:64]) <= N // 2


def test_all_parties_agree(shares: dict[int, Share]) -> None:
    """Every party holds the same key and the same points of all; each share names its party."""
    assert len({share.public_key for share in shares.values()}) == 1
    assert len({tuple(sorted(share.points.items())) for share in shares.values()}) == 1
    assert {party: (share.party, share.threshold, share.parties) for party, share in shares.items()} == {
        party: (party, 2, 3) for party in shares
    }


def test_a_new_epoch(shares: dict[int, Share], newer: dict[int, Share]) -> None:
    """After a refresh the key is the same, every share's point is another, and it signs."""
    assert newer[1].public_key == shares[1].public_key
    assert all(newer[1].points[party] != shares[1].points[party] for party in shares)
    assert recovered(signed(newer)) == shares[1].public_key


def test_two_epochs_do_not_mix(shares: dict[int, Share], newer: dict[int, Share]) -> None:
    """A share of the last epoch with one of this: no signature, and nobody is to be banned for it."""
    for mixed in ({1: shares[1], 2: newer[2]}, {1: newer[1], 2: shares[2]}):
        with pytest.raises(AbortError, match=r"another|different"):
            signed(mixed)


def test_two_digests_do_not_mix(shares: dict[int, Share]) -> None:
    """Who is asked to sign something else than the other signs nothing with it."""
    name = session()
    runs = {party: Run.sign(shares[party], [1, 2], name, bytes([party]) * 32) for party in (1, 2)}
    with pytest.raises(AbortError, match="different signing session"):
        drive(runs)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda _: Run.dkg(1, 1, 3, session()), "threshold", id="one party alone could sign"),
        pytest.param(lambda _: Run.dkg(1, 4, 3, session()), "threshold", id="more signers than parties"),
        pytest.param(lambda _: Run.dkg(0, 2, 3, session()), "at least 1", id="party 0, the secret itself"),
        pytest.param(lambda _: Run.dkg(4, 2, 3, session()), "at most", id="a party beyond the last"),
        pytest.param(lambda _: Run.dkg(1, 2, 3, b"short"), "32 bytes", id="a short session"),
        pytest.param(lambda share: Run.refresh(share, b""), "32 bytes", id="no session"),
        pytest.param(lambda share: Run.sign(share, [1, 2], session(), b"x"), "32 bytes", id="no digest"),
        pytest.param(lambda share: Run.sign(share, [1], session(), DIGEST), "threshold", id="too few"),
        pytest.param(lambda share: Run.sign(share, [1, 2, 3], session(), DIGEST), "as many", id="too many"),
        pytest.param(lambda share: Run.sign(share, [1, 1], session(), DIGEST), "once", id="one twice"),
        pytest.param(lambda share: Run.sign(share, [2, 1], session(), DIGEST), "rising", id="falling"),
        pytest.param(
            lambda share: Run.sign(share, [1, 9], session(), DIGEST), "as many", id="nobody's number"
        ),
        pytest.param(lambda share: Run.sign(share, [2, 3], session(), DIGEST), "none of", id="without me"),
    ],
)
def test_runs_that_do_not_begin(shares: dict[int, Share], make: Callable[[Share], Run], words: str) -> None:
    """What a run is made of is checked before it says anything."""
    with pytest.raises(ValueError, match=words):
        make(shares[1])


# Sealing


def test_sealed_and_opened(shares: dict[int, Share]) -> None:
    """A share comes back from its sealed form and signs; sealed twice it is never the same bytes."""
    sealed = [shares[1].seal(KEY, ASSOCIATED) for _ in range(2)]
    assert sealed[0] != sealed[1]
    opened = Share.open(sealed[0], KEY, ASSOCIATED)
    assert recovered(signed({1: opened, 2: shares[2]})) == shares[1].public_key


@pytest.mark.parametrize(
    ("alter", "key", "associated"),
    [
        pytest.param(lambda sealed: sealed, bytes([1]) * 32, ASSOCIATED, id="another key"),
        pytest.param(lambda sealed: sealed, KEY, b"treasury/2", id="another key id, party or epoch"),
        pytest.param(lambda sealed: sealed[:-1], KEY, ASSOCIATED, id="cut"),
        pytest.param(lambda sealed: sealed + b"\0", KEY, ASSOCIATED, id="longer"),
        pytest.param(lambda _: b"", KEY, ASSOCIATED, id="empty"),
        pytest.param(lambda sealed: b"wbtss2" + sealed[6:], KEY, ASSOCIATED, id="another version"),
        pytest.param(lambda sealed: sealed[:10], KEY, ASSOCIATED, id="cut in the nonce"),
        pytest.param(lambda _: bytes(5 << 20), KEY, ASSOCIATED, id="far too long"),
    ],
)
def test_sealed_shares_that_do_not_open(
    shares: dict[int, Share], alter: Callable[[bytes], bytes], key: bytes, associated: bytes
) -> None:
    """A sealed share opens only whole, under its own key and for what it was sealed for."""
    with pytest.raises(AbortError, match="does not open"):
        Share.open(alter(shares[1].seal(KEY, ASSOCIATED)), key, associated)


def test_any_flipped_bit_is_noticed(shares: dict[int, Share]) -> None:
    """A bit flipped anywhere in a sealed share: it does not open."""
    sealed = shares[1].seal(KEY, ASSOCIATED)
    chance = random.Random(7)  # noqa: S311 - places to flip, no secrets
    for place in [*range(40), *chance.sample(range(len(sealed)), 60), len(sealed) - 1]:
        flipped = bytearray(sealed)
        flipped[place] ^= 1 << chance.randrange(8)
        with pytest.raises(AbortError, match="does not open"):
            Share.open(bytes(flipped), KEY, ASSOCIATED)


def test_sealing_keys_have_32_bytes(shares: dict[int, Share]) -> None:
    """A shorter key is refused, not stretched."""
    with pytest.raises(ValueError, match="32 bytes"):
        shares[1].seal(bytes(16), ASSOCIATED)


def test_a_share_is_opaque(shares: dict[int, Share]) -> None:
    """Python gets at nothing of a share but what is public: no attribute, no pickle, no copy, no words."""
    public = {"open", "parties", "party", "points", "public_key", "seal", "threshold"}
    assert {name for name in dir(shares[1]) if not name.startswith("_")} == public
    assert repr(shares[1]) == "<Share 1 of 2-of-3>"
    for reveal in (pickle.dumps, copy.copy, copy.deepcopy, vars):
        with pytest.raises(TypeError):
            reveal(shares[1])


# Messages


def alone(meddle: Callable[[Round], None], at: int) -> Callable[[int, Round], None]:
    """Meddle with one round."""

    def meddled(number: int, mail: Round) -> None:
        if number == at:
            meddle(mail)

    return meddled


def missing(mail: Round) -> None:
    """Keep the second party's private message back."""
    del mail.private[1][2]


def empty(mail: Round) -> None:
    """Give an empty one."""
    mail.private[1][2] = b""


def cut(mail: Round) -> None:
    """Give half of it."""
    mail.private[1][2] = mail.private[1][2][: len(mail.private[1][2]) // 2]


def longer(mail: Round) -> None:
    """Give one byte more."""
    mail.private[1][2] += b"\0"


def enormous(mail: Round) -> None:
    """Give more than any message has."""
    mail.private[1][2] += bytes(1 << 20)


def renamed(mail: Round) -> None:
    """Give it as that of another round."""
    mail.private[1][2] = b"\x7f" + mail.private[1][2][1:]


def stranger(mail: Round) -> None:
    """Give one of a party that takes no part."""
    mail.private[1][9] = mail.private[1][2]


def mine(mail: Round) -> None:
    """Give a party a message of its own."""
    mail.private[1][1] = mail.private[1][2]


def returned(mail: Round) -> None:
    """Give the second party's message to the first as what it sent itself, with the sender turned round."""
    mail.private[1][2] = mail.private[2][1]


MEDDLERS = [
    pytest.param(missing, "is missing", id="missing"),
    pytest.param(empty, "is empty", id="empty"),
    pytest.param(cut, "is not what the round wants", id="cut"),
    pytest.param(longer, "goes on after its end", id="longer"),
    pytest.param(enormous, "is too long", id="enormous"),
    pytest.param(renamed, "another protocol or round", id="of another round"),
    pytest.param(stranger, "from no other party", id="of a stranger"),
    pytest.param(mine, "from no other party", id="of oneself"),
    pytest.param(returned, "another sender or receiver", id="one's own, returned"),
]


@pytest.mark.parametrize("at", [1, 2], ids=["first round", "second round"])
@pytest.mark.parametrize(("meddle", "words"), MEDDLERS)
def test_bad_messages_end_a_signature(
    shares: dict[int, Share], meddle: Callable[[Round], None], words: str, at: int
) -> None:
    """A bad message names its party and ends the run; the next run signs."""
    with pytest.raises(AbortError, match=words) as caught:
        signed(shares, meddle=alone(meddle, at))
    assert caught.value.args[1] in {1, 2, 9}
    assert recovered(signed(shares)) == shares[1].public_key


@pytest.mark.parametrize(("meddle", "words"), MEDDLERS[:-1])
def test_bad_messages_end_a_key_generation(meddle: Callable[[Round], None], words: str) -> None:
    """The same in the round in which the parties deal."""
    with pytest.raises(AbortError, match=words):
        generated(meddle=alone(meddle, 1))


def test_a_broadcast_where_none_belongs(shares: dict[int, Share]) -> None:
    """A round without broadcasts takes none."""

    def chatter(mail: Round) -> None:
        mail.broadcasts[1][2] = b"\x33"

    with pytest.raises(AbortError, match="no place in this round"):
        signed(shares, meddle=alone(chatter, 1))


def test_a_false_evaluation() -> None:
    """A party that deals somebody a point beside its polynomial is found out before there is a key."""

    def beside(mail: Round) -> None:
        mail.private[1][2] = mail.private[1][2][:-32] + secrets.token_bytes(32)

    with pytest.raises(AbortError, match="inconsistency"):
        generated(meddle=alone(beside, 1))


def test_a_proof_chosen_after_the_others() -> None:
    """What is revealed must be what was committed to a round before, in another run's place too."""
    kept: dict[str, bytes] = {}

    def keep(number: int, mail: Round) -> None:
        if number == 3:
            kept["proof"] = mail.broadcasts[1][2]

    generated(meddle=keep)

    def replace(mail: Round) -> None:
        mail.broadcasts[1][2] = kept["proof"]

    with pytest.raises(AbortError, match="proof verification failed for party 2"):
        generated(meddle=alone(replace, 3))


def test_a_refresh_that_would_move_the_key(shares: dict[int, Share]) -> None:
    """A party that deals a polynomial which is not zero at zero changes nothing: the epoch does not begin."""
    name = session()
    runs = {party: Run.refresh(share, name) for party, share in shares.items()}
    runs[2] = Run.dkg(2, 2, 3, name)

    def translated(_: int, mail: Round) -> None:
        """Let the key generation's messages pass as a refresh's."""
        for inbox in (mail.private[party] for party in (1, 3)):
            if 2 in inbox:
                inbox[2] = bytes([inbox[2][0] + 0x10]) + inbox[2][1:]
        for other in (1, 3):
            if other in mail.private[2]:
                message = mail.private[2][other]
                mail.private[2][other] = bytes([message[0] - 0x10]) + message[1:]

    with pytest.raises(TssError):
        drive(runs, translated)
    assert recovered(signed(shares)) == shares[1].public_key


def test_a_cheat_in_the_transfer_is_to_be_banned(shares: dict[int, Share]) -> None:
    """A message that fails the transfer's check names the party never to run with again under this share."""

    def cheat(mail: Round) -> None:
        message = bytearray(mail.private[1][2])
        message[-40] ^= 1
        mail.private[1][2] = bytes(message)

    with pytest.raises(BanError) as caught:
        signed(shares, meddle=alone(cheat, 1))
    assert caught.value.args[1] == 2


def test_a_wrong_part_makes_no_signature(shares: dict[int, Share]) -> None:
    """The sum of the parts is checked under the key before it is called a signature."""

    def wrong(mail: Round) -> None:
        mail.broadcasts[1][2] = mail.broadcasts[1][2][:-32] + secrets.token_bytes(32)

    with pytest.raises(AbortError):
        signed(shares, meddle=alone(wrong, 3))


def test_a_run_takes_each_step_once(shares: dict[int, Share]) -> None:
    """A run that failed or is done takes nothing more; one that waits takes no first step again."""
    failed = Run.sign(shares[1], [1, 2], session(), DIGEST)
    failed.step({}, {})
    with pytest.raises(AbortError):
        failed.step({}, {})
    with pytest.raises(ValueError, match="ended"):
        failed.step({}, {})
    begun = Run.sign(shares[1], [1, 2], session(), DIGEST)
    with pytest.raises(ValueError, match="takes no messages"):
        begun.step({}, {2: b"x"})


def test_nonsense_never_ends_the_process(shares: dict[int, Share]) -> None:
    """Messages with bits flipped at random, in every round: an error of the engine's own kind."""
    chance = random.Random(11)  # noqa: S311 - as above
    for _ in range(300):
        at = chance.randrange(1, 4)

        def flip(mail: Round) -> None:
            inbox = mail.private[1] or mail.broadcasts[1]
            message = bytearray(inbox[2])
            for _ in range(chance.randrange(1, 4)):
                message[chance.randrange(len(message))] ^= 1 << chance.randrange(8)
            inbox[2] = bytes(message)

        with pytest.raises(TssError):
            signed(shares, meddle=alone(flip, at))
    assert recovered(signed(shares)) == shares[1].public_key
