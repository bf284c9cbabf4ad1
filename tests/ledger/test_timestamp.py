"""RFC 3161: an answer proves when a checkpoint was there, or it is refused and changes nothing."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.asn1 import GeneralizedTime, decode_der, encode_der
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from ledger import timestamp, tsp
from ledger.__main__ import main
from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical
from ledger.timestamp import Stamped, TimestampError
from ledger.trust import ROOTS_MAX, TrustRoot, TrustRootError
from ledger.tsp_types import Algorithm, Request
from ledger.verifier import Report, Step, VerificationError
from ledger.verifier import verify as verify_bundle
from tests.alone import furnish, run
from tests.ledger.authority import POLICY, Authority, Holder, holder, openssl, sequence
from tests.ledger.lies import NAME, NONCE, REFUSED, WANTED, Make, Party, asked, data_of, rebuilt, renewed
from tests.ledger.world import Folder, World, trust_root

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def judged(party: Party, raw: bytes, **changes: Any) -> Stamped:
    """Verify an answer as whoever has asked for it does."""
    trust: TrustRoot = changes.pop("trust", party.trust)
    known: dict[str, Any] = {"authority": NAME, "checkpoint": WANTED, "nonce": NONCE} | changes
    return timestamp.verify(raw, trust.authorities, **known)


def stamped_time(party: Party) -> datetime:
    """Return the time in the authority's last answer, as openssl reads it."""
    printed = openssl("ts", "-reply", "-in", party.good.folder / "reply.tsr", "-text").decode()
    (line,) = [line for line in printed.splitlines() if line.startswith("Time stamp: ")]
    return datetime.strptime(line, "Time stamp: %b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)


def openssl_agrees(party: Party, raw: bytes) -> bool:
    """Return whether `openssl ts -verify` finds the same text stamped under the same root."""
    folder = party.folder
    (folder / "text").write_text(WANTED.text)
    (folder / "answer.tsr").write_bytes(raw)
    files = (
        "-data",
        folder / "text",
        "-in",
        folder / "answer.tsr",
        "-CAfile",
        party.good.folder / "root.pem",
    )
    done = subprocess.run(
        ["openssl", "ts", "-verify", *map(str, files)], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode == 0) == (b"Verification: OK" in done.stdout)
    return done.returncode == 0


def test_proven(party: Party) -> None:
    """The answer names time, number and authority; openssl says the same of the very same bytes."""
    raw = party.good.reply(asked(party))
    number = int((party.good.folder / "serial").read_text(), 16)
    expected = Stamped(size=7, time=stamped_time(party), authority=NAME, serial=number)
    assert judged(party, raw) == judged(party, raw, nonce=None) == expected
    assert openssl_agrees(party, raw)


GOOD: dict[str, Make] = {
    "a chain of three": lambda p, q: p.other("three", between=(holder("mid", p.good.root, ca=True),)).reply(
        q
    ),
    "a chain of five": lambda p, q: p.other("five", between=chain(p.good.root)).reply(q),
    "an RSA key": lambda p, q: p.other("rsa", signer=holder("rsa", p.good.root, key=rsa_key())).reply(q),
    "a digest of SHA-512": lambda p, q: p.other("long", digest="sha512").reply(q),
    "a certificate's hash of SHA-512": lambda p, q: p.other("ess512", ess="sha512").reply(q),
    "the name of the authority inside": lambda p, q: p.other("named", more="tsa_name = yes").reply(q),
    "ordering": lambda p, q: p.other("ordered", more="ordering = yes").reply(q),
    "all certificates named": lambda p, q: p.other("all", more="ess_cert_id_chain = yes").reply(q),
    "signed by another program": lambda p, q: p.signed_by(q),
    "words beside the status": lambda p, q: sequence(
        sequence(b"\x02\x01\x00" + sequence(sequence("grüß".encode(), 0x0C))) + p.good.reply(q)[9:]
    ),
    "a certificate that was renewed meanwhile": lambda p, q: p.signed_by(q, renewed(p)),
}


def rsa_key() -> rsa.RSAPrivateKey:
    """Return a key as most authorities have it."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def chain(root: Holder) -> tuple[Holder, ...]:
    """Return three intermediate authorities, each under the one before."""
    first = holder("a", root, ca=True)
    second = holder("b", first, ca=True)
    return first, second, holder("c", second, ca=True)


@pytest.mark.parametrize("name", GOOD)
def test_other_good_ones(party: Party, name: str) -> None:
    """What authorities may do differently does not matter, to openssl neither."""
    raw = GOOD[name](party, asked(party))
    assert judged(party, raw).size == 7
    assert openssl_agrees(party, raw)


def test_fractions_of_a_second(party: Party) -> None:
    """A time is reported as it was signed, not rounded down."""
    at = datetime(2026, 11, 21, 1, 2, 3, 456_000, tzinfo=UTC)
    raw = party.good.sign(party.content(asked(party), time=GeneralizedTime(at)))
    assert judged(party, raw).time == at


@pytest.mark.parametrize("name", REFUSED)
def test_refused(party: Party, name: str) -> None:
    """An answer that does not prove this checkpoint under this root is refused, and never by a crash."""
    make, words = REFUSED[name]
    raw = make(party, asked(party))
    with pytest.raises(TimestampError, match=words):
        judged(party, raw)


def test_another_nonce(party: Party) -> None:
    """An answer to another request is none to this one; found in a bundle it is as good as any."""
    raw = party.good.reply(timestamp.request(WANTED, party.trust.authorities[NAME], nonce=NONCE + 1))
    bare = party.good.sign(party.content(asked(party), nonce=None))
    for answer in (raw, bare):
        with pytest.raises(TimestampError, match="another nonce"):
            judged(party, answer)
        assert judged(party, answer, nonce=None).size == 7


@pytest.mark.parametrize("nonce", [-1, 2**64])
def test_a_nonce_of_another_size(party: Party, nonce: int) -> None:
    """What is not 64 bits is no nonce."""
    with pytest.raises(tsp.TspError, match="64 bits"):
        timestamp.request(WANTED, party.trust.authorities[NAME], nonce=nonce)


@pytest.mark.parametrize("name", ["clock-2", "", "clock-1.tsr", "../clock-1"])
def test_an_unknown_authority(party: Party, name: str) -> None:
    """A good answer under a name that the trust root does not have proves nothing."""
    with pytest.raises(TimestampError, match="no authority"):
        judged(party, party.good.reply(asked(party)), authority=name)


def test_each_authority_has_its_own_roots(party: Party) -> None:
    """One authority's answer under the name of the other is refused, though both are believed."""
    second = Authority(party.folder / "second", root=holder("other root", ca=True))
    named = {NAME: party.good.believed(), "clock-2": second.believed()}
    trust = TrustRoot.of(trust_root(timestamp=named))
    for authority, raw in ((NAME, second.reply(asked(party))), ("clock-2", party.good.reply(asked(party)))):
        with pytest.raises(TimestampError, match="verif"):
            judged(party, raw, trust=trust, authority=authority)


def test_several_roots(party: Party) -> None:
    """An authority that changes its root has both for a while."""
    roots = [holder("next", ca=True).der.hex(), party.good.root.der.hex()]
    trust = TrustRoot.of(trust_root(timestamp={NAME: {"roots": roots}}))
    assert judged(party, party.good.reply(asked(party)), trust=trust).size == 7


def test_a_policy(party: Party) -> None:
    """A policy that the trust root names is asked for, and no other is believed."""
    mine, other = (
        TrustRoot.of(trust_root(timestamp={NAME: party.good.believed(policy=policy)}))
        for policy in (POLICY, POLICY + ".2")
    )
    query = timestamp.request(WANTED, mine.authorities[NAME], nonce=NONCE)
    (party.folder / "policy.tsq").write_bytes(query)
    printed = openssl("ts", "-query", "-in", party.folder / "policy.tsq", "-text").decode()
    assert f"Policy OID: {POLICY}\n" in printed
    raw = party.good.reply(query)
    assert judged(party, raw, trust=mine).size == 7
    with pytest.raises(TimestampError, match=f"policy {POLICY}, the trust root's is {POLICY}.2"):
        judged(party, raw, trust=other)


def test_the_request(party: Party) -> None:
    """Openssl reads in it the digest of the text, the nonce, and the wish for certificates."""
    (party.folder / "q.tsq").write_bytes(asked(party))
    printed = openssl("ts", "-query", "-in", party.folder / "q.tsq", "-text").decode()
    assert "Hash Algorithm: sha256\n" in printed
    assert f"Nonce: 0x{NONCE:X}\n" in printed
    assert "Certificate required: yes\n" in printed
    octets = "".join(line[11:58] for line in printed.splitlines() if line.startswith("    00"))
    assert bytes.fromhex(octets.replace("-", " ")) == hashlib.sha256(WANTED.text.encode()).digest()


def malleable(party: Party, raw: bytes) -> set[int]:
    """Return the places that nothing covers or looks at: the root's copy, the algorithm's name."""
    root = raw.index(party.good.root.der)
    name = encode_der(data_of(raw).signers.as_list()[0].algorithm)
    algorithm = raw.rindex(name)
    return {*range(root, root + len(party.good.root.der)), *range(algorithm, algorithm + len(name))}


def test_a_signature_in_its_second_spelling(party: Party) -> None:
    """ECDSA has two values for one signature: other bytes, the same word of the same authority."""
    raw = party.good.reply(asked(party))
    r, s = decode_dss_signature(own := data_of(raw).signers.as_list()[0].signature)
    other = encode_dss_signature(r, P256_ORDER - s)
    signer = encode_der(data_of(raw).signers.as_list()[0])
    body = signer[signer.index(sequence(b"\x01", 0x02)) : -len(sequence(own, 0x04))]
    answer = rebuilt(raw, signer=sequence(body + sequence(other, 0x04)))
    assert answer != raw
    assert judged(party, answer) == judged(party, raw)


def test_every_flipped_bit(party: Party) -> None:
    """A flipped bit is refused, or stands where nothing depends on it and changes nothing in the report."""
    raw = party.good.reply(asked(party))
    genuine, open_places = judged(party, raw), malleable(party, raw)
    for place in range(len(raw)):
        for bit in range(8):
            flipped = raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]
            try:
                assert judged(party, flipped, nonce=None) == genuine
            except TimestampError:
                continue
            assert place in open_places, (place, bit)


def test_every_cut(party: Party) -> None:
    """No beginning of an answer is one."""
    raw = party.good.reply(asked(party))
    for size in range(len(raw)):
        with pytest.raises(TimestampError):
            judged(party, raw[:size])


# The trust root


def changed(**changes: Any) -> Callable[[Party], Any]:
    """Return what a trust root says of the authority, with changes."""
    return lambda party: {NAME: party.good.believed() | changes}


def pem(party: Party) -> str:
    """Return the root as the file that openssl writes."""
    return (party.good.folder / "root.pem").read_bytes().hex()


MALFORMED: dict[str, tuple[Callable[[Party], Any], str]] = {
    "an array": (lambda p: [p.good.believed()], "not an object of authorities"),
    "no authority": (lambda _: {}, "not an object of authorities"),
    "a truth": (lambda _: True, "not an object of authorities"),
    "an authority that is its root": (lambda p: {NAME: p.good.root.der.hex()}, "exactly roots"),
    "a field too many": (changed(url="http://clock.example"), "exactly roots"),
    "no roots": (lambda _: {NAME: {"policy": POLICY}}, "exactly roots"),
    "an empty array of roots": (changed(roots=[]), "1 to 8"),
    "a root that is not in an array": (lambda p: {NAME: {"roots": p.good.root.der.hex()}}, "not an array"),
    "nine roots": (lambda _: {NAME: {"roots": roots(ROOTS_MAX + 1)}}, "1 to 8"),
    "a root twice": (lambda p: {NAME: {"roots": 2 * p.good.believed()["roots"]}}, "different"),
    "a number": (changed(roots=[1]), "not a string"),
    "half a byte": (lambda p: {NAME: {"roots": [p.good.root.der.hex()[:-1]]}}, "hex"),
    "upper-case hex": (lambda p: {NAME: {"roots": [p.good.root.der.hex().upper()]}}, "hex"),
    "a root cut": (lambda p: {NAME: {"roots": [p.good.root.der.hex()[:-2]]}}, "no self-signed"),
    "bytes behind a root": (lambda p: {NAME: {"roots": [p.good.root.der.hex() + "00"]}}, "no self-signed"),
    "nothing as a root": (changed(roots=[""]), "no self-signed"),
    "PEM": (lambda p: {NAME: {"roots": [pem(p)]}}, "no self-signed"),
    "the authority's own certificate": (lambda p: root_of(p.good.signer), "no self-signed"),
    "an intermediate": (lambda p: root_of(holder("mid", p.good.root, ca=True)), "no self-signed"),
    "a forged root": (
        lambda p: root_of(holder("root of time", replace(holder("x"), certificate=p.good.root.certificate))),
        "no self-signed",
    ),
    "a self-signed clock": (lambda _: root_of(holder("clock")), "not a CA's"),
    "no policy": (changed(policy=None), "not a string"),
    "an empty policy": (changed(policy=""), "not the OID"),
    "a policy that is a name": (changed(policy="tsa_policy1"), "not the OID"),
    "a policy in another spelling": (changed(policy="1.3.06"), "not the OID"),
    "a policy of one number": (changed(policy="1"), "not the OID"),
    "a name with a dot": (lambda p: {"clock.1": p.good.believed()}, "name is not of"),
    "a name with a capital": (lambda p: {"Clock": p.good.believed()}, "name is not of"),
    "a name that leaves the folder": (lambda p: {"../clock": p.good.believed()}, "name is not of"),
    "an empty name": (lambda p: {"": p.good.believed()}, "name is not of"),
    "a long name": (lambda p: {"c" * 65: p.good.believed()}, "name is not of"),
    "two names over one root": (lambda p: {NAME: p.good.believed(), "clock-2": p.good.believed()}, "share"),
}


def roots(count: int) -> list[str]:
    """Return as many roots."""
    return [holder("root", ca=True).der.hex() for _ in range(count)]


def root_of(other: Holder | None) -> dict[str, Any]:
    """Return a trust root's field with this certificate as the root."""
    assert other is not None
    return {NAME: {"roots": [other.der.hex()]}}


@pytest.mark.parametrize("name", MALFORMED)
def test_authorities_that_are_refused(party: Party, name: str) -> None:
    """A trust root that names its authorities badly is no trust root."""
    make, words = MALFORMED[name]
    with pytest.raises(TrustRootError, match=words):
        TrustRoot.of(trust_root(timestamp=make(party)))


def test_how_many_roots_there_may_be() -> None:
    """An authority has one root to eight, and need not name a policy."""
    made = roots(ROOTS_MAX)
    for some in (made[:1], made):
        (authority,) = TrustRoot.of(trust_root(timestamp={NAME: {"roots": some}})).authorities.values()
        assert ([root.hex() for root in authority.roots], authority.policy) == (some, None)


def test_a_root_without_authorities_is_what_it_was() -> None:
    """The field may be absent: then nobody's time-stamp is believed, and the digest is the same as ever."""
    raw = canonical(trust_root())
    trust = TrustRoot.parse(raw)
    assert trust.authorities == {}
    assert trust.digest == hashlib.sha256(raw).digest()


# In a bundle


@dataclass
class Kept:
    """A ledger with two checkpoints, both of them stamped, and a bundle of it in the attacker's hands."""

    trust: dict[str, Any]
    state: Checkpoint
    note: str
    bundle: Folder

    def verify(self) -> Report:
        """Verify the bundle as it is."""
        return verify_bundle(self.bundle.path, self.trust)


@pytest.fixture(scope="module")
def original(party: Party, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Return a bundle that nobody changes."""
    folder = tmp_path_factory.mktemp("original")
    world = World(folder, trust=trust_root(timestamp={NAME: party.good.believed()}))
    files = {}
    for numbers in ((0, 1, 2), (3, 4)):
        world.append(*numbers)
        world.check_point()
        files[timestamp.path(world.state().size, NAME)] = party.good.reply(asked(party, world.state()))
    kept = Kept(world.trust, world.state(), world.note(), world.write_bundle(files=files))
    world.ledger.close()
    return kept


@pytest.fixture
def kept(original: Kept, tmp_path: Path) -> Kept:
    """Return a copy of it."""
    shutil.copytree(original.bundle.path, tmp_path / "bundle")
    return replace(original, bundle=Folder(tmp_path / "bundle"))


def test_in_a_bundle(kept: Kept) -> None:
    """The verifier proves each time-stamp of a bundle, and openssl agrees about the same file."""
    report = kept.verify()
    assert [(each.size, each.authority) for each in report.stamps] == [(3, NAME), (5, NAME)]
    assert report.unproven == ()
    (kept.bundle.path.parent / "text").write_text(kept.state.text)
    files = ("-data", kept.bundle.path.parent / "text", "-in", kept.bundle.path / f"anchors/5.{NAME}.tsr")
    root = x509.load_der_x509_certificate(bytes.fromhex(kept.trust["timestamp"][NAME]["roots"][0]))
    file = kept.bundle.path.parent / "root.pem"
    file.write_bytes(root.public_bytes(Encoding.PEM))
    assert b"Verification: OK" in openssl(
        "ts", "-verify", *files, "-CAfile", kept.bundle.path.parent / "root.pem"
    )


def test_what_the_command_says(kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Size, authority, time and number stand in the output and in the JSON."""
    (tmp_path / "mine.json").write_bytes(canonical(kept.trust))
    last = kept.verify().stamps[-1]
    assert main(["verify", str(kept.bundle.path), "--keys", str(tmp_path / "mine.json")]) == 0
    words = f"stamped: size 5 by {NAME} at {last.time:%Y-%m-%d %H:%M:%S} UTC, as number {last.serial:#x}\n"
    assert words in capsys.readouterr().out
    assert main(["verify", str(kept.bundle.path), "--keys", str(tmp_path / "mine.json"), "--json"]) == 0
    assert f'"serial":"{last.serial:#x}","size":5,"time":"{last.time:%Y-%m-%dT%H:%M:%S.%f}Z"' in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_one_in_a_bundle(party: Party, kept: Kept, name: str) -> None:
    """One that proves nothing is a finding with its place; what else was verified stays what it was."""
    before = kept.verify()
    raw = REFUSED[name][0](party, asked(party, kept.state))
    kept.bundle.write(f"anchors/5.{NAME}.tsr", raw)
    with pytest.raises(VerificationError) as caught:
        kept.verify()
    report = caught.value.report
    assert [(each.step, each.place) for each in report.findings] == [
        (Step.TIMESTAMP, f"anchors/5.{NAME}.tsr")
    ]
    assert report.findings[0].code == "timestamp"
    assert replace(report, findings=()) == replace(before, stamps=before.stamps[:1])


def test_in_the_wrong_place(kept: Kept) -> None:
    """A good time-stamp of one checkpoint under another's size, or of a size that has none, is a finding."""
    raw = kept.bundle.read(f"anchors/3.{NAME}.tsr")
    kept.bundle.write(f"anchors/5.{NAME}.tsr", raw)
    kept.bundle.write(f"anchors/4.{NAME}.tsr", raw)
    with pytest.raises(VerificationError) as caught:
        kept.verify()
    assert [(each.place, each.detail) for each in caught.value.report.findings] == [
        (f"anchors/4.{NAME}.tsr", "no checkpoint of 4 entries counts"),
        (f"anchors/5.{NAME}.tsr", "the stamp is of something else"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("anchors/5.clock-2.tsr", id="an authority that nobody named"),
        pytest.param(f"anchors/05.{NAME}.tsr", id="a size in another spelling"),
        pytest.param(f"anchors/5.{NAME}.tsr.old", id="a file that is named otherwise"),
        pytest.param(f"anchors/{NAME}.tsr", id="no size"),
        pytest.param(f"anchors/5.{NAME}.x.tsr", id="a longer name"),
        pytest.param(f"anchors/more/5.{NAME}.tsr", id="a folder below"),
        pytest.param(f"policies/5.{NAME}.tsr", id="another folder"),
    ],
)
def test_what_nobody_vouches_for(kept: Kept, name: str) -> None:
    """A document that is not a named authority's is listed as unproven: neither counted nor passed over."""
    before = kept.verify()
    kept.bundle.write(name, kept.bundle.read(f"anchors/5.{NAME}.tsr"))
    report = kept.verify()
    assert report == replace(before, unproven=(name,))


def test_without_authorities(party: Party, tmp_path: Path) -> None:
    """Under a trust root that names no authority a time-stamp is one more document that nobody has proven."""
    world = World(tmp_path)
    world.append(0)
    world.check_point()
    name = timestamp.path(1, NAME)
    bundle = world.write_bundle(files={name: party.good.reply(asked(party, world.state()))})
    report = verify_bundle(bundle.path, world.trust)
    assert (report.stamps, report.unproven) == ((), (name,))
    world.ledger.close()


def test_without_the_extra(kept: Kept, tmp_path: Path) -> None:
    """Where rfc3161-client is not installed the rest is verified, and time-stamps are said to be unproven."""
    lone = furnish(tmp_path / "lone")
    (tmp_path / "mine.json").write_bytes(canonical(kept.trust))
    done = run(lone, "verify", str(kept.bundle.path), "--keys", str(tmp_path / "mine.json"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == [
        f"not proven by this ledger: anchors/3.{NAME}.tsr, anchors/5.{NAME}.tsr",
        "time-stamps were not judged: that needs the extra `timestamp`",
    ]
    assert "stamped" not in done.stdout.replace("time-stamps", "")
    (tmp_path / "note.txt").write_text(kept.note)
    asking = ("--authority", NAME, "--url", "http://127.0.0.1:1/", "--out", str(tmp_path / "new.tsr"))
    done = run(lone, "stamp", str(tmp_path / "note.txt"), "--keys", str(tmp_path / "mine.json"), *asking)
    assert (done.returncode, done.stdout) == (2, "")
    assert "extra `timestamp`" in done.stderr
    assert not (tmp_path / "new.tsr").exists()


def test_a_broken_extra_is_not_a_missing_one(tmp_path: Path) -> None:
    """A library that is there and cannot be loaded stops the verifier: only its absence is an answer."""
    lone = furnish(tmp_path / "lone")
    (lone / "rfc3161_client.py").write_text("import a_part_that_is_gone\n")
    done = run(lone, "verify", "bundle", "--keys", "mine.json")
    assert done.returncode == 1
    assert "a_part_that_is_gone" in done.stderr


def test_nothing_is_judged_without_the_extra(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks or judges is told that he cannot, and no file counts as one to be judged."""
    raw, name = party.good.reply(asked(party)), timestamp.path(7, NAME)
    assert timestamp.judgeable([name, "anchors/7.json"], party.trust.authorities) == [name]
    monkeypatch.setattr(timestamp, "AVAILABLE", False)
    assert timestamp.judgeable([name], party.trust.authorities) == []
    with pytest.raises(timestamp.MissingExtraError):
        asked(party)
    with pytest.raises(timestamp.MissingExtraError):
        judged(party, raw)


def test_a_file_of_another_name(party: Party) -> None:
    """A document is judged by the checkpoint and authority that its name tells, and by no guess."""
    raw = party.good.reply(asked(party))
    for name in (f"anchors/07.{NAME}.tsr", f"anchors/7.{NAME}", f"7.{NAME}.tsr", "anchors/7.tsr"):
        with pytest.raises(TimestampError, match="not named like"):
            timestamp.judge(name, raw, party.trust.authorities, checkpoints={7: WANTED})


def test_how_large_a_response_may_be() -> None:
    """The largest is read, if in vain; one more byte is not even that."""
    believed: dict[str, Any] = {"digest": bytes(32), "nonce": None, "policy": None}
    with pytest.raises(tsp.TspError) as caught:
        tsp.verify(bytes(tsp.RESPONSE_MAX), (), **believed)
    assert "limit" not in str(caught.value)
    with pytest.raises(tsp.TspError, match="limit 65536"):
        tsp.verify(bytes(tsp.RESPONSE_MAX + 1), (), **believed)


def test_which_nonces_are_of_64_bits() -> None:
    """All from 0 to 2^64 - 1."""
    for nonce in (0, 2**64 - 1):
        assert decode_der(Request, tsp.request(bytes(32), nonce=nonce, policy=None)).nonce == nonce
    for nonce in (-1, 2**64):
        with pytest.raises(tsp.TspError, match="64 bits"):
            tsp.request(bytes(32), nonce=nonce, policy=None)


def test_a_certificate_bound_by_a_weak_hash() -> None:
    """A certificate is named by a hash of the SHA-2 family."""
    sha1 = Algorithm(oid=x509.ObjectIdentifier("1.3.14.3.2.26"), parameters=None)
    with pytest.raises(tsp.TspError, match="SHA-2"):
        tsp._hashed(b"certificate", sha1)
    assert tsp._hashed(b"certificate", None) == hashlib.sha256(b"certificate").digest()


def test_the_module_without_its_library() -> None:
    """Only the absence of the library makes the ledger go on without it."""
    script = "import sys; sys.modules['rfc3161_client'] = None; from ledger.timestamp import AVAILABLE"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; print(AVAILABLE)"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr


def test_the_module_with_half_a_library(tmp_path: Path) -> None:
    """A library that is there and lacks a part of its own is no library that is missing."""
    (tmp_path / "rfc3161_client.py").write_text("import a_part_that_is_gone\n")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", "import ledger.timestamp"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert (done.returncode, "a_part_that_is_gone" in done.stderr) == (1, True)
