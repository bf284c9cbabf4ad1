"""What one test does with one token, in a process of its own: a process opens one token.

Usage: python -m tests.custody.child TASK FOLDER; prints one JSON object.
"""

import json
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pkcs11
from coincurve import PrivateKey
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from workbench.custody import attempts
from workbench.custody.attempts import Attempts
from workbench.custody.config import TokenConfig, softhsm, softhsm_module
from workbench.custody.errors import TokenError
from workbench.custody.probe import raw_point
from workbench.custody.token import Token, key_id
from workbench.evm.transaction import address_of, signature_for
from workbench.rules.documents import read_time

LABEL = "hammer"


def curve(token: Token) -> Any:
    """Return the curve, to make keys past our own rules."""
    parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256k1")}
    return token._session.create_domain_parameters(KeyType.EC, parameters, local=True)


IMPORTED = PrivateKey(b"\x42" * 32)
THREADS, SIGNATURES = 8, 250


def opened(folder: Path, **changes: Any) -> Token:
    """Open the token that `provision` made."""
    told: dict[str, Any] = {"pin": (folder / "pin").read_text(), "now": datetime.now(UTC), "label": LABEL}
    told |= changes
    config = softhsm(folder, label=told["label"], serial=told.get("serial"))
    return Token(config, pin=told["pin"], tries=Attempts(folder, lambda: told["now"]))


def refusal(call: Any) -> str:
    """Return what a call is refused with; the call succeeding is the empty text."""
    try:
        call()
    except TokenError as error:
        return str(error)
    return ""


def hammer(folder: Path) -> dict[str, Any]:
    """Sign from several threads with two keys at once; every signature must verify."""
    token = opened(folder)
    identity, asset = token.generate_ed25519("a/1"), token.generate_secp256k1("b/1")
    verifier = Ed25519PublicKey.from_public_bytes(identity.public_key)
    good, bad = [0] * THREADS, [0] * THREADS

    def work(number: int) -> None:
        for index in range(SIGNATURES):
            message = number.to_bytes(16) + index.to_bytes(16)
            try:
                if index % 2:
                    verifier.verify(identity.sign(message), message)
                else:
                    signature_for(message, asset.sign_digest(message), asset.public_key)
                good[number] += 1
            except (InvalidSignature, TokenError, ValueError):
                bad[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"good": sum(good), "bad": sum(bad)}


def attributes(folder: Path) -> dict[str, Any]:
    """Say what the token claims of a key it made, and what it refuses to do with it."""
    token = opened(folder)
    key = token.generate_secp256k1("treasury/1")
    private = token._find(key.public_key)
    attacks = {
        "read": lambda: private[Attribute.VALUE],
        "loosen": lambda: private.__setitem__(Attribute.EXTRACTABLE, True),
        "relabel": lambda: private.__setitem__(Attribute.LABEL, "mine"),
        "copy": lambda: private.copy({Attribute.EXTRACTABLE: True}),
    }
    done = []
    for name, attack in attacks.items():
        try:
            attack()
        except pkcs11.PKCS11Error:
            continue
        done.append(name)
    keys = list(token._session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
    return {
        "attributes": token.attributes(key.public_key),
        "done": done,
        "keys": len(keys),
        "again": token.secp256k1(key.public_key).public_key == key.public_key,
        "short digest": refusal(lambda: key.sign_digest(b"\1" * 31)),
        "unknown": refusal(lambda: token.ed25519(bytes(32))),
        "address": address_of(key.public_key),
    }


def imported(folder: Path) -> dict[str, Any]:
    """Put a key from outside into the token, with every attribute that can be claimed."""
    token = opened(folder)
    public = IMPORTED.public_key.format(compressed=False)
    template = {
        Attribute.CLASS: ObjectClass.PRIVATE_KEY,
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.SIGN: True,
        Attribute.DERIVE: False,
        Attribute.MODIFIABLE: False,
        Attribute.ID: key_id(public),
        Attribute.LABEL: "treasury/1",
        Attribute.EC_PARAMS: encode_named_curve_parameters("secp256k1"),
        Attribute.VALUE: IMPORTED.secret,
    }
    token._session.create_object(template)
    return {"claims": token.attributes(public), "refusal": refusal(lambda: token.secp256k1(public))}


def extractable(folder: Path) -> dict[str, Any]:
    """Make a key in the token that may leave it, and one that is not sensitive; all else is as ours."""
    token = opened(folder)
    said = {}
    for name, loose in (
        ("extractable", {Attribute.EXTRACTABLE: True}),
        ("not sensitive", {Attribute.SENSITIVE: False}),
        ("modifiable", {}),
        ("derives", {Attribute.DERIVE: True}),
    ):
        hidden = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
        public, private = curve(token).generate_keypair(
            label="treasury/1",
            store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            private_template=hidden | loose,
        )
        point = raw_point(bytes(public[Attribute.EC_POINT]), 65)
        public[Attribute.ID] = private[Attribute.ID] = key_id(point)
        if name != "modifiable":
            private.copy({Attribute.MODIFIABLE: False})
            private.destroy()
        said[name] = refusal(lambda point=point: token.secp256k1(point))
    return said


def swapped(folder: Path) -> dict[str, Any]:
    """Put another public key under the id of ours, then none."""
    token = opened(folder)
    key, other = token.generate_secp256k1("treasury/1"), token.generate_secp256k1("treasury/2")
    public = {Attribute.CLASS: ObjectClass.PUBLIC_KEY}
    (ours,) = token._session.get_objects(public | {Attribute.ID: key_id(key.public_key)})
    (theirs,) = token._session.get_objects(public | {Attribute.ID: key_id(other.public_key)})
    ours.destroy()
    none = refusal(lambda: token.secp256k1(key.public_key))
    theirs[Attribute.ID] = key_id(key.public_key)
    return {"none": none, "another": refusal(lambda: token.secp256k1(key.public_key))}


def locked(folder: Path) -> dict[str, Any]:
    """Try a wrong PIN until nothing is tried any more, each as soon as it is allowed; then the right one."""
    now, said, waits = datetime.now(UTC), [], []
    for _ in range(12):
        said.append(refusal(lambda now=now: opened(folder, pin="0000", now=now)))
        not_before = attempts.read(folder).not_before
        assert not_before is not None
        waits.append((read_time(not_before) - now).total_seconds())
        now = max(now, read_time(not_before))
    right = refusal(lambda: opened(folder, now=now + timedelta(days=365)))
    kept = (folder / attempts.NAME).read_bytes().decode()
    before = attempts.unlock(folder)
    token = opened(folder, now=now)
    signed = len(token.generate_ed25519("a/1").sign(b"m"))
    return {
        "said": said,
        "waits": waits,
        "right": right,
        "kept": kept,
        "before": before.wrong if before else None,
        "signed": signed,
    }


def restarted(folder: Path) -> dict[str, Any]:
    """Wrong twice, then right: it begins anew. A wrong label or a missing token counts for nothing."""
    now = datetime.now(UTC)
    for _ in range(2):
        refusal(lambda: opened(folder, pin="0000", now=now))
    wrong = attempts.read(folder).wrong
    early = refusal(lambda: opened(folder, now=now))
    back = refusal(lambda: opened(folder, now=now - timedelta(days=400)))
    refusal(lambda: opened(folder, label="other", now=now + timedelta(seconds=2)))
    label = attempts.read(folder).wrong
    token = opened(folder, now=now + timedelta(seconds=2))
    token.close()
    return {
        "wrong": wrong,
        "early": early,
        "back": back,
        "label": label,
        "right": attempts.read(folder).wrong,
    }


def same_label(folder: Path) -> dict[str, Any]:
    """Make a second token of the same label and PIN beside the first; its serial tells them apart."""
    first = opened(folder)
    serial, key = first.about["serial"], first.generate_secp256k1("treasury/1")
    first.close()
    command = ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--so-pin", "12345678"]
    subprocess.run([*command, "--pin", (folder / "pin").read_text()], check=True, capture_output=True)
    pkcs11.lib(str(softhsm_module())).finalize()
    both = refusal(lambda: opened(folder))
    found = opened(folder, label=None, serial=serial)
    return {"both": both, "found": found.secp256k1(key.public_key).public_key == key.public_key}


def copied(folder: Path) -> dict[str, Any]:
    """Copy the token's files to another root, without the count of tries and then with it."""
    here = opened(folder)
    key, about = here.generate_secp256k1("treasury/1"), here.about
    here.close()
    pkcs11.lib(str(softhsm_module())).finalize()
    root = folder.parent / "elsewhere"
    shutil.copytree(folder, root)
    (root / "softhsm2.conf").write_text((root / "softhsm2.conf").read_text().replace(str(folder), str(root)))
    (root / attempts.NAME).unlink()
    without = refusal(lambda: opened(root))
    attempts.found(root)
    there = opened(root)
    digest = bytes(32)
    signature_for(digest, there.secp256k1(key.public_key).sign_digest(digest), key.public_key)
    return {"without": without, "same": there.about == about}


def probed(folder: Path) -> dict[str, Any]:
    """Try what the token can do, twice; count its objects around that."""
    token = opened(folder)
    before = len(list(token._session.get_objects({})))
    told = token.capabilities()
    again = token.capabilities()
    return {
        "words": told.words,
        "again": again.words == told.words,
        "sealing": told.sealing,
        "objects": len(list(token._session.get_objects({}))) - before,
        "listed": [trial.name for trial in told.trials if trial.is_listed],
    }


def twin(folder: Path) -> dict[str, Any]:
    """Put a second private key under the id of one that the token made."""
    token = opened(folder)
    key = token.generate_secp256k1("treasury/1")
    other = token.generate_secp256k1("treasury/2")
    held = token._find(other.public_key)
    # MODIFIABLE False forbids this on the finished key, so the attacker copies it
    moved = ""
    try:
        held.copy({Attribute.ID: key_id(key.public_key)})
    except pkcs11.PKCS11Error as error:
        moved = type(error).__name__
    curve(token).generate_keypair(id=key_id(key.public_key), label="treasury/1", store=True)
    return {"moved": moved, "refusal": refusal(lambda: token.secp256k1(key.public_key))}


def wrong(folder: Path) -> dict[str, Any]:
    """Open it wrongly in every way, then rightly."""
    said = {
        "pin": refusal(lambda: opened(folder, pin="0000")),
        "label": refusal(lambda: opened(folder, label="other")),
        "serial": refusal(lambda: opened(folder, serial="0000000000000000")),
        "both": refusal(lambda: opened(folder, label=None)),
        "folder": refusal(lambda: softhsm(folder.parent, label=LABEL)),
        "module": refusal(
            lambda: TokenConfig(module=Path("/nowhere/libhsm.so"), environment={}, label=LABEL)
        ),
    }
    token = opened(folder)
    signed = token.generate_ed25519("a/1").sign(b"m")
    token.close()
    return {**said, "signed": len(signed)}


ALL = (hammer, attributes, imported, extractable, swapped, twin, wrong, locked, restarted, same_label, copied)
TASKS = {each.__name__: each for each in (*ALL, probed)}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](Path(sys.argv[2]))))  # noqa: T201 - the parent reads it
