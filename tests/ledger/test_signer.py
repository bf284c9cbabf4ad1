"""Where a key lives: files that only the owner reads, tokens with exactly one such key, and nothing else."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ledger import signer
from ledger.signer import SignerError
from tests.ledger.world import key, public
from workbench.demo.provision import provision

ROOT = Path(__file__).resolve().parents[2]
PLAIN = serialization.NoEncryption()


def pem(private: Any, encryption: serialization.KeySerializationEncryption = PLAIN) -> bytes:
    """Return a private key as PKCS #8 PEM."""
    raw: bytes = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return raw


GOOD = pem(key("ann"))


def key_file(folder: Path, raw: bytes = GOOD, mode: int = 0o600) -> Path:
    """Write a key file."""
    path = folder / "key.pem"
    path.write_bytes(raw)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700], ids=oct)
def test_a_key_file(tmp_path: Path, mode: int) -> None:
    """A file that only its owner reads signs, and says which key it is."""
    opened = signer.open_key(f"file:{key_file(tmp_path, mode=mode)}")
    assert opened.public_key == public("ann")
    assert opened.sign(b"m") == key("ann").sign(b"m")


def test_a_key_file_that_was_made(tmp_path: Path) -> None:
    """What is made can be opened, is the owner's alone under any umask, and is another key each time."""
    before = os.umask(0)
    try:
        made = [signer.create_file(tmp_path / name) for name in ("a", "b")]
    finally:
        os.umask(before)
    assert [signer.open_key(f"file:{tmp_path / name}").public_key for name in ("a", "b")] == made
    assert made[0] != made[1]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) == 2  # no draft is left


def taken(path: Path) -> None:
    """Put something there."""
    path.write_bytes(b"mine")


def dangling(path: Path) -> None:
    """Put a link to nowhere there."""
    path.symlink_to(path.parent / "nowhere")


@pytest.mark.parametrize(
    "occupy", [taken, Path.mkdir, dangling], ids=["a file", "a folder", "a link to nowhere"]
)
def test_nothing_is_overwritten(tmp_path: Path, occupy: Callable[[Path], object]) -> None:
    """A key file is never made where something is, and nothing is left of the attempt."""
    path = tmp_path / "key.pem"
    occupy(path)
    with pytest.raises(FileExistsError):
        signer.create_file(path)
    assert list(tmp_path.iterdir()) == [path]
    assert not path.is_file() or path.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "mode", [0o644, 0o640, 0o660, 0o604, 0o601, 0o610, 0o620, 0o602, 0o666, 0o4640], ids=oct
)
def test_a_key_that_others_reach(tmp_path: Path, mode: int) -> None:
    """Whatever others may do with a key file is too much; so it is with a PIN file."""
    path = key_file(tmp_path, mode=mode)
    with pytest.raises(SignerError, match="others may read it"):
        signer.open_key(f"file:{path}")
    with pytest.raises(SignerError, match="others may read it"):
        signer.open_key("pkcs11:/x.so?token=a&object=b", pin_file=path)


def test_a_key_of_another_user(tmp_path: Path) -> None:
    """Whose file it is knows the key."""
    path = key_file(tmp_path)
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:  # who is not root cannot give files away: the system's own are another's
        path = Path("/etc/shadow")
    with pytest.raises(SignerError):
        signer.open_key(f"file:{path}")


def test_a_secret_is_a_file_of_a_size(tmp_path: Path) -> None:
    """A secret may have as many bytes as its limit says; a pipe is none, whoever may read it."""
    path = key_file(tmp_path, b"1234")
    assert signer.read_secret(path, 4) == b"1234"
    with pytest.raises(SignerError, match="more than 3 bytes"):
        signer.read_secret(path, 3)
    path.unlink()
    os.mkfifo(path, 0o400)
    with pytest.raises(SignerError, match="not a regular file"):
        signer.read_secret(path, 4)


def test_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    """A link does not hide that others read the key."""
    link = tmp_path / "link"
    link.symlink_to(key_file(tmp_path, mode=0o644))
    with pytest.raises(SignerError):
        signer.open_key(f"file:{link}")


FILES: dict[str, bytes] = {
    "nothing": b"",
    "garbage": bytes(range(256)),
    "half of it": GOOD[:60],
    "a flipped byte": GOOD.replace(b"M", b"N", 1),
    "DER": key("ann").private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, PLAIN),
    "32 bytes": key("ann").private_bytes_raw(),
    "hex": key("ann").private_bytes_raw().hex().encode(),
    "a public key": key("ann")
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    "encrypted": pem(key("ann"), serialization.BestAvailableEncryption(b"secret")),
    "secp256k1": pem(generate_private_key(SECP256K1())),
    "Ed448": pem(Ed448PrivateKey.generate()),
    "X25519": pem(X25519PrivateKey.generate()),
    "an algorithm that nobody knows": GOOD.replace(b"MC4CAQAwBQYDK2Vw", b"MC4CAQAwBQYDK2V/"),
    "too long": GOOD + b"\n" * 4096,
}


@pytest.mark.parametrize("raw", FILES.values(), ids=FILES)
def test_no_key(tmp_path: Path, raw: bytes) -> None:
    """Only an unencrypted Ed25519 key in PKCS #8 PEM is taken, and no refusal tells what is in the file."""
    with pytest.raises(SignerError) as caught:
        signer.open_key(f"file:{key_file(tmp_path, raw)}")
    assert "\n" not in str(caught.value)
    assert "PRIVATE" not in str(caught.value)


URIS = [
    "",
    ":",
    "file",
    "file:",
    "file:/nowhere/key.pem",
    "file:/",
    "/nowhere/key.pem",
    "FILE:/nowhere",
    "env:KEY",
    "https://example.org/key.pem",
    "\x1b[2J:x",
    "pkcs11:",
    "pkcs11:/x.so",
    "pkcs11:/x.so?",
    "pkcs11:/x.so?token=a",
    "pkcs11:/x.so?object=a",
    "pkcs11:/x.so?token=a&object=",
    "pkcs11:/x.so?token=&object=a",
    "pkcs11:/x.so?token=a&object=b&object=c",
    "pkcs11:/x.so?token=a&token=b&object=c",
    "pkcs11:/x.so?token=a&object=b&pin-value=1234",
    "pkcs11:/x.so?token=a&object=b&",
    "pkcs11:/x.so?token=a;object=b",
    "pkcs11:/x.so?token=a&object=b#c",
    "pkcs11:x.so?token=a&object=b",
    "pkcs11:./x.so?token=a&object=b",
    "pkcs11:?token=a&object=b",
    "pkcs11://host/x.so?token=a&object=b",
    "pkcs11:file:/x.so?token=a&object=b",
    "pkcs11://[?token=a&object=b",
    "pkcs11:token=a;object=b",
]


@pytest.mark.parametrize("uri", URIS)
def test_no_uri(tmp_path: Path, uri: str) -> None:
    """There is one form for each scheme: what is not one leads to no key, and no library is loaded for it."""
    with pytest.raises(SignerError) as caught:
        signer.open_key(uri, pin_file=key_file(tmp_path, b"1234"))
    assert str(caught.value).isprintable()
    assert "token: " not in str(caught.value)


PINS: dict[str, tuple[bytes | None, str]] = {
    "no file": (None, "No such file"),
    "not UTF-8": (b"\xff\xfe", "not UTF-8"),
    "too long": (b"1" * 257, "more than 256 bytes"),
}


@pytest.mark.parametrize(("raw", "words"), PINS.values(), ids=PINS)
def test_no_pin(tmp_path: Path, raw: bytes | None, words: str) -> None:
    """A PIN is a short text in a file; it is read before any library is."""
    path = tmp_path / "nowhere" if raw is None else key_file(tmp_path, raw)
    with pytest.raises(SignerError, match=words):
        signer.open_key("pkcs11:/x.so?token=a&object=b", pin_file=path)
    with pytest.raises(SignerError, match="PIN file"):
        signer.open_key("pkcs11:/x.so?token=a&object=b")


def test_no_library_before_it_is_needed(tmp_path: Path) -> None:
    """Who keeps a key in a file needs no PKCS#11 library."""
    path = key_file(tmp_path)
    script = (
        f"import sys; sys.modules['pkcs11'] = None; from ledger import signer\n"
        f"assert signer.open_key('file:{path}').sign(b'm')\n"
        f"try: signer.open_key('pkcs11:/x.so?token=a&object=b', pin_file=signer.Path('{path}'))\n"
        f"except signer.SignerError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("python-pkcs11 is not installed\n", "")


# Tokens


def child(folder: Path, *labels: str) -> dict[str, Any]:
    """Open keys of a token in a process of its own."""
    command = [sys.executable, "-m", "tests.ledger.token_child", str(folder), *labels]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return a token full of keys, and what the signer said of each."""
    folder = tmp_path_factory.mktemp("token") / "hsm"
    provision(folder, "signer")
    return folder, child(folder)


TOKENS = {
    "no such module": "cannot open shared object file",
    "no module": "invalid ELF header",
    "no such token": "NoSuchToken",
    "wrong PIN": "PinIncorrect",
    "opened twice": "UserAlreadyLoggedIn",
    "missing": "0 Ed25519 objects PRIVATE_KEY labelled 'missing', expected one",
    "twin": "2 Ed25519 objects PRIVATE_KEY labelled 'twin', expected one",
    "curve": "0 Ed25519 objects PRIVATE_KEY labelled 'curve', expected one",
    "halved": "0 Ed25519 objects PUBLIC_KEY labelled 'halved', expected one",
    "loose": "the key could leave its token",
    "plain": "the key could leave its token",
}


@pytest.mark.parametrize(("name", "words"), TOKENS.items(), ids=TOKENS)
def test_no_key_in_a_token(token: tuple[Path, dict[str, Any]], name: str, words: str) -> None:
    """No token, a wrong PIN, no key, two keys, a key that could be outside: each is refused for that."""
    assert token[1][name].startswith("token: ")
    assert "SignerError" not in token[1][name]
    assert words in token[1][name]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        pytest.param("mute", "no attribute 'sign'", id="a key that may not sign"),
        pytest.param("swapped", "does not verify under its public key", id="another key's public half"),
    ],
)
def test_what_it_signs_is_verified(token: tuple[Path, dict[str, Any]], label: str, words: str) -> None:
    """A key that signs nothing, or nothing that verifies, is found out at opening."""
    assert words in child(token[0], label)[label]


def test_a_key_in_a_token(token: tuple[Path, dict[str, Any]]) -> None:
    """A key that was made in the token signs, from several threads at once, and after all those refusals."""
    assert (token[1]["threads"], token[1]["public key"]) == (4, 32)
