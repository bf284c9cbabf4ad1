"""Signed notes: who must sign, and every spelling that is not the one."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import checkpoint
from ledger.checkpoint import COSIGNATURE, ED25519, Checkpoint, CheckpointError, key_id
from tests.ledger.world import ORIGIN, SERVICE, key, public

STATE = Checkpoint(ORIGIN, 5, bytes(range(32)), bytes(range(32, 64)))
AT = datetime(2026, 11, 21, 1, 2, 3, 999_999, tzinfo=UTC)
KEYS = {SERVICE: public(SERVICE)}
WITNESSES = {name: public(name) for name in ("ann", "bob", "cyd")}
NOTE = checkpoint.sign(STATE, SERVICE, public(SERVICE), key(SERVICE).sign)


def cosigned(*names: str, note: str = NOTE) -> str:
    """Return a note that these witnesses have cosigned."""
    for name in names:
        note = checkpoint.cosign(note, name, public(name), key(name).sign, at=AT)
    return note


def line(name: str, algorithm: bytes, signer: str, value: bytes) -> str:
    """Return a signature line as anybody could write it."""
    blob = key_id(name, algorithm, public(signer)) + value
    return f"— {name} {base64.b64encode(blob).decode()}\n"


BODY = STATE.text + "\n"
STAMP = (1_795_222_923).to_bytes(8, "big")
COSIGNED_TEXT = f"cosignature/v1\ntime 1795222923\n{STATE.text}".encode()


def test_the_text_of_a_checkpoint() -> None:
    """The four lines are origin, size, root in base64 and the chain in hex."""
    root = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert STATE.text == f"{ORIGIN}\n5\n{root}\nchain {bytes(range(32, 64)).hex()}\n"
    assert Checkpoint.parse(STATE.text) == STATE


def test_the_signature_is_plain_ed25519() -> None:
    """The service's line is the key id and a signature over the four lines; a cosignature covers its time."""
    assert BODY + line(SERVICE, ED25519, SERVICE, key(SERVICE).sign(STATE.text.encode())) == NOTE
    value = STAMP + key("ann").sign(COSIGNED_TEXT)
    assert cosigned("ann") == NOTE + line("ann", COSIGNATURE, "ann", value)


@pytest.mark.parametrize(
    ("note", "quorum"),
    [
        pytest.param(NOTE, 0, id="the service alone"),
        pytest.param(cosigned("ann", "bob"), 2, id="two of two"),
        pytest.param(cosigned("ann", "bob", "cyd"), 2, id="more than asked for"),
        pytest.param(cosigned("ann", "eve"), 1, id="a stranger does not veto"),
        pytest.param(NOTE + line("eve", ED25519, "eve", bytes(64)), 0, id="nor does a stranger's junk"),
    ],
)
def test_counts(note: str, quorum: int) -> None:
    """These notes count."""
    assert checkpoint.verify(note, KEYS, quorum, witnesses=WITNESSES) == STATE


SERVICE_LINE = NOTE.removeprefix(BODY)
ANN_LINE = cosigned("ann").removeprefix(NOTE)


@pytest.mark.parametrize(
    ("note", "quorum"),
    [
        pytest.param(NOTE, 1, id="no witness where one is demanded"),
        pytest.param(cosigned("ann"), 2, id="too few witnesses"),
        pytest.param(cosigned("ann", "eve"), 2, id="a stranger does not count"),
        pytest.param(BODY + ANN_LINE, 1, id="a witness without the service"),
        pytest.param(
            BODY + line("eve", ED25519, "eve", key("eve").sign(STATE.text.encode())), 0, id="a stranger"
        ),
        pytest.param(
            BODY + line(SERVICE, ED25519, "eve", key("eve").sign(STATE.text.encode())), 0, id="a stolen name"
        ),
        pytest.param(
            BODY + line(SERVICE, ED25519, SERVICE, key("eve").sign(STATE.text.encode())), 0, id="and key id"
        ),
        pytest.param(
            BODY + line(SERVICE, COSIGNATURE, SERVICE, key(SERVICE).sign(STATE.text.encode())),
            0,
            id="algorithm 4",
        ),
        pytest.param(
            BODY + line(SERVICE, b"\x02", SERVICE, key(SERVICE).sign(STATE.text.encode())),
            0,
            id="algorithm 2",
        ),
        pytest.param(
            NOTE + line("ann", ED25519, "ann", key("ann").sign(STATE.text.encode())),
            1,
            id="a plain cosignature",
        ),
        pytest.param(
            NOTE + line("ann", COSIGNATURE, "ann", bytes(8) + key("ann").sign(COSIGNED_TEXT)),
            1,
            id="another time",
        ),
        pytest.param(
            NOTE + line("ann", COSIGNATURE, "ann", STAMP + key("ann").sign(STATE.text.encode())),
            1,
            id="no time",
        ),
        pytest.param(
            BODY + line(SERVICE, ED25519, SERVICE, STAMP + key(SERVICE).sign(COSIGNED_TEXT)), 0, id="too long"
        ),
        pytest.param(cosigned("ann").replace("\n5\n", "\n6\n"), 0, id="another size"),
        pytest.param(NOTE.replace(ORIGIN, "other.example"), 0, id="another origin"),
        pytest.param(NOTE + SERVICE_LINE, 0, id="one signature twice"),
        pytest.param(cosigned("ann") + ANN_LINE, 2, id="one witness twice"),
    ],
)
def test_does_not_count(note: str, quorum: int) -> None:
    """These notes are well-formed, nearly, and count for nothing."""
    with pytest.raises(CheckpointError):
        checkpoint.verify(note, KEYS, quorum, witnesses=WITNESSES)


def test_one_witness_under_two_names() -> None:
    """Two names over one key are one witness."""
    note = cosigned("ann")
    value = STAMP + key("ann").sign(COSIGNED_TEXT)
    note += line("anna", COSIGNATURE, "ann", value)
    with pytest.raises(CheckpointError, match="1 of 2"):
        checkpoint.verify(note, KEYS, 2, witnesses={"ann": public("ann"), "anna": public("ann")})


def test_nobody_to_believe() -> None:
    """Without keys nothing counts, and a quorum without witnesses is never reached."""
    with pytest.raises(CheckpointError):
        checkpoint.verify(NOTE, {}, 0)
    with pytest.raises(CheckpointError):
        checkpoint.verify(cosigned("ann"), KEYS, 1)


MALFORMED = {
    "an empty note": "",
    "no signature": BODY,
    "no empty line": STATE.text + SERVICE_LINE,
    "two empty lines": STATE.text + "\n\n" + SERVICE_LINE,
    "an empty line at the end": NOTE + "\n",
    "no newline at the end": NOTE[:-1],
    "a carriage return": NOTE.replace("\n5\n", "\n5\r\n"),
    "a line separator": NOTE.replace("\n5\n", "\u20285\n"),
    "size +5": NOTE.replace("\n5\n", "\n+5\n"),
    "size 05": NOTE.replace("\n5\n", "\n05\n"),
    "size with a space": NOTE.replace("\n5\n", "\n 5\n"),
    "size -5": NOTE.replace("\n5\n", "\n-5\n"),
    "size 5.0": NOTE.replace("\n5\n", "\n5.0\n"),
    "size 5_0": NOTE.replace("\n5\n", "\n5_0\n"),
    "size in another script": NOTE.replace("\n5\n", "\n٥\n"),
    "size empty": NOTE.replace("\n5\n", "\n\n"),
    "size 2^53": NOTE.replace("\n5\n", "\n9007199254740992\n"),
    "size of 17 digits": NOTE.replace("\n5\n", "\n10000000000000000\n"),
    "origin empty": NOTE.replace(ORIGIN, "", 1),
    "origin with a space": NOTE.replace(ORIGIN, "a b", 1),
    "origin with a plus": NOTE.replace(ORIGIN, "a+b", 1),
    "root too short": NOTE.replace("AAECAw", "", 1),
    "root in other bits": NOTE.replace("Hh8=", "Hh9=", 1),
    "root in url base64": NOTE.replace("AAECAw", "-AECAw", 1),
    "root unpadded": NOTE.replace("Hh8=", "Hh8", 1),
    "chain in capitals": NOTE.replace("chain " + STATE.chain.hex(), "chain " + STATE.chain.hex().upper()),
    "chain too short": NOTE.replace(STATE.chain.hex(), STATE.chain.hex()[:-2]),
    "chain missing": NOTE.replace(f"chain {STATE.chain.hex()}\n", ""),
    "chain under another word": NOTE.replace("chain ", "chains "),
    "an extension line more": NOTE.replace("\n\n", "\nextra\n\n"),
    "a hyphen instead of a dash": NOTE.replace("—", "-"),
    "two spaces": NOTE.replace("— ", "—  "),
    "a word after the signature": NOTE[:-1] + " x\n",
    "signature too short": BODY + f"— {SERVICE} {base64.b64encode(bytes(67)).decode()}\n",
    "signature not base64": BODY + f"— {SERVICE} ????\n",
    "sixty-five signatures": BODY
    + "".join(f"— name{n} {base64.b64encode(bytes(68)).decode()}\n" for n in range(65)),
    "a note without end": BODY + SERVICE_LINE * 600,
}


@pytest.mark.parametrize("note", [pytest.param(note, id=name) for name, note in MALFORMED.items()])
def test_malformed(note: str) -> None:
    """There is one spelling of a note."""
    with pytest.raises(CheckpointError):
        checkpoint.split(note)


@given(st.integers(0, len(cosigned("ann").encode()) - 1), st.integers(0, 7))
def test_any_flipped_bit(place: int, bit: int) -> None:
    """No bit of a cosigned note can change without notice."""
    raw = bytearray(cosigned("ann").encode())
    raw[place] ^= 1 << bit
    with pytest.raises((CheckpointError, UnicodeDecodeError)):
        checkpoint.verify(raw.decode(), KEYS, 1, witnesses={"ann": public("ann")})


def test_a_token_that_signs_badly() -> None:
    """A signature that the public key does not verify never reaches a note."""
    with pytest.raises(CheckpointError):
        checkpoint.sign(STATE, SERVICE, public(SERVICE), key("eve").sign)
    with pytest.raises(CheckpointError):
        checkpoint.cosign(NOTE, "ann", public("ann"), key("eve").sign, at=AT)


def test_a_witness_signs_once() -> None:
    """A second cosignature under a name is refused, as is a name that would not read back."""
    with pytest.raises(CheckpointError):
        cosigned("ann", "ann")
    for name in ("", "a b", "a+b", "a\nb", "é"):
        with pytest.raises(CheckpointError):
            checkpoint.sign(STATE, name, public(SERVICE), key(SERVICE).sign)


@pytest.mark.parametrize(
    ("size", "root", "chain"),
    [
        (-1, bytes(32), bytes(32)),
        (2**53, bytes(32), bytes(32)),
        (1, bytes(31), bytes(32)),
        (1, bytes(32), b""),
    ],
)
def test_illegal_states_cannot_be_built(size: int, root: bytes, chain: bytes) -> None:
    """A checkpoint has a count and two hashes."""
    with pytest.raises(CheckpointError):
        Checkpoint(ORIGIN, size, root, chain)
