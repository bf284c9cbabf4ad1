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
    "a space for the last newline": NOTE[:-1] + " ",
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
    "root and chain missing": f"{ORIGIN}\n5\n\n{SERVICE_LINE}",
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


@pytest.mark.parametrize("note", [MALFORMED["root in other bits"], MALFORMED["root unpadded"]])
def test_malformed_by_itself(note: str) -> None:
    """The four lines have one spelling, with signatures or without."""
    with pytest.raises(CheckpointError, match="base64"):
        Checkpoint.parse(note.partition("\n\n")[0] + "\n")


def test_how_long_a_note_may_be() -> None:
    """A note beyond the limit is not looked at."""
    with pytest.raises(CheckpointError, match="not a signature line"):
        checkpoint.split(NOTE.ljust(checkpoint.NOTE_MAX, "\n"))
    with pytest.raises(CheckpointError, match="limit"):
        checkpoint.split(NOTE.ljust(checkpoint.NOTE_MAX + 1, "\n"))


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


@pytest.mark.parametrize("size", [0, 2**53 - 1])
def test_the_smallest_and_the_largest_state(size: int) -> None:
    """A ledger may be empty, and as large as JSON can count."""
    state = Checkpoint(ORIGIN, size, bytes(32), bytes(32))
    assert checkpoint.verify(signed(state, SERVICE), KEYS) == state


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


# Lines that come by themselves, and what they say together

OTHER = Checkpoint(ORIGIN, 5, bytes(32), bytes(range(32, 64)))
EVE_LINE = cosigned("eve").removeprefix(NOTE)


def signed(state: Checkpoint, *names: str) -> str:
    """Return a note of a state, signed as the service by each of these keys."""
    notes = [checkpoint.sign(state, name, public(name), key(name).sign) for name in names]
    return notes[0] + "".join(note.split("\n\n")[1] for note in notes[1:])


def test_a_line_is_added() -> None:
    """A witness's answer makes the note that it would have made; who answered first leaves no trace."""
    assert checkpoint.add(NOTE, ANN_LINE) == cosigned("ann")
    assert checkpoint.add(cosigned("bob", "eve"), ANN_LINE) == cosigned("ann", "bob", "eve")


@pytest.mark.parametrize(
    ("line", "name", "message"),
    [
        pytest.param("ann", "bob", "a line of ann, expected bob", id="another witness's line"),
        pytest.param("forged", "ann", "does not verify", id="a signature that does not verify"),
        pytest.param("other key", "ann", "another key", id="another key under the name"),
    ],
)
def test_a_liars_line_spoils_no_note(line: str, name: str, message: str) -> None:
    """What a witness answers is attached only if it is this witness's cosignature of this note."""
    lines = {"ann": ANN_LINE, "forged": forged(ANN_LINE), "other key": EVE_LINE.replace("eve", "ann")}
    with pytest.raises(CheckpointError, match=message):
        checkpoint.add_cosignature(NOTE, lines[line], name=name, public_key=WITNESSES[name])
    good = checkpoint.add_cosignature(NOTE, ANN_LINE, name="ann", public_key=WITNESSES["ann"])
    assert good == cosigned("ann")


def forged(line: str) -> str:
    """Flip a bit of a line's signature."""
    signature = checkpoint.Signature.parse(line[:-1])
    value = signature.value[:-1] + bytes([signature.value[-1] ^ 1])
    return checkpoint.Signature(signature.name, signature.key_id, value).line


@pytest.mark.parametrize(
    ("note", "added"),
    [
        pytest.param(NOTE, "", id="nothing"),
        pytest.param(NOTE, "\n", id="an empty line"),
        pytest.param(NOTE, ANN_LINE[:-1], id="a line without its end"),
        pytest.param(NOTE, ANN_LINE + "\n", id="a line too many"),
        pytest.param(NOTE, ANN_LINE + EVE_LINE, id="two lines"),
        pytest.param(NOTE, "\n" + ANN_LINE, id="a line before it"),
        pytest.param(NOTE, ANN_LINE.replace("\n", "\r\n"), id="a carriage return"),
        pytest.param(NOTE, ANN_LINE.replace("—", "-"), id="a hyphen for the dash"),
        pytest.param(NOTE, ANN_LINE.replace("ann ", "ann  "), id="two spaces"),
        pytest.param(NOTE, ANN_LINE.replace("ann", "a+n"), id="no name"),
        pytest.param(NOTE, NOTE, id="a whole note"),
        pytest.param(cosigned("ann"), ANN_LINE, id="a name that is there"),
        pytest.param(NOTE, SERVICE_LINE, id="the service's own line again"),
        pytest.param(NOTE[:-1], ANN_LINE, id="a note without its end"),
        pytest.param(BODY, ANN_LINE.replace("ann", "\u202eann"), id="a name that steers a terminal"),
        pytest.param("", ANN_LINE, id="no note"),
    ],
)
def test_a_line_is_not_added(note: str, added: str) -> None:
    """What would not read back as one more line of the note is refused."""
    with pytest.raises(CheckpointError):
        checkpoint.add(note, added)


def test_sixty_four_lines() -> None:
    """A note takes no more lines than its reader."""
    note = BODY + "".join(line(f"n{number}", ED25519, "eve", bytes(64)) for number in range(64))
    checkpoint.split(note)
    with pytest.raises(CheckpointError, match="65 signatures"):
        checkpoint.add(note, ANN_LINE)


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ([SERVICE], NOTE),
        ([SERVICE, "bob"], cosigned("bob")),
        (KEYS, NOTE),
        (["bob", "ann", SERVICE, "nobody"], cosigned("ann", "bob")),
    ],
    ids=["the service", "the service and a witness", "a mapping's names", "in the note's own order"],
)
def test_only_these(names: list[str], kept: str) -> None:
    """Other lines are left out, and what is left is the note as it was without them."""
    assert checkpoint.only(cosigned("ann", "bob"), names) == kept


@pytest.mark.parametrize(
    ("note", "names"),
    [(NOTE, []), (NOTE, ["ann"]), (NOTE, [SERVICE[:-1]]), (BODY, [SERVICE]), (NOTE + "\n", [SERVICE])],
    ids=["nobody", "a stranger", "half a name", "no signature", "no note"],
)
def test_only_nobody(note: str, names: list[str]) -> None:
    """A note without a signature is none."""
    with pytest.raises(CheckpointError):
        checkpoint.only(note, names)


LIES = {
    "two roots": (signed(OTHER, SERVICE), NOTE),
    "two chains": (signed(Checkpoint(ORIGIN, 5, STATE.root, bytes(32)), SERVICE), NOTE),
    "cosigned on one side": (signed(OTHER, SERVICE), cosigned("ann", "bob")),
    "junk of strangers on both": (signed(OTHER, "eve", SERVICE), cosigned("eve")),
    "one of two keys": (signed(OTHER, "standby", SERVICE), signed(STATE, SERVICE, "standby")),
    "a forged line of the other key beside it": (
        signed(OTHER, SERVICE) + line("standby", ED25519, "standby", bytes(64)),
        NOTE,
    ),
}
TWO_KEYS = {"standby": public("standby"), **KEYS}


@pytest.mark.parametrize(("first", "second"), LIES.values(), ids=LIES)
def test_equivocation(first: str, second: str) -> None:
    """One key, one size, two states: proven, in either order, whatever else stands in the notes."""
    one, other = checkpoint.equivocation(first, second, TWO_KEYS)
    assert {one, other} == {checkpoint.split(first)[0], STATE}
    assert checkpoint.equivocation(second, first, TWO_KEYS) == (other, one)


NO_LIES = {
    "one note twice": (NOTE, NOTE),
    "one state, cosigned and not": (NOTE, cosigned("ann")),
    "one state under two keys": (NOTE, signed(STATE, "standby")),
    "two sizes": (NOTE, signed(Checkpoint(ORIGIN, 6, bytes(32), bytes(32)), SERVICE)),
    "two ledgers": (NOTE, signed(Checkpoint("other.example", 5, bytes(32), bytes(32)), SERVICE)),
    "two states under two keys": (NOTE, signed(OTHER, "standby")),
    "a stranger's state": (NOTE, signed(OTHER, "eve")),
    "two states of strangers": (signed(STATE, "eve"), signed(OTHER, "eve")),
    "a witness's key": (signed(STATE, "ann"), signed(OTHER, "ann")),
    "a forged root": (
        NOTE,
        NOTE.replace(base64.b64encode(STATE.root).decode(), base64.b64encode(bytes(32)).decode()),
    ),
    "a forged chain": (NOTE, NOTE.replace(STATE.chain.hex(), "00" * 32)),
    "a forged size": (
        signed(Checkpoint(ORIGIN, 6, bytes(32), bytes(32)), SERVICE).replace("\n6\n", "\n5\n"),
        NOTE,
    ),
    "a stolen signature": (NOTE, OTHER.text + "\n" + SERVICE_LINE),
    "the service's name over another key": (
        NOTE,
        OTHER.text + "\n" + line(SERVICE, ED25519, "eve", key("eve").sign(OTHER.text.encode())),
    ),
    "a signature of another kind": (
        NOTE,
        OTHER.text + "\n" + line(SERVICE, COSIGNATURE, SERVICE, key(SERVICE).sign(OTHER.text.encode())),
    ),
    "no signature": (NOTE, OTHER.text + "\n"),
    "no note": (NOTE, ""),
    "not canonical": (NOTE, signed(OTHER, SERVICE).replace("\n5\n", "\n05\n")),
}


@pytest.mark.parametrize(("first", "second"), NO_LIES.values(), ids=NO_LIES)
def test_no_equivocation(first: str, second: str) -> None:
    """What one key did not sign twice convicts nobody, in either order."""
    for pair in ((first, second), (second, first)):
        with pytest.raises(CheckpointError):
            checkpoint.equivocation(*pair, TWO_KEYS)


def test_no_key_no_equivocation() -> None:
    """Without a key nobody is convicted."""
    with pytest.raises(CheckpointError):
        checkpoint.equivocation(NOTE, signed(OTHER, SERVICE), {})


def test_signers() -> None:
    """Known names are told in the note's order, a witness with its time in seconds; strangers are not."""
    found = checkpoint.signers(cosigned("bob", "eve", "ann"), KEYS, WITNESSES)
    at = AT.replace(microsecond=0)
    assert [(each.name, each.witness, each.at) for each in found] == [
        (SERVICE, False, None),
        ("bob", True, at),
        ("ann", True, at),
    ]


@pytest.mark.parametrize("seconds", [0, 253_402_300_799, 253_402_300_800, 2**63, 2**64 - 1])
def test_a_witness_out_of_time(seconds: int) -> None:
    """A time that no calendar has does not stop the reader: it is shown as the last that there is."""
    stamp = seconds.to_bytes(8, "big")
    text = f"cosignature/v1\ntime {seconds}\n{STATE.text}".encode()
    note = NOTE + line("ann", COSIGNATURE, "ann", stamp + key("ann").sign(text))
    assert checkpoint.verify(note, KEYS, 1, witnesses=WITNESSES) == STATE
    at = checkpoint.signers(note, KEYS, WITNESSES)[1].at
    assert at == datetime.fromtimestamp(min(seconds, 253_402_300_799), UTC)


@pytest.mark.parametrize(
    "note",
    [
        pytest.param(BODY + ANN_LINE, id="a witness without the service"),
        pytest.param(
            NOTE + line("bob", COSIGNATURE, "bob", bytes(72)), id="a known line that does not verify"
        ),
        pytest.param(NOTE + line("bob", COSIGNATURE, "eve", bytes(72)), id="a known name over another key"),
        pytest.param(signed(STATE, "eve"), id="a stranger"),
        pytest.param(NOTE + "\n", id="no note"),
    ],
)
def test_signers_of_what_does_not_verify(note: str) -> None:
    """Nobody is told to have signed what does not verify."""
    with pytest.raises(CheckpointError):
        checkpoint.signers(note, KEYS, WITNESSES)
