"""What one test does with one token, in a process of its own: a process opens one token.

Usage: python -m tests.custody.child TASK FOLDER; prints one JSON object.
"""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pkcs11
from coincurve import PrivateKey
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from workbench.custody.token import Token, TokenError, key_id, softhsm_module
from workbench.evm.transaction import address_of, signature_for

LABEL = "hammer"
IMPORTED = PrivateKey(b"\x42" * 32)
THREADS, SIGNATURES = 8, 100


def opened(folder: Path, **changes: Any) -> Token:
    """Open the token that `provision` made."""
    pin = (folder / "pin").read_text()
    options: dict[str, Any] = {"module": softhsm_module(), "label": LABEL, "pin": pin}
    return Token(folder, **(options | changes))


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
    session = token._session
    domain = session.create_domain_parameters(
        KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256k1")}, local=True
    )
    domain.generate_keypair(id=key_id(key.public_key), label="treasury/1", store=True)
    return {"moved": moved, "refusal": refusal(lambda: token.secp256k1(key.public_key))}


def wrong(folder: Path) -> dict[str, Any]:
    """Open it wrongly in every way, then rightly."""
    said = {
        "pin": refusal(lambda: opened(folder, pin="0000")),
        "label": refusal(lambda: opened(folder, label="other")),
        "module": refusal(lambda: opened(folder, module=Path("/nowhere/libhsm.so"))),
        "folder": refusal(lambda: Token(folder.parent, module=softhsm_module(), label=LABEL, pin="0000")),
    }
    token = opened(folder)
    signed = token.generate_ed25519("a/1").sign(b"m")
    token.close()
    return {**said, "signed": len(signed)}


TASKS = {each.__name__: each for each in (hammer, attributes, imported, twin, wrong)}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](Path(sys.argv[2]))))  # noqa: T201 - the parent reads it
